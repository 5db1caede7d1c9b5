//! Changes that end sessions: what a client was admitted for is gone, or its grant would be smaller.
//!
//! Each replica evaluates all sessions that it knows, and ends those that it admitted itself and those of
//! replicas that no longer run.

mod agreement;
mod cause;
mod decisions;
mod evaluation;
mod held;
mod judged;
mod kicks;
mod permissions;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use callgate::{
    authn::Chain, clock::UnixTime, policy::Policy, record::Decision, request::AuthRequest,
};
use tokio::{
    sync::{Notify, watch::Sender},
    task::AbortHandle,
};

pub(crate) use cause::Cause;
pub(crate) use decisions::{HeldEverywhere, Ruling, RulingDone};
pub(crate) use held::HeldRow;

use self::{
    evaluation::{Snapshot, Strictness},
    held::Held,
};
use crate::{
    audit::event::{self, Event, Order, RevocationResult},
    replicas::Replicas,
    sessions::{Session, Sessions},
    system::{SessionKey, System},
    telemetry::Metrics,
};

/// `[revocation]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RevocationSettings {
    pub(crate) mode: RevocationMode,
    pub(crate) settle: Duration,
    pub(crate) hold_above: f64,
    /// `keys`.
    pub(crate) withdrawn_keys: bool,
}

/// `revocation.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RevocationMode {
    Off,
    Changed,
    Strict,
}

/// Ends sessions after changes.
pub(crate) struct Revocation {
    sessions: Arc<Sessions>,
    system: Arc<System>,
    metrics: Arc<Metrics>,
    in_force: Sender<Option<Arc<InForce>>>,
    held: Mutex<HeldChanges>,
    /// The kicks of the last change.
    kicks: Mutex<Option<AbortHandle>>,
    /// Sessions that should have ended may still be there.
    unfinished: Notify,
    /// The digest of the files in force.
    digest: Sender<Option<String>>,
}

/// A configuration, as far as sessions are evaluated with it.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    pub(crate) chain: Chain,
    pub(crate) policy: Arc<Policy>,
    pub(crate) settings: RevocationSettings,
    /// The configuration file, and the files that authenticators watch.
    pub(crate) files: Arc<[PathBuf]>,
}

/// The configuration in force.
#[derive(Debug)]
struct InForce {
    snapshot: Snapshot,
    settings: RevocationSettings,
    files: Arc<[PathBuf]>,
}

/// What waits for an operator.
#[derive(Debug, Default)]
struct HeldChanges {
    changes: Vec<Held>,
    /// The sessions about which an operator decided since the last change.
    decided: BTreeSet<SessionKey>,
}

/// A session that a change ends.
#[derive(Debug, Clone)]
struct Ending {
    session: Arc<Session>,
    cause: Cause,
}

impl Revocation {
    pub(crate) fn new(
        sessions: Arc<Sessions>,
        system: Arc<System>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        metrics.register_revocations(Cause::ALL.iter().map(|cause| cause.as_str()));
        Arc::new(Self {
            sessions,
            system,
            metrics,
            in_force: Sender::new(None),
            held: Mutex::default(),
            kicks: Mutex::default(),
            unfinished: Notify::new(),
            digest: Sender::new(None),
        })
    }

    /// A configuration is in force: the first one, or that of a reload.
    pub(crate) fn configured(&self, basis: Basis) {
        let Basis { chain, policy, settings, files } = basis;
        let snapshot = Snapshot::new(chain, policy);
        self.in_force.send_replace(Some(Arc::new(InForce { snapshot, settings, files })));
    }

    /// What to keep of a decision in the table of sessions, to evaluate it again later.
    pub(crate) fn record(&self, request: &AuthRequest, decision: &Decision) -> Option<Box<[u8]>> {
        let in_force = self.in_force.borrow().clone()?;
        if in_force.settings.mode == RevocationMode::Off {
            return None;
        }
        let identity = decision.identity.as_ref()?;
        let grant = decision.grant.as_ref()?;
        judged::record(request, identity, grant, &in_force.snapshot.used)
    }

    /// Begins to watch for changes. Call it once.
    pub(crate) fn start(self: &Arc<Self>) {
        if let Some(replicas) = self.replicas() {
            self.answer_peers(replicas);
            tokio::spawn(agreement::compare(Arc::clone(replicas), self.digest.subscribe()));
        }
        tokio::spawn(Arc::clone(self).watch());
    }

    /// Evaluates the sessions of these authenticators, or all of them, and ends or holds what must end.
    async fn evaluate(self: &Arc<Self>, only: Option<&BTreeSet<Arc<str>>>, now: UnixTime) {
        let Some(in_force) = self.in_force.borrow().clone() else { return };
        if in_force.settings.mode == RevocationMode::Off {
            return self.replace_held(Vec::new());
        }
        let all = self.sessions.table().len();
        let is_asked = |session: &Session| {
            only.is_none_or(|names| names.contains(&*session.common().authenticator))
        };
        let sessions = self.sessions.table().search(is_asked);
        let snapshot = Arc::clone(&in_force);
        // Thousands of decisions would hold up the logins on this thread.
        let work = tokio::task::spawn_blocking(move || snapshot.judge_all(sessions, now));
        let Ok(mut ending) = work.await else {
            tracing::error!("the evaluation of sessions panicked, which is a bug in Callgate");
            return;
        };
        let decided = self.held().decided.clone();
        ending.retain(|one| !decided.contains(&one.session.key()));
        if !held::is_held(ending.len(), all, in_force.settings.hold_above) {
            self.replace_held(Vec::new());
            return self.end(ending);
        }
        self.replace_held(held::hold(&ending, all, now));
    }

    /// Replaces the held changes, and logs those that are new.
    fn replace_held(&self, changes: Vec<Held>) {
        let mut held = self.held();
        let mut known = std::mem::take(&mut held.changes);
        for change in changes {
            match known.iter().position(|one| one.id == change.id) {
                Some(earlier) => {
                    let since = known.remove(earlier).since;
                    held.changes.push(Held { since, ..change });
                }
                None => {
                    log_held(&change);
                    self.record_held(&change, RevocationResult::Held, None);
                    held.changes.push(change);
                }
            }
        }
        for change in known {
            self.record_held(&change, RevocationResult::Withdrawn, None);
        }
        self.metrics.set_revocations_held(!held.changes.is_empty());
    }

    fn record_held(&self, change: &Held, result: RevocationResult, order: Option<Order>) {
        let Held { id, cause, sessions, .. } = change;
        self.record_change(id.clone(), *cause, sessions.len(), result, order);
    }

    /// Records what became of a change.
    fn record_change(
        &self,
        id: String,
        cause: Cause,
        sessions: usize,
        result: RevocationResult,
        order: Option<Order>,
    ) {
        self.sessions.audit().event(|| {
            let cause = cause.as_str().to_owned();
            let sessions = u64::try_from(sessions).unwrap_or(u64::MAX);
            Event::Revocation(event::Revocation { id, cause, sessions, result, order })
        });
    }

    /// Whether this replica ends the session: its own, and those of replicas that no longer run.
    fn is_mine(&self, session: &Session) -> bool {
        let Some(replicas) = self.replicas() else { return true };
        let replica = &*session.common().replica;
        *replica == **replicas.id() || (replicas.is_first() && !replicas.is_alive(replica))
    }

    /// `None` without `[state]`: then all known sessions are this replica's own.
    fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.sessions.replicas()
    }

    fn held(&self) -> MutexGuard<'_, HeldChanges> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InForce {
    fn judge_all(&self, sessions: Vec<Arc<Session>>, now: UnixTime) -> Vec<Ending> {
        let RevocationSettings { mode, withdrawn_keys, .. } = self.settings;
        let strictness = Strictness { strict: mode == RevocationMode::Strict, withdrawn_keys };
        let judge = |session: Arc<Session>| {
            let cause = self.snapshot.judge(&session, strictness, now)?;
            Some(Ending { session, cause })
        };
        sessions.into_iter().filter_map(judge).collect()
    }
}

fn log_held(Held { id, cause, sessions, share, .. }: &Held) {
    tracing::error!(
        id,
        cause = cause.as_str(),
        sessions = sessions.len(),
        share,
        "a change is held: it would end a larger share of all sessions than `revocation.hold_above`; decide with \
         `callgate revocations --apply {id}` or `--drop {id}`"
    );
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").finish_non_exhaustive()
    }
}
