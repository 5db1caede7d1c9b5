//! `--direct`: carries an order out in the process of the command.

use std::{sync::Arc, time::Duration};

use callgate_authenticators::kind::Registry;
use tokio::time::timeout;

use super::{
    super::{output::complain, source::build_env},
    Failed,
};
use crate::{
    assemble::{Assembled, assemble},
    audit::Audit,
    config::{self, Overrides},
    control::{Actor, CarryOut, Desk, Order, Viewer, conversation},
    nats,
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

/// Connects, and begins to carry the order out.
///
/// # Errors
/// If the configuration is invalid, or NATS cannot be reached.
pub(super) async fn begin(
    overrides: Overrides,
    order: Order,
    claimed_actor: Option<&str>,
    registry: Registry,
) -> Result<Viewer, Failed> {
    let actor = Actor::of_uid(rustix::process::getuid().as_raw(), claimed_actor);
    let desk = desk(&overrides, registry).await?;
    let (worker, viewer) = conversation();
    tokio::spawn(async move { desk.carry_out(order, actor, worker).await });
    Ok(viewer)
}

async fn desk(overrides: &Overrides, registry: Registry) -> Result<Desk, Failed> {
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
    let Assembled { nats: settings, accounts, .. } = assemble(config, None);
    let callout = nats::connect_once(&settings).await.map_err(Failed::unusable)?;
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
        return Ok(Desk { sessions: None, state, held_changes, audit: Audit::default() });
    };
    let system = System::new(system, Arc::default());
    system.configured(accounts);
    system.connect_once(&callout).await.map_err(Failed::unusable)?;
    let sessions = Sessions::new(system, state.clone(), Arc::default(), Audit::default());
    if let Some(state) = &state {
        sessions.learn(state.replicas(), PEER_TIMEOUT).await;
    }
    Ok(Desk { sessions: Some(sessions), state, held_changes, audit: Audit::default() })
}
