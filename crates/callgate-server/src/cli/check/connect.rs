//! `callgate check --connect`: reaches NATS and every backend as the service would.

use std::{fmt, io};

use async_nats::Client;
use callgate::authn::{Link, Probe, ProbeReport};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, time::timeout};

use crate::{
    bus::ServiceBus,
    config::Config,
    nats::{self, ConnectError},
    state,
    system::{
        SystemSettings,
        permissions::{self, Abilities},
    },
};

/// Whether one system could be reached.
#[derive(Debug)]
pub(super) struct Reached {
    /// `nats`, `state`, `system`, or the name of an authenticator.
    name: String,
    pub(super) result: Result<ProbeReport, String>,
}

/// Tries to reach NATS, the system account and the backend of every authenticator.
///
/// # Errors
/// If the runtime cannot start.
pub(super) fn reach(config: &Config, bus: &ServiceBus, probe: Probe) -> io::Result<Vec<Reached>> {
    let runtime = Runtime::new()?;
    let reached = runtime.block_on(async {
        let client = nats::connect_once(&config.nats).await;
        let client = client.map_err(ConnectError::into_reason);
        client.iter().for_each(|client| bus.bind(client));
        let state = reach_state(config, client.as_ref().ok()).await;
        let result = client.map(|_| ProbeReport::default());
        let mut all = vec![Reached { name: "nats".to_owned(), result }];
        all.extend(state);
        if let Some(system) = &config.system {
            all.push(Reached { name: "system".to_owned(), result: reach_system(system).await });
        }
        for link in config.chain.links() {
            all.extend(reach_backend(link, probe).await);
        }
        all
    });
    runtime.shutdown_background();
    Ok(reached)
}

/// Reads the bucket of `[state]`. `None` without it, or without a connection.
async fn reach_state(config: &Config, client: Option<&Client>) -> Option<Reached> {
    let result = state::examine(client?, config.state.as_ref()?, &config.nats.queue).await;
    let result = result.map_err(|error| error.to_string());
    let result = result.map(|notes| ProbeReport { notes, warnings: Vec::new() });
    Some(Reached { name: "state".to_owned(), result })
}

/// Also tries what the user of `[system]` is permitted to do.
async fn reach_system(settings: &SystemSettings) -> Result<ProbeReport, String> {
    let client = nats::connect_once(&settings.nats).await.map_err(ConnectError::into_reason)?;
    let Abilities { problems, warnings } = permissions::examine(&client).await;
    match problems.is_empty() {
        true => Ok(ProbeReport { notes: Vec::new(), warnings }),
        false => Err([problems, warnings].concat().join("; ")),
    }
}

/// `None` if the authenticator has nothing to reach.
async fn reach_backend(link: &Link, probe: Probe) -> Option<Reached> {
    let limit = link.authenticator.probe_timeout().unwrap_or(link.timeout);
    let reached = timeout(limit, link.authenticator.probe(probe)?).await;
    let result = match reached {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {limit:?}")),
    };
    Some(Reached { name: link.name.to_string(), result })
}

impl Reached {
    pub(super) fn has_warnings(&self) -> bool {
        self.result.as_ref().is_ok_and(|report| !report.warnings.is_empty())
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.result {
            Ok(ProbeReport { notes, warnings }) => {
                json!({ "name": self.name, "ok": true, "notes": notes, "warnings": warnings })
            }
            Err(error) => json!({ "name": self.name, "ok": false, "error": error }),
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.escape_debug();
        match &self.result {
            Ok(ProbeReport { notes, warnings }) => {
                write!(f, "{name}: ok")?;
                for note in notes {
                    write!(f, "; {note}")?;
                }
                for warning in warnings {
                    write!(f, "\nwarning: {name}: {warning}")?;
                }
                Ok(())
            }
            Err(error) => write!(f, "error: {name}: {error}"),
        }
    }
}
