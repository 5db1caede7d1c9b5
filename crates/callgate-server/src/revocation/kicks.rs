//! Ends sessions.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Cause, Ending, Revocation, held};
use crate::{
    audit::event::RevocationResult,
    sessions::KickedBy,
    system::{KickResult, Priority},
    telemetry::sanitize,
};

/// Kicks that wait for their answers at a time. `System` decides about the pace.
const AT_A_TIME: usize = 512;

/// What became of kicks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KickCounts {
    pub(crate) kicked: usize,
    pub(crate) already_gone: usize,
    pub(crate) failed: usize,
}

impl KickCounts {
    pub(super) fn add(&mut self, other: Self) {
        self.kicked += other.kicked;
        self.already_gone += other.already_gone;
        self.failed += other.failed;
    }
}

impl Revocation {
    /// Ends this replica's part of the sessions, in the background. Withdraws kicks of an earlier change that
    /// have not been sent: this change was evaluated with the same sessions.
    pub(super) fn end(self: &Arc<Self>, ending: Vec<Ending>) {
        let ids = held::ids(&ending);
        let mine: Vec<Ending> =
            ending.into_iter().filter(|one| self.is_mine(&one.session)).collect();
        let mut kicks = self.kicks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = kicks.take() {
            earlier.abort();
        }
        if mine.is_empty() {
            return;
        }
        for (cause, sessions) in count_by_cause(&mine) {
            warn!(cause = cause.as_str(), sessions, "a change ends sessions");
            let id = ids.get(&cause).cloned().unwrap_or_default();
            self.record_change(id, cause, sessions, RevocationResult::Ended, None);
        }
        let revocation = Arc::clone(self);
        let work = async move {
            let counts = revocation.kick(mine).await;
            if counts.failed > 0 {
                revocation.unfinished.notify_one();
            }
        };
        *kicks = Some(tokio::spawn(work).abort_handle());
    }

    /// Kicks these sessions.
    pub(super) async fn kick(&self, ending: Vec<Ending>) -> KickCounts {
        let kicks = stream::iter(ending).map(|one| self.kick_one(one));
        let results = kicks.buffer_unordered(AT_A_TIME);
        let add = |mut counts: KickCounts, one| async move {
            counts.add(one);
            counts
        };
        let counts = results.fold(KickCounts::default(), add).await;
        let KickCounts { kicked, already_gone, failed } = counts;
        info!(kicked, already_gone, failed, "sessions were ended after a change");
        counts
    }

    async fn kick_one(&self, Ending { session, cause }: Ending) -> KickCounts {
        let key = session.key();
        let by = KickedBy::change(cause.as_str());
        self.sessions.begin_kick(key, &by);
        let result = self.system.kick(key, Priority::Revocation, cause.as_str()).await;
        self.sessions.record_kick(Some(&session), key, &by, &result);
        match result {
            KickResult::Kicked => {
                self.metrics.count_revocation(cause.as_str());
                self.sessions.ended(key);
                info!(
                    cause = cause.as_str(),
                    user = sanitize(session.user()),
                    authenticator = &*session.common().authenticator,
                    account = sanitize(&session.common().account),
                    session = %key,
                    "session ended: what it was admitted for has changed"
                );
                KickCounts { kicked: 1, ..KickCounts::default() }
            }
            KickResult::AlreadyGone => {
                self.sessions.ended(key);
                KickCounts { already_gone: 1, ..KickCounts::default() }
            }
            KickResult::Failed(why) => {
                warn!(
                    cause = cause.as_str(),
                    user = sanitize(session.user()),
                    session = %key,
                    why,
                    "a session that must end may still be there"
                );
                KickCounts { failed: 1, ..KickCounts::default() }
            }
        }
    }
}

/// How many sessions end for each cause.
fn count_by_cause(ending: &[Ending]) -> BTreeMap<Cause, usize> {
    let mut counts: BTreeMap<Cause, usize> = BTreeMap::new();
    for one in ending {
        *counts.entry(one.cause).or_default() += 1;
    }
    counts
}
