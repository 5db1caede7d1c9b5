//! Kicks what a new lock matches.

use std::{collections::HashSet, sync::Arc, time::Duration};

use callgate::clock::UnixTime;

use super::{Filter, Found, KickedBy, Search, Session, Sessions};
use crate::{
    state::{Lock, Verdict},
    system::{KickResult, Priority, SessionKey},
};

/// Replicas send what they admit in batches; after this time a batch of before the lock has arrived.
const LATE_SESSIONS: Duration = Duration::from_millis(60);

/// What a lock ended.
#[derive(Debug, Default)]
pub(crate) struct Enforced {
    pub(crate) search: Search,
    /// In the order of `search`, with the result; sessions that are not listed come last.
    pub(crate) results: std::collections::HashMap<SessionKey, KickResult>,
    /// Sessions that were found only in the table.
    pub(crate) in_table: Vec<Arc<Session>>,
    /// Why servers could not be asked.
    pub(crate) not_searched: Option<String>,
}

impl Sessions {
    /// The sessions in the table that a lock matches.
    pub(crate) fn matching(&self, lock: &Lock) -> Vec<Arc<Session>> {
        self.table.search(|session| lock.target.matches(&session.candidate()) == Verdict::Yes)
    }

    /// The number of sessions in the table that a filter matches.
    pub(crate) fn matching_filter(&self, filter: &Filter) -> usize {
        let matches =
            |session: &Session| filter.target.matches(&session.candidate()) == Verdict::Yes;
        self.table.search(matches).len()
    }

    /// Kicks everything that a lock in force matches, within a time. Call it when the lock is in force: a
    /// login either sees the lock, or is in the table before.
    pub(crate) async fn enforce(&self, lock: &Lock, within: Duration) -> Enforced {
        let now = UnixTime::now();
        // At once what is known, also logins that servers do not list yet.
        let known = self.matching(lock);
        let keys: Vec<_> = known.iter().map(|session| session.key()).collect();
        let by = KickedBy::lock(Some(lock));
        let at_once = self.kick(keys, Priority::Lock, &by, within);
        let filter = Filter { target: lock.target.clone(), ..Filter::default() };
        let listed = self.find(&filter, now);
        let (mut results, listed) = tokio::join!(at_once, listed);
        let mut enforced = Enforced { in_table: known, ..Enforced::default() };
        match listed {
            Ok(search) => enforced.search = search,
            Err(error) => enforced.not_searched = Some(error.to_string()),
        }
        let unattributed: Vec<Found> = enforced.search.undecided.drain(..).collect();
        enforced.search.found.extend(unattributed);
        enforced.search.found.retain(|found| {
            found.session.is_some() || self.unattributed.may_kick(lock, &found.connection, now)
        });
        let rest = enforced.search.found.iter().map(|found| found.connection.key);
        let rest = rest.filter(|key| !results.contains_key(key)).collect();
        results.extend(self.kick(rest, Priority::Lock, &by, within).await);
        self.share_unattributed().await;
        enforced.results = results;
        enforced
    }

    /// Kicks what was admitted before a lock was in force everywhere, and was not known here then.
    pub(crate) async fn enforce_again(
        &self,
        lock: &Lock,
        enforced: &mut Enforced,
        within: Duration,
    ) {
        tokio::time::sleep(LATE_SESSIONS).await;
        let done: HashSet<SessionKey> = enforced.results.keys().copied().collect();
        let late: Vec<_> = self
            .matching(lock)
            .into_iter()
            .filter(|session| !done.contains(&session.key()))
            .collect();
        let keys = late.iter().map(|session| session.key()).collect();
        let by = KickedBy::lock(Some(lock));
        let results = self.kick(keys, Priority::Lock, &by, within).await;
        enforced.results.extend(results);
        enforced.in_table.extend(late);
    }
}
