//! Carries out the orders of commands.

mod kick;
mod lock;
mod revocation;
mod rows;

use std::sync::Arc;

use callgate::clock::UnixTime;
use futures_util::future::BoxFuture;

use super::{
    actor::Actor,
    conversation::Worker,
    protocol::{Done, Failure, Order, Reply, SessionsDone},
    socket::CarryOut,
};
use crate::{
    audit::{
        Audit,
        event::{self, Via},
    },
    revocation::HeldEverywhere,
    sessions::{Filter, Sessions},
    state::State,
};
use rows::{row, servers};

const NO_SYSTEM: &str = "there is no connection to the system account: add `[system]` to the configuration, and \
                         restart the service";
const NO_STATE: &str = "locks need `[state]`: add it to the configuration, and restart the service";
const ALONE: &str =
    "without `[state]`, this replica knows only the sessions that it admitted itself";

/// What orders act on.
#[derive(Debug)]
pub(crate) struct Executor {
    /// Absent without `[system]`.
    pub(crate) sessions: Option<Arc<Sessions>>,
    /// Absent without `[state]`.
    pub(crate) state: Option<Arc<State>>,
    /// Absent in a service without `[system]`, and in a command without `[state]`.
    pub(crate) held_changes: Option<HeldEverywhere>,
    pub(crate) audit: Audit,
    /// How orders arrive.
    pub(crate) via: Via,
}

/// An order that was not carried out.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refused {
    message: String,
    failure: Failure,
}

impl Refused {
    fn unusable(error: impl std::fmt::Display) -> Self {
        Self { message: error.to_string(), failure: Failure::Unusable }
    }
}

type Outcome = Result<Done, Refused>;

impl CarryOut for Executor {
    fn carry_out(&self, order: Order, actor: Actor, mut worker: Worker) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let outcome = match order {
                Order::Sessions { filter } => self.list(&filter).await,
                Order::Kick(order) => self.kick(order, &actor, &mut worker).await,
                Order::Lock(order) => self.lock(order, &actor, &mut worker).await,
                Order::Unlock { ids, all } => self.unlock(&ids, all, &actor).await,
                Order::Locks => self.locks().await,
                Order::Revocations => self.held_changes().await,
                Order::RuleRevocation { id, ruling } => self.rule(&id, ruling, &actor).await,
            };
            let reply = match outcome {
                Ok(done) => Reply::Done(Box::new(done)),
                Err(Refused { message, failure }) => Reply::Failed { message, failure },
            };
            worker.show(reply).await;
        })
    }
}

impl Executor {
    /// An order as the audit records it.
    fn record(&self, actor: &Actor, reason: Option<&str>) -> event::Order {
        let reason = reason.map(str::to_owned);
        event::Order { actor: actor.to_string(), via: self.via, reason }
    }

    fn sessions(&self) -> Result<&Arc<Sessions>, Refused> {
        self.sessions.as_ref().ok_or_else(|| Refused::unusable(NO_SYSTEM))
    }

    fn state(&self) -> Result<&Arc<State>, Refused> {
        self.state.as_ref().ok_or_else(|| Refused::unusable(NO_STATE))
    }

    /// What the user of a command should know about its result.
    fn notes(&self) -> Vec<String> {
        match self.state {
            Some(_) => Vec::new(),
            None => vec![ALONE.to_owned()],
        }
    }

    async fn list(&self, filter: &Filter) -> Outcome {
        let sessions = self.sessions()?;
        let search = sessions.find(filter, UnixTime::now()).await.map_err(Refused::unusable)?;
        Ok(Done::Sessions(SessionsDone {
            sessions: search.found.iter().map(row).collect(),
            complete: search.servers.is_complete(),
            servers: servers(&search.servers),
            left_out: search.undecided.len(),
            notes: self.notes(),
        }))
    }
}
