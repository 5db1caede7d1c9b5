//! Connections that are being closed, until their ends are recorded: by this replica, or by another one, which
//! announces what it closes. The end may be reported before the announcement arrives.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{KickedBy, Session, Sessions};
use crate::system::{Disconnected, SessionKey};

/// Announcements of connections that a replica is about to close and that others admitted.
pub(super) const CLOSING: &str = "closing";
/// How long a server may take to report the end of a connection that it was asked to close.
const REPORTED_WITHIN: Duration = Duration::from_secs(60);
/// How long the announcement of a replica may take.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(2);
/// Above this number, ends that were never reported are forgotten.
const MANY: usize = 4096;
/// Connections in one announcement, which is then well below the smallest usual `max_payload`.
const ANNOUNCED_AT_ONCE: usize = 1000;
/// The server's reason for the end of a connection that it was asked to close (nats-server `client.go`).
const KICKED: &str = "Kicked";

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Closing(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    closed: HashMap<SessionKey, Closed>,
    unexplained: HashMap<SessionKey, Unexplained>,
}

/// A connection that a server was asked to close.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) cause: Cow<'static, str>,
    /// The confirmation removes it from the table, perhaps before the server reports the end.
    pub(super) session: Option<Arc<Session>>,
    pub(super) since: Instant,
}

/// A connection that was closed on request, before its cause is announced.
#[derive(Debug)]
pub(super) struct Unexplained {
    pub(super) session: Arc<Session>,
    pub(super) ended: Arc<Disconnected>,
}

/// An announcement.
#[derive(Debug, Serialize, Deserialize)]
struct Announcement {
    cause: String,
    sessions: Vec<String>,
}

impl Closing {
    /// A server is about to be asked to close a connection. Returns its end if that was reported already.
    pub(super) fn begin(&self, key: SessionKey, closed: Closed) -> Option<Unexplained> {
        let mut known = self.known();
        if let Some(unexplained) = known.unexplained.remove(&key) {
            return Some(unexplained);
        }
        if known.closed.len() >= MANY {
            let now = closed.since;
            known.closed.retain(|_, closed| now.duration_since(closed.since) < REPORTED_WITHIN);
        }
        known.closed.insert(key, closed);
        None
    }

    /// A connection has ended. Returns what is known of its cause; otherwise `unexplained` waits for it.
    pub(super) fn end(&self, key: SessionKey, unexplained: Option<Unexplained>) -> Option<Closed> {
        let mut known = self.known();
        let closed = known.closed.remove(&key);
        if let (None, Some(unexplained)) = (&closed, unexplained) {
            known.unexplained.insert(key, unexplained);
        }
        closed
    }

    fn is_unexplained(&self, key: SessionKey) -> bool {
        self.known().unexplained.contains_key(&key)
    }

    /// An end that no replica has explained in time.
    fn give_up(&self, key: SessionKey) -> Option<Unexplained> {
        self.known().unexplained.remove(&key)
    }

    fn give_up_all(&self) -> Vec<Unexplained> {
        self.known().unexplained.drain().map(|(_, unexplained)| unexplained).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Announces that connections which other replicas admitted are about to be closed: the replica that
    /// admitted a connection records its end.
    pub(super) async fn announce_closing(&self, keys: &[SessionKey], by: &KickedBy) {
        let Some(replicas) = &self.replicas else { return };
        // Those that are not known here may be known there.
        let foreign = keys.iter().filter(|key| self.own(**key).is_none());
        let foreign: Vec<String> = foreign.map(SessionKey::to_string).collect();
        for sessions in foreign.chunks(ANNOUNCED_AT_ONCE) {
            let announcement =
                Announcement { cause: by.cause.to_owned(), sessions: sessions.to_vec() };
            let payload = serde_json::to_vec(&announcement).unwrap_or_default();
            replicas.publish(CLOSING, payload).await;
        }
    }

    /// Takes the announcement of another replica.
    pub(super) fn learn_closing(&self, message: &[u8]) {
        let Ok(Announcement { cause, sessions }) = serde_json::from_slice(message) else {
            return debug!("an announcement of another replica is not understood");
        };
        for key in sessions.iter().filter_map(|text| text.parse::<SessionKey>().ok()) {
            let session = self.own(key);
            if session.is_some() || self.closing.is_unexplained(key) {
                self.begin_closing(key, cause.clone().into(), session);
            }
        }
    }

    /// Notes why a connection is about to be closed.
    pub(super) fn begin_closing(
        &self,
        key: SessionKey,
        cause: Cow<'static, str>,
        session: Option<Arc<Session>>,
    ) {
        let closed = Closed { cause: cause.clone(), session, since: Instant::now() };
        if let Some(Unexplained { session, ended }) = self.closing.begin(key, closed) {
            self.record_ended(&session, &ended, Some(&cause));
        }
    }

    /// The end of a session that this replica admitted, if its cause may still be announced.
    pub(super) fn unexplained(
        &self,
        session: Option<&Arc<Session>>,
        ended: &Arc<Disconnected>,
    ) -> Option<Unexplained> {
        let session = session.filter(|_| self.replicas.is_some() && ended.reason == KICKED)?;
        Some(Unexplained { session: Arc::clone(session), ended: Arc::clone(ended) })
    }

    /// Records an end without its cause unless that is announced in time.
    pub(super) fn record_unless_explained(self: &Arc<Self>, key: SessionKey) {
        let sessions = Arc::clone(self);
        tokio::spawn(async move {
            sleep(ANNOUNCED_WITHIN).await;
            if let Some(Unexplained { session, ended }) = sessions.closing.give_up(key) {
                sessions.record_ended(&session, &ended, None);
            }
        });
    }

    /// Records the ends whose cause is still unknown, before the process stops.
    pub(crate) fn record_all_ends(&self) {
        for Unexplained { session, ended } in self.closing.give_up_all() {
            self.record_ended(&session, &ended, None);
        }
    }
}
