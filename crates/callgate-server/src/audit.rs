//! The audit: what was decided, ordered and changed, as chained records in files, a stream or standard
//! output.
//!
//! A decision becomes a record on its own thread, and waits for nothing but a short lock per sink. Each
//! sink has a bounded queue and a thread, which makes the lines of the sink's own chain and writes them.
//! With `required`, [`hook`] makes each admission wait until one sink has stored its record.

mod chain;
mod decision;
pub(crate) mod event;
mod file;
mod grant_hash;
mod hook;
pub(crate) mod lines;
mod privacy;
mod queue;
mod rotate;
mod schema;
mod settings;
mod sink;
mod stream;
pub(crate) mod verify;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use callgate::{
    policy::ClaimNames,
    record::{Decision, Outcome},
};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{error, warn};

use self::{
    chain::{Chain, Process, body},
    decision::DecisionRecord,
    event::{Gap, Start, Stop},
    file::FileOutput,
    privacy::Hider,
    queue::{Queue, Receipt},
    rotate::Rotation,
    sink::{Output, Stdout, Worker},
    stream::StreamOutput,
};
use crate::{
    expected::Expected,
    telemetry::{Drops, Metrics},
};

pub(crate) use event::{ConfigLoad, Event, LoadResult, UsersLoad};
pub(crate) use file::FileError;
pub(crate) use grant_hash::grant_hash;
pub(crate) use hook::AuditHook;
pub(crate) use privacy::{HIDDEN_PREFIX, Hidden, HideKey};
pub(crate) use schema::schema;
pub(crate) use settings::{
    AuditSettings, CreateSettings, FileSettings, RotateSettings, SinkSettings, StreamSettings,
};
use stream::Connection;
pub(crate) use stream::PERMISSIONS;

/// How long the last records may take when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// With `required`: without a stored record for this long, another replica must decide.
const MAX_UNSTORED: Duration = Duration::from_secs(3);

/// The audit cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot start a thread of the audit: {0}")]
    Thread(#[from] std::io::Error),
    #[error("the system has no random numbers")]
    NoRandomness,
}

/// What the audit needs.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) settings: AuditSettings,
    pub(crate) metrics: Arc<Metrics>,
    /// `nats.queue`.
    pub(crate) fleet: String,
    pub(crate) connection: Connection,
    pub(crate) expected: Expected,
}

/// A handle on the audit of this process. Until it is started, and if it is off, nothing is recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audit(Arc<OnceLock<Running>>);

#[derive(Debug)]
struct Running {
    settings: AuditSettings,
    hider: Hider,
    sinks: Vec<Sink>,
    drops: Mutex<Drops>,
    metrics: Arc<Metrics>,
    /// The claims that the policy in force uses.
    claims: ArcSwap<ClaimNames>,
    expected: Expected,
}

#[derive(Debug)]
struct Sink {
    name: String,
    is_durable: bool,
    queue: Arc<Queue>,
}

impl Audit {
    /// Opens the sinks, and records the start. The first call counts.
    ///
    /// # Errors
    /// If a file cannot be written, or a thread cannot be started.
    pub(crate) fn start(&self, environment: Environment) -> Result<(), AuditError> {
        let Environment { settings, metrics, fleet, connection, expected } = environment;
        let mut random = [0; 8];
        rand::fill(&mut random).map_err(|_| AuditError::NoRandomness)?;
        let process = Process::new(&host_name(), &HEXLOWER.encode(&random));
        let mut sinks = Vec::new();
        for sink in &settings.sinks {
            let name = sink.name().to_owned();
            let queue = Arc::new(Queue::new());
            let starting = Starting {
                name: name.clone(),
                queue: Arc::clone(&queue),
                chain: Chain::new(process.clone(), settings.key.clone()),
                metrics: Arc::clone(&metrics),
                fleet: fleet.clone(),
                connection: connection.clone(),
                is_awaited: settings.required && sink.is_durable(),
            };
            starting.start(sink)?;
            let bytes = Arc::clone(&queue);
            metrics.register_audit_sink(&name, move || bytes.bytes());
            sinks.push(Sink { name, is_durable: sink.is_durable(), queue });
        }
        let hider = settings.hider();
        let drops = Mutex::default();
        let claims = ArcSwap::default();
        let running = Running { settings, hider, sinks, drops, metrics, claims, expected };
        // Fails if it runs already.
        let _ = self.0.set(running);
        Ok(())
    }

    /// True if no login is admitted without a stored record.
    pub(crate) fn is_required(&self) -> bool {
        self.0.get().is_some_and(|running| running.settings.required)
    }

    /// Makes the record of a decision, unless [`AuditHook`] has done so already.
    pub(crate) fn decision(
        &self,
        decision: &Decision,
        unexpected_source: bool,
    ) -> Option<PendingRecord> {
        let running = self.0.get()?;
        let facts = running.facts(decision);
        let facts = facts.as_ref();
        let record = || {
            DecisionRecord::new(decision, &running.hider)
                .with_facts(facts)
                .with_unexpected_source(unexpected_source)
        };
        let body = match decision.outcome() {
            Outcome::Admitted if running.settings.required => return None,
            Outcome::Admitted | Outcome::Refused => body(&record()),
            Outcome::Dropped => {
                // As in the log: garbage is recorded once a minute for each cause.
                let mut drops = running.drops.lock().unwrap_or_else(PoisonError::into_inner);
                let admitted =
                    drops.admit(decision.reason, &decision.detail, tokio::time::Instant::now());
                drop(drops);
                body(&record().dropped(decision, admitted?))
            }
        };
        Some(PendingRecord { audit: self.clone(), body, time: Timestamp::now() })
    }

    /// Records something else that happened.
    pub(crate) fn event(&self, event: impl FnOnce() -> Event) {
        let Some(running) = self.0.get() else { return };
        let mut event = event();
        event.protect(&running.hider);
        running.push(&body(&event), Timestamp::now(), None);
    }

    /// Sets which claims the policy in force uses.
    pub(crate) fn policy_claims(&self, names: ClaimNames) {
        if let Some(running) = self.0.get() {
            running.claims.store(Arc::new(names));
        }
    }

    /// With `required`: why another replica must decide, if no sink has stored anything for a while.
    pub(crate) fn not_storing(&self) -> Option<String> {
        let running = self.0.get().filter(|running| running.settings.required)?;
        let now = Instant::now();
        let mut durable = running.sinks.iter().filter(|sink| sink.is_durable);
        durable.all(|sink| sink.queue.waiting_for(now) >= MAX_UNSTORED).then(|| {
            let seconds = MAX_UNSTORED.as_secs();
            format!(
                "a sink of the audit (audit.required): none has stored a record for {seconds} s"
            )
        })
    }

    /// Records the stop, and waits for a short time until every sink has written it.
    pub(crate) fn stop(&self) {
        self.event(|| Event::Stop(Stop {}));
        let Some(running) = self.0.get() else { return };
        running.sinks.iter().for_each(|sink| sink.queue.close());
        let end = Instant::now() + STOP_TIMEOUT;
        for sink in &running.sinks {
            if !sink.queue.wait_until_finished(end) {
                error!(sink = sink.name, "the audit was not written completely before the stop");
            }
        }
    }
}

/// The record of a decision, which is written when it is dropped.
#[derive(Debug)]
pub(crate) struct PendingRecord {
    audit: Audit,
    body: Vec<u8>,
    time: Timestamp,
}

impl PendingRecord {
    /// Adds how the candidate of `[shadow]` decides.
    pub(crate) fn add_shadow(&mut self, result: &'static str) {
        add_shadow(&mut self.body, result);
    }
}

/// Adds the last member to the record of a decision.
fn add_shadow(record: &mut Vec<u8>, result: &str) {
    if record.pop_if(|last| *last == b'}').is_some() {
        record.extend_from_slice(format!(",\"shadow\":\"{result}\"}}").as_bytes());
    }
}

impl Drop for PendingRecord {
    fn drop(&mut self) {
        if let Some(running) = self.audit.0.get() {
            running.push(&self.body, self.time, None);
        }
    }
}

impl Running {
    /// Gives a record to every sink.
    fn push(&self, body: &[u8], time: Timestamp, receipt: Option<&Arc<Receipt>>) {
        let now = Instant::now();
        for sink in &self.sinks {
            let receipt = receipt.filter(|_| sink.is_durable);
            if sink.queue.push(time, body, receipt.map(Arc::clone), now).is_err() {
                self.metrics.count_audit_records(&sink.name, false, 1);
                receipt.into_iter().for_each(|receipt| receipt.fail());
            }
        }
    }

    /// The claims of the identity that policy names, if they are recorded.
    fn facts(&self, decision: &Decision) -> Option<Map<String, Value>> {
        let identity = decision.identity.as_ref().filter(|_| self.settings.facts)?;
        let mut facts = self.claims.load().select(&identity.claims);
        self.hider.protect_facts(&mut facts, &identity.user);
        Some(facts)
    }

    /// A receipt for a record of an admission.
    fn receipt(&self) -> Arc<Receipt> {
        let durable = self.sinks.iter().filter(|sink| sink.is_durable).count();
        Arc::new(Receipt::new(durable))
    }
}

/// A sink whose output is not open yet.
struct Starting {
    name: String,
    queue: Arc<Queue>,
    chain: Chain,
    metrics: Arc<Metrics>,
    /// `nats.queue`.
    fleet: String,
    connection: Connection,
    is_awaited: bool,
}

impl Starting {
    fn start(self, settings: &SinkSettings) -> Result<(), AuditError> {
        match settings {
            SinkSettings::File(settings) => {
                let rotation = settings.rotate.as_ref().map(|rotate| {
                    Rotation::start(rotate, &settings.path, Arc::clone(&self.metrics))
                });
                let rotation = rotation.transpose()?;
                let (output, found) = FileOutput::open(&settings.path, self.is_awaited, rotation)?;
                if let Some(gap) = &found.gap {
                    warn!(
                        sink = self.name,
                        records = gap.records,
                        "cut off an incomplete audit record"
                    );
                }
                let after = found.last.map(|hash| HEXLOWER.encode(&hash));
                self.spawn(output, after, found.gap)
            }
            SinkSettings::Stream(settings) => {
                let output = StreamOutput::new(settings, &self.fleet, self.connection.clone());
                self.spawn(output, None, None)
            }
            SinkSettings::Stdout => self.spawn(Stdout, None, None),
        }
    }

    fn spawn(
        self,
        output: impl Output + 'static,
        after: Option<String>,
        gap: Option<Gap>,
    ) -> Result<(), AuditError> {
        let Self { name, queue, chain, metrics, fleet: _, connection: _, is_awaited } = self;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let start = Event::Start(Start { version, after });
        for event in [Some(start), gap.map(Event::Gap)].into_iter().flatten() {
            // An empty queue has room.
            let _ = queue.push(Timestamp::now(), &body(&event), None, Instant::now());
        }
        let gaps = Vec::new();
        let worker = Worker { name, queue, chain, output, metrics, is_awaited, gaps };
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || worker.run())?;
        Ok(())
    }
}

/// The name of this machine or pod.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
