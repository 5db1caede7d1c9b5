//! What acts on clients beyond one decision, such as locks, sessions and the audit. A part does not exist
//! until its table is written.

use std::sync::Arc;

use async_nats::Client;
use callgate::AdmissionHook;

use crate::{
    audit::{AuditHook, event::Via},
    config::Config,
    control::Executor,
    observers::Observers,
    replicas::Replicas,
    revocation::{Basis, HeldEverywhere, Revocation},
    sessions::{Keep, SessionHook, Sessions},
    shadow::Shadow,
    state::State,
    system::{AccountNames, System},
};

/// The parts that the configuration at the start asks for. They outlive reloads.
#[derive(Debug)]
pub(crate) struct Operations {
    pub(crate) observers: Arc<Observers>,
    pub(crate) system: Option<Arc<System>>,
    pub(crate) state: Option<Arc<State>>,
    /// Exists with `system`.
    pub(crate) sessions: Option<Arc<Sessions>>,
    /// Exists with `system`; `[revocation]` may switch it off.
    revocation: Option<Arc<Revocation>>,
    pub(crate) shadow: Shadow,
}

impl Operations {
    /// Prepares the parts. Nothing connects yet.
    pub(crate) fn new(config: &Config, observers: Arc<Observers>) -> Self {
        let system = config.system.clone();
        let system = system.map(|settings| System::new(settings, Arc::clone(&observers.metrics)));
        let state = config.state.clone().map(|settings| {
            let replicas = Replicas::member(&config.nats.queue, settings.pulse());
            State::member(settings, replicas, Arc::clone(&observers.metrics))
        });
        let sessions = system.clone().map(|system| {
            Sessions::new(
                system,
                state.clone(),
                Arc::clone(&observers.metrics),
                observers.audit.clone(),
            )
        });
        let revocation = sessions.clone().zip(system.clone());
        let revocation = revocation.map(|(sessions, system)| {
            Revocation::new(sessions, system, Arc::clone(&observers.metrics))
        });
        let shadow = Shadow::new(Arc::clone(&observers.metrics));
        Self { observers, system, state, sessions, revocation, shadow }
    }

    /// The hooks of each admission, in order: first locks and sessions, then the audit.
    pub(crate) fn hooks(&self) -> Vec<Arc<dyn AdmissionHook>> {
        let audit = AuditHook::of(&self.observers.audit).map(|hook| Arc::new(hook) as _);
        let keep = self.revocation.clone().map(|revocation| -> Keep {
            Arc::new(move |request, decision| revocation.record(request, decision))
        });
        let sessions = self.sessions.clone().map(|sessions| SessionHook::new(sessions, keep));
        let sessions = sessions.map(|hook| Arc::new(hook) as Arc<dyn AdmissionHook>);
        sessions.into_iter().chain(self.state.iter().map(State::hook)).chain(audit).collect()
    }

    /// What the commands on the control socket act on.
    pub(crate) fn executor(&self) -> Executor {
        Executor {
            sessions: self.sessions.clone(),
            state: self.state.clone(),
            held_changes: self.revocation.clone().map(HeldEverywhere::Replica),
            audit: self.observers.audit.clone(),
            via: Via::Socket,
        }
    }

    /// Starts the work on the service's connection, which may not be established yet.
    pub(crate) fn start(&self, client: &Client) {
        if let Some(system) = &self.system {
            system.start(client);
        }
        if let Some(state) = &self.state {
            state.replicas().start(client);
            if let Some(system) = &self.system {
                system.share_pace(state.replicas());
            }
            state.start(client);
        }
        if let Some(sessions) = &self.sessions {
            sessions.start();
        }
        if let Some(revocation) = &self.revocation {
            revocation.start();
        }
    }

    /// Why this replica must not answer requests now, if a part forbids it. The service stays outside the
    /// queue group as long as this is the case.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        let state = self.state.as_ref().and_then(|state| state.waiting_for());
        state.or_else(|| self.observers.audit.not_storing())
    }

    /// A configuration is in force: the first one, or that of a reload.
    pub(crate) fn configured(&self, accounts: &AccountNames, basis: Basis) {
        if let Some(revocation) = &self.revocation {
            revocation.configured(basis);
        }
        if let Some(system) = &self.system {
            system.configured(accounts.clone());
        }
    }

    /// Ends the parts, after the last answer.
    pub(crate) async fn shut_down(&self) {
        self.shadow.stop();
        if let Some(sessions) = &self.sessions {
            sessions.record_all_ends();
        }
        if let Some(system) = &self.system {
            system.shut_down();
        }
        if let Some(state) = &self.state {
            state.shut_down().await;
            state.replicas().shut_down().await;
        }
    }
}
