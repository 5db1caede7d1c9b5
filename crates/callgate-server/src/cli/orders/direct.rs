//! `--direct`: carries an order out in the process of the command.

use std::{fs::File, path::Path, sync::Arc, time::Duration};

use async_nats::Client;
use callgate_authenticators::kind::Registry;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    super::{output::complain, source::build_env},
    Failed,
};
use crate::{
    assemble::{Assembled, assemble},
    audit::{Audit, AuditSettings, Environment, SinkSettings, event::Via},
    config::{self, Overrides},
    control::{Actor, CarryOut, Executor, KickOrder, LockOrder, Order, Viewer, conversation},
    expected::Expected,
    nats::{self, NatsSettings},
    replicas::Replicas,
    revocation::HeldEverywhere,
    sessions::Sessions,
    state::State,
    system::System,
};

/// How long reading the locks may take.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long running replicas may take to send their sessions.
const PEER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long another command may hold the files of the audit.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// An order that is being carried out.
pub(super) struct Begun {
    pub(super) viewer: Viewer,
    pub(super) recording: Recording,
}

/// The audit of this command.
#[derive(Debug, Default)]
pub(super) struct Recording {
    audit: Audit,
    /// The lock that keeps other commands from the same files.
    turn: Option<File>,
}

impl Recording {
    /// The order has been carried out. Waits a short time until everything is written.
    pub(super) fn finish(self) {
        let Self { audit, turn } = self;
        audit.stop();
        drop(turn);
    }
}

/// Connects, and begins to carry the order out.
///
/// # Errors
/// If the configuration is invalid, or NATS cannot be reached.
pub(super) async fn begin(
    overrides: Overrides,
    order: Order,
    claimed_actor: Option<&str>,
    registry: Registry,
) -> Result<Begun, Failed> {
    let actor = Actor::of_uid(rustix::process::getuid().as_raw(), claimed_actor);
    let (executor, recording) = executor(&overrides, changes_something(&order), registry).await?;
    let (worker, viewer) = conversation();
    tokio::spawn(async move { executor.carry_out(order, actor, worker).await });
    Ok(Begun { viewer, recording })
}

/// Whether the order belongs into the audit.
fn changes_something(order: &Order) -> bool {
    match order {
        Order::Kick(KickOrder { dry_run, .. }) | Order::Lock(LockOrder { dry_run, .. }) => !dry_run,
        Order::Unlock { .. } => true,
        // The replicas that hold a change record what an operator decides about it.
        Order::RuleRevocation { .. } => false,
        Order::Sessions { .. } | Order::Locks | Order::Revocations => false,
    }
}

async fn executor(
    overrides: &Overrides,
    is_recorded: bool,
    registry: Registry,
) -> Result<(Executor, Recording), Failed> {
    let loaded = config::load(overrides, &build_env(registry, false));
    let Some(config) = loaded.config else {
        for fault in loaded.report.faults() {
            complain(format_args!("error: {fault}"));
        }
        return Err(Failed::unusable(
            "invalid configuration; `callgate check` prints the same errors",
        ));
    };
    let system = config.system.clone();
    let state = config.state.clone();
    let settings_of_audit = config.audit.clone().filter(|_| is_recorded);
    let Assembled { nats: settings, accounts, .. } = assemble(config, None);
    let callout = nats::connect_once(&settings).await.map_err(Failed::unusable)?;
    let recording = match settings_of_audit {
        Some(audit) => record_beside(&audit, &settings, &callout).await,
        None => Recording::default(),
    };
    let audit = recording.audit.clone();
    let state = state.map(|state| {
        let replicas = Replicas::visitor(&settings.queue, state.pulse());
        replicas.start(&callout);
        let state = State::visitor(state, replicas);
        state.start(&callout);
        state
    });
    if let Some(state) = &state {
        let known = timeout(STATE_TIMEOUT, state.known()).await;
        known.map_err(|_elapsed| {
            Failed::unusable("the locks in the bucket of `[state]` cannot be read")
        })?;
    }
    let held_changes =
        state.as_ref().map(|state| HeldEverywhere::Visitor(Arc::clone(state.replicas())));
    let Some(system) = system else {
        let executor = Executor { sessions: None, state, held_changes, audit, via: Via::Direct };
        return Ok((executor, recording));
    };
    let system = System::new(system, Arc::default());
    system.configured(accounts);
    system.connect_once(&callout).await.map_err(Failed::unusable)?;
    let sessions = Sessions::new(system, state.clone(), Arc::default(), audit.clone());
    if let Some(state) = &state {
        sessions.learn(state.replicas(), PEER_TIMEOUT).await;
    }
    let sessions = Some(sessions);
    let executor = Executor { sessions, state, held_changes, audit, via: Via::Direct };
    Ok((executor, recording))
}

/// Starts the audit of this command, beside the files of the service. An order is also carried out if it
/// cannot be recorded: it may be needed most when a disk is full.
async fn record_beside(
    settings: &AuditSettings,
    nats: &NatsSettings,
    client: &Client,
) -> Recording {
    let mut settings = settings.beside("direct");
    // Standard output has the result of the command.
    settings.sinks.retain(|sink| *sink != SinkSettings::Stdout);
    if settings.sinks.is_empty() {
        return Recording::default();
    }
    let turn = turn(&settings).await;
    let audit = Audit::default();
    let started = audit.start(Environment {
        settings,
        metrics: Arc::default(),
        fleet: nats.queue.clone(),
        // Its sender is gone, and its value stays.
        connection: watch::Sender::new(Some(client.clone())).subscribe(),
        expected: Expected::default(),
    });
    if let Err(error) = started {
        complain(format_args!("note: the order is not recorded in the audit: {error}"));
    }
    Recording { audit, turn }
}

/// Waits while another command records to the same files: it holds the folder of the first one.
async fn turn(settings: &AuditSettings) -> Option<File> {
    let file = settings.sinks.iter().find_map(|sink| match sink {
        SinkSettings::File(file) => Some(&file.path),
        SinkSettings::Stream(_) | SinkSettings::Stdout => None,
    })?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    let end = Instant::now() + AUDIT_TIMEOUT;
    while folder.try_lock().is_err() && Instant::now() < end {
        sleep(POLL_INTERVAL).await;
    }
    Some(folder)
}
