//! The live connections that decisions admitted: the table of sessions, its copies on other replicas, and
//! what acts on sessions.

mod closing;
mod codec;
mod enforce;
mod filter;
mod find;
mod hook;
mod kick;
mod reconcile;
mod records;
mod session;
mod share;
mod table;
mod unattributed;

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use crate::{
    audit::Audit,
    replicas::{ReplicaId, Replicas},
    state::State,
    system::{SessionKey, System, SystemEvent},
    telemetry::Metrics,
};
#[cfg(feature = "fuzzing")]
pub(crate) use codec::fuzzing::decoded_twice;
pub(crate) use enforce::Enforced;
pub(crate) use filter::Filter;
pub(crate) use find::{Found, Search};
pub(crate) use hook::{Keep, SessionHook};
pub(crate) use records::KickedBy;
pub(crate) use session::Session;
#[cfg(test)]
pub(crate) use session::{Common, Values};
use share::{Outgoing, RecentEnds};
pub(crate) use table::Table;
use unattributed::Unattributed;

/// The sessions of all replicas, as far as this one knows them.
#[derive(Debug)]
pub(crate) struct Sessions {
    table: Arc<Table>,
    /// This replica's ID.
    replica: ReplicaId,
    system: Arc<System>,
    replicas: Option<Arc<Replicas>>,
    state: Option<Arc<State>>,
    outgoing: Outgoing,
    recent_ends: RecentEnds,
    unattributed: Unattributed,
    closing: closing::Closing,
    metrics: Arc<Metrics>,
    audit: Audit,
}

impl Sessions {
    /// An empty table. Without `state`, it has only what this replica admits.
    pub(crate) fn new(
        system: Arc<System>,
        state: Option<Arc<State>>,
        metrics: Arc<Metrics>,
        audit: Audit,
    ) -> Arc<Self> {
        let replicas = state.as_ref().map(|state| Arc::clone(state.replicas()));
        let replica =
            replicas.as_ref().map_or_else(|| ReplicaId::from("this"), |it| it.id().clone());
        Arc::new(Self {
            table: Arc::new(Table::new(system.settings().remember)),
            replica,
            system,
            replicas,
            state,
            outgoing: Outgoing::default(),
            recent_ends: RecentEnds::default(),
            unattributed: Unattributed::default(),
            closing: closing::Closing::default(),
            metrics,
            audit,
        })
    }

    /// Begins to follow servers and peers.
    pub(crate) fn start(self: &Arc<Self>) {
        if let Some(replicas) = &self.replicas {
            self.share(replicas);
        }
        tokio::spawn(follow_events(Arc::clone(self)));
        tokio::spawn(Arc::clone(self).reconcile_regularly());
        if let Some(state) = &self.state {
            tokio::spawn(Arc::clone(self).follow_locks(Arc::clone(state)));
        }
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// This replica's ID, as in [`Common::replica`].
    pub(crate) fn replica(&self) -> &ReplicaId {
        &self.replica
    }

    /// Where changes of sessions are recorded.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The other replicas, with which sessions are shared; `None` without `[state]`.
    pub(crate) fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.replicas.as_ref()
    }

    /// Enters a session of this replica, and tells its peers.
    pub(crate) fn enter(&self, session: Session) {
        let session = self.table.enter(session);
        if self.replicas.is_some() {
            self.outgoing.entered(&session);
        }
    }

    /// A client that was entered was not admitted after all, or its connection has certainly ended.
    pub(crate) fn ended(&self, key: SessionKey) {
        self.recent_ends.add(key);
        if self.table.remove(key).is_some() && self.replicas.is_some() {
            self.outgoing.ended(key);
        }
    }
}

/// Removes sessions whose servers say that they have ended. Every replica receives these events.
async fn follow_events(sessions: Arc<Sessions>) {
    let mut events = sessions.system.events();
    loop {
        match events.recv().await {
            Ok(SystemEvent::Disconnected(ended)) => {
                sessions.record_end(&ended);
                sessions.recent_ends.add(ended.key);
                sessions.table.remove(ended.key);
            }
            Ok(SystemEvent::Connected(connection)) => sessions.record_start(&connection),
            Ok(SystemEvent::LoginFailed(_)) => {}
            // `reconcile` removes what was missed.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
