//! `[shadow]`: resolves identities that logged in with a candidate configuration as well, and compares.
//!
//! Nothing here reaches an answer: decisions arrive when they are recorded, wait in a bounded queue, and are
//! compared on a thread of their own. No authenticator is asked.

mod candidate;
mod log;

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use callgate::{
    authn::Identity,
    policy::{ClaimNames, Grant},
    record::{Decision, Reason},
    request::AuthRequest,
};
use tracing::error;

use self::{candidate::Candidate, log::DifferenceLog};
use crate::{
    audit::PendingRecord,
    config::ShadowSettings,
    rehearsal::{
        Rehearsal,
        difference::{Difference, Kind, NoGrant, differences},
    },
    telemetry::Metrics,
};

/// Decisions that may wait.
const MAX_WAITING: usize = 1024;
/// How often the files of the candidate are checked.
const POLL: Duration = Duration::from_secs(1);

/// How long the last comparisons may take when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// How a decision compares with that of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ShadowResult {
    Same,
    Refused,
    Admitted,
    Account,
    Lost,
    Gained,
    Shorter,
    Failed,
    Skipped,
}

impl ShadowResult {
    pub(crate) const ALL: [Self; 9] = [
        Self::Same,
        Self::Refused,
        Self::Admitted,
        Self::Account,
        Self::Lost,
        Self::Gained,
        Self::Shorter,
        Self::Failed,
        Self::Skipped,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Refused => "refused",
            Self::Admitted => "admitted",
            Self::Account => "account",
            Self::Lost => "lost",
            Self::Gained => "gained",
            Self::Shorter => "shorter",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// The result that says most about these differences.
    fn of(differences: &[Difference]) -> Self {
        let of_kind = |difference: &Difference| match difference.kind {
            Kind::Refused => Self::Refused,
            Kind::New => Self::Admitted,
            Kind::Account => Self::Account,
            Kind::Loses | Kind::Changed => Self::Lost,
            Kind::Gains | Kind::Longer | Kind::Role => Self::Gained,
            Kind::Shorter => Self::Shorter,
        };
        differences.iter().map(of_kind).min().unwrap_or(Self::Same)
    }
}

/// Compares decisions with those of the candidate, if one is configured. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Shadow {
    running: Arc<ArcSwapOption<Running>>,
    /// The claims that the live policy uses.
    live_claims: Arc<ArcSwap<ClaimNames>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Running {
    config: PathBuf,
    queue: SyncSender<Waiting>,
    finished: Arc<Finished>,
}

/// Whether the thread has ended.
type Finished = (Mutex<bool>, Condvar);

/// A decision that waits for its comparison. Its record is written in any case.
#[derive(Debug)]
struct Waiting {
    observed: Observed,
    record: Option<PendingRecord>,
}

impl Waiting {
    fn finish(self, result: ShadowResult, metrics: &Metrics) {
        metrics.count_shadow(result.as_str());
        if let Some(mut record) = self.record {
            record.add_shadow(result.as_str());
        }
    }
}

/// A decision to compare: who logged in how, and what the live configuration decided.
#[derive(Debug)]
struct Observed {
    authenticator: Arc<str>,
    identity: Arc<Identity>,
    request: Arc<AuthRequest>,
    live: Result<Arc<Grant>, Reason>,
}

impl Shadow {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { running: Arc::default(), live_claims: Arc::default(), metrics }
    }

    /// Starts to compare with this candidate, or stops. The live policy uses `live_claims`.
    pub(crate) fn configure(&self, settings: Option<ShadowSettings>, live_claims: ClaimNames) {
        self.live_claims.store(Arc::new(live_claims));
        let Some(settings) = settings else { return self.running.store(None) };
        let running = self.running.load();
        if running.as_ref().is_some_and(|running| running.config == settings.config) {
            return;
        }
        self.metrics.register_shadow(ShadowResult::ALL.iter().map(|result| result.as_str()));
        let (queue, decisions) = sync_channel(MAX_WAITING);
        let config = settings.config.clone();
        let metrics = Arc::clone(&self.metrics);
        let live_claims = Arc::clone(&self.live_claims);
        let finished = Arc::<Finished>::default();
        let signal = Arc::clone(&finished);
        let work = move || {
            compare_all(&decisions, settings, &live_claims, &metrics);
            *signal.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            signal.1.notify_all();
        };
        match thread::Builder::new().name("shadow".to_owned()).spawn(work) {
            Ok(_detached) => {
                self.running.store(Some(Arc::new(Running { config, queue, finished })));
            }
            Err(error) => error!(%error, "cannot start the thread that compares with [shadow]"),
        }
    }

    /// Takes a decision for comparison, and its record, which is written with the result. Never waits.
    pub(crate) fn decision(&self, decision: &Decision, record: Option<PendingRecord>) {
        let running = self.running.load();
        let Some(running) = running.as_ref() else { return };
        let Some(observed) = Observed::of(decision) else { return };
        match running.queue.try_send(Waiting { observed, record }) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(waiting)) => {
                waiting.finish(ShadowResult::Skipped, &self.metrics);
            }
        }
    }

    /// Ends the comparison, and waits for a short time until the waiting decisions are recorded.
    pub(crate) fn stop(&self) {
        let Some(running) = self.running.swap(None) else { return };
        let finished = Arc::clone(&running.finished);
        drop(running);
        let is_running = |finished: &mut bool| !*finished;
        let lock = finished.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = finished.1.wait_timeout_while(lock, STOP_TIMEOUT, is_running);
        if waited.is_ok_and(|(_, waited)| waited.timed_out()) {
            error!("the last decisions were not compared with [shadow], and are not in the audit");
        }
    }
}

impl Observed {
    /// `None` if no authenticator identified the client: there is nothing to resolve.
    fn of(decision: &Decision) -> Option<Self> {
        let live = match &decision.grant {
            Some(grant) => Ok(Arc::clone(grant)),
            None => Err(decision.reason),
        };
        Some(Self {
            authenticator: Arc::clone(decision.authenticator.as_ref()?),
            identity: Arc::clone(decision.identity.as_ref()?),
            request: Arc::clone(decision.request.as_ref()?),
            live,
        })
    }

    /// `None` if the candidate cannot decide.
    fn compare(&self, candidate: &Rehearsal, live_claims: &ClaimNames) -> Option<Vec<Difference>> {
        if !candidate.has_authenticator(&self.authenticator) {
            return None;
        }
        let Self { authenticator, identity, request, live } = self;
        let new = candidate.resolve_request(authenticator, identity, request, live_claims)?;
        let new = new.map_err(NoGrant::from);
        let old = match live {
            Ok(grant) => Ok(Grant::clone(grant)),
            Err(reason) => Err(NoGrant(reason.as_str().to_owned())),
        };
        Some(differences(&old, &new, request.received()))
    }
}

/// Compares until the service drops the queue.
fn compare_all(
    decisions: &Receiver<Waiting>,
    settings: ShadowSettings,
    live_claims: &ArcSwap<ClaimNames>,
    metrics: &Metrics,
) {
    let mut candidate = Candidate::new(settings);
    let mut log = DifferenceLog::default();
    loop {
        candidate.refresh();
        let waiting = match decisions.recv_timeout(POLL) {
            Ok(waiting) => waiting,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let observed = &waiting.observed;
        let live_claims = live_claims.load();
        let in_force = candidate.in_force();
        let compared = in_force.and_then(|candidate| observed.compare(candidate, &live_claims));
        let result = match &compared {
            Some(differences) => ShadowResult::of(differences),
            None => ShadowResult::Failed,
        };
        let differences = compared.unwrap_or_default();
        log.write(&observed.authenticator, &observed.identity.user, result, &differences);
        waiting.finish(result, metrics);
    }
}
