//! The records of sessions in the audit.

use std::sync::Arc;

use crate::{
    audit::event::{self, Event, Order},
    state::Lock,
    system::{Connection, Disconnected, KickResult, SessionKey},
};

use super::{Session, Sessions, closing::Closed};

/// Why sessions are kicked.
#[derive(Debug, Clone)]
pub(crate) struct KickedBy {
    pub(super) cause: &'static str,
    lock: Option<String>,
    order: Option<Order>,
}

impl KickedBy {
    /// The command `kick`.
    pub(crate) fn order(order: Order) -> Self {
        Self { cause: "kick", lock: None, order: Some(order) }
    }

    /// A change, with its cause.
    pub(crate) fn change(cause: &'static str) -> Self {
        Self { cause, lock: None, order: None }
    }

    /// This lock, or one of several.
    pub(super) fn lock(lock: Option<&Lock>) -> Self {
        Self { cause: "lock", lock: lock.map(|lock| lock.id.to_string()), order: None }
    }
}

impl Session {
    /// As the audit names it.
    pub(crate) fn record(&self) -> event::Session {
        let common = self.common();
        event::Session {
            user: Some(self.user().to_owned()),
            authenticator: Some(common.authenticator.to_string()),
            account: Some(common.account.to_string()),
            client_host: self.source().map(|source| source.to_string()),
            connection: Some(self.kind().as_str().to_owned()),
            client_name: Some(self.client_name().to_owned()).filter(|name| !name.is_empty()),
            client_id: Some(self.key().client_id),
            server: None,
            server_id: Some(self.key().server.to_string()),
            request: Some(self.decision().to_owned()),
        }
    }
}

impl Sessions {
    /// Notes why a connection is about to be closed: its end may be reported before the kick is confirmed.
    pub(crate) fn begin_kick(&self, key: SessionKey, by: &KickedBy) {
        self.begin_closing(key, by.cause.into(), self.table.find(key));
    }

    /// Records what became of a kick.
    pub(crate) fn record_kick(
        &self,
        session: Option<&Session>,
        key: SessionKey,
        by: &KickedBy,
        result: &KickResult,
    ) {
        self.audit.event(|| {
            let result = match result {
                KickResult::Kicked => "kicked",
                KickResult::AlreadyGone => "gone",
                KickResult::Failed(_) => "failed",
            };
            let unknown = || event::Session {
                client_id: Some(key.client_id),
                server_id: Some(key.server.to_string()),
                ..event::Session::default()
            };
            Event::Kick(event::Kick {
                session: session.map_or_else(unknown, Session::record),
                cause: by.cause.to_owned(),
                result: result.to_owned(),
                lock: by.lock.clone(),
                order: by.order.clone(),
            })
        });
    }

    /// Records that a client which this replica admitted has connected.
    pub(super) fn record_start(&self, connection: &Connection) {
        let Some(session) = self.own(connection.key) else { return };
        self.audit.event(|| {
            let server = Some(connection.server.to_string()).filter(|server| !server.is_empty());
            Event::SessionStart(event::Session { server, ..session.record() })
        });
    }

    /// Records that a session which this replica admitted has ended.
    pub(super) fn record_end(self: &Arc<Self>, ended: &Arc<Disconnected>) {
        let own = self.own(ended.key);
        let unexplained = self.unexplained(own.as_ref(), ended);
        let waits = unexplained.is_some();
        match (self.closing.end(ended.key, unexplained), own) {
            (Some(Closed { cause, session, since: _ }), own) => {
                let session = own.or(session.filter(|session| self.is_own(session)));
                session.iter().for_each(|it| self.record_ended(it, ended, Some(&cause)));
            }
            (None, Some(_)) if waits => self.record_unless_explained(ended.key),
            (None, Some(own)) => self.record_ended(&own, ended, None),
            (None, None) => {}
        }
    }

    /// Records the end of a session, and why Callgate closed it.
    pub(super) fn record_ended(
        &self,
        session: &Session,
        ended: &Disconnected,
        cause: Option<&str>,
    ) {
        self.audit.event(|| {
            Event::SessionEnd(event::SessionEnd {
                session: session.record(),
                cause: cause.map(str::to_owned),
                reason: Some(ended.reason.clone()),
                in_bytes: Some(ended.received),
                out_bytes: Some(ended.sent),
            })
        });
    }

    pub(super) fn own(&self, key: SessionKey) -> Option<Arc<Session>> {
        self.table.find(key).filter(|session| self.is_own(session))
    }

    pub(super) fn is_own(&self, session: &Session) -> bool {
        *session.common().replica == *self.replica
    }
}
