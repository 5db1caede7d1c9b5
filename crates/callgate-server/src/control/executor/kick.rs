//! The order `kick`.

use std::time::Duration;

use callgate::clock::UnixTime;
use tracing::info;

use super::{
    Executor, Outcome, Refused,
    rows::{Counts, row, servers, session_row, with_results},
};
use crate::{
    control::{
        actor::Actor,
        conversation::Worker,
        protocol::{Done, KickDone, KickOrder, Row},
    },
    sessions::{Filter, KickedBy, Search},
    system::{Priority, SessionKey},
};

/// More sessions than this are not kicked without asking.
const MANY: usize = 1000;
/// Nor is more than a tenth of all sessions.
const LARGE_SHARE: usize = 10;

impl Executor {
    pub(super) async fn kick(
        &self,
        order: KickOrder,
        actor: &Actor,
        worker: &mut Worker,
    ) -> Outcome {
        let KickOrder { filter, dry_run, reason, wait_ms, yes } = order;
        let sessions = self.sessions()?;
        let search = sessions.find(&filter, UnixTime::now()).await.map_err(Refused::unusable)?;
        // What has no decision may be a static user's connection: it is not a session.
        let (sessions_found, others): (Vec<_>, Vec<_>) =
            search.found.iter().partition(|found| found.session.is_some());
        let not_attributed = others.len() + search.undecided.len();
        let mut rows: Vec<(SessionKey, Row)> =
            sessions_found.iter().map(|found| (found.connection.key, row(found))).collect();
        rows.extend(unlisted(&search));
        if !dry_run && !yes && needs_yes(rows.len(), sessions.table().len()) {
            let total = sessions.table().len().max(rows.len());
            if !worker.confirm(rows.len(), total).await {
                return Err(Refused::unusable("nothing was kicked"));
            }
        }
        let keys = rows.iter().map(|(key, _)| *key).collect();
        let results = match dry_run {
            true => Default::default(),
            false => {
                let within = Duration::from_millis(wait_ms);
                let by = KickedBy::order(self.record(actor, reason.as_deref()));
                sessions.kick(keys, Priority::Kick, &by, within).await
            }
        };
        let (rows, Counts { kicked, already_gone, failed }) = with_results(rows, &results);
        if !dry_run {
            log_kick(&filter, reason.as_deref(), actor, kicked, already_gone, failed);
        }
        Ok(Done::Kick(KickDone {
            sessions: rows,
            kicked,
            already_gone,
            failed,
            dry_run,
            not_attributed,
            complete: search.servers.is_complete(),
            servers: servers(&search.servers),
            notes: self.notes(),
        }))
    }
}

/// The sessions whose servers did not answer.
pub(super) fn unlisted(search: &Search) -> impl Iterator<Item = (SessionKey, Row)> {
    search.unlisted.iter().map(|session| (session.key(), session_row(session)))
}

/// Whether this number of sessions, of `total`, is not kicked without asking.
pub(super) fn needs_yes(matching: usize, total: usize) -> bool {
    matching > MANY || matching.saturating_mul(LARGE_SHARE) > total.max(matching)
}

fn log_kick(
    filter: &Filter,
    reason: Option<&str>,
    actor: &Actor,
    kicked: usize,
    already_gone: usize,
    failed: usize,
) {
    info!(
        actor = %actor,
        filter = %filter,
        kick_reason = reason.map(callgate::sanitize::log_field),
        kicked,
        already_gone,
        failed,
        "sessions kicked on order"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sessions_or_a_large_share_need_confirmation() {
        for (matching, total, expected) in [
            (0, 0, false),
            (1, 1, true),
            (1, 9, true),
            (1, 10, false),
            (2, 19, true),
            (11, 110, false),
            (1000, 100_000, false),
            (1001, 100_000, true),
            // The table may know fewer sessions than the servers.
            (20, 0, true),
        ] {
            assert_eq!(needs_yes(matching, total), expected, "{matching} of {total}");
        }
    }
}
