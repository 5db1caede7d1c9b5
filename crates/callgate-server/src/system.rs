//! The connection to the system account: lists connections, closes them, and receives events.
//!
//! Never part of readiness: without it, Callgate decides as before, and kicks wait.

mod account_names;
mod connection;
mod events;
mod fleet;
mod kick;
mod leaf_nodes;
mod listing;
mod pace;
pub(crate) mod permissions;
mod servers;
mod session_key;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_nats::Client;
use callgate::responder::own_account;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch as watch_channel},
    task::AbortHandle,
    time::Instant,
};
use tracing::error;

use crate::{
    nats::{self, ConnectError, Link, NatsSettings},
    replicas::Replicas,
    telemetry::Metrics,
};
pub(crate) use account_names::AccountNames;
pub(crate) use connection::{Connection, ConnzFilter, Listing, ServersAnswered, Unavailable};
pub(crate) use events::{Disconnected, SystemEvent};
use kick::Order;
pub(crate) use kick::{KickResult, Priority};
use leaf_nodes::LeafNodes;
use listing::Query;
use servers::{Census, Servers};
pub(crate) use session_key::{ServerId, SessionKey, SessionKeyError};

/// `[system]`.
#[derive(Debug, Clone)]
pub(crate) struct SystemSettings {
    pub(crate) nats: NatsSettings,
    pub(crate) reconcile: Duration,
    pub(crate) kicks_per_second: u32,
    pub(crate) remember: usize,
}

impl SystemSettings {
    /// True if all settings are the same.
    pub(crate) fn same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => {
                let Self { nats, reconcile, kicks_per_second, remember } = one;
                nats.same_as(&other.nats)
                    && *reconcile == other.reconcile
                    && *kicks_per_second == other.kicks_per_second
                    && *remember == other.remember
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// How many events a receiver may be behind before it misses some.
const EVENTS: usize = 16_384;

/// The connection to the system account.
#[derive(Debug)]
pub(crate) struct System {
    settings: SystemSettings,
    metrics: Arc<Metrics>,
    client: OnceLock<Client>,
    callout: OnceLock<Client>,
    link: watch_channel::Sender<Link>,
    events: broadcast::Sender<SystemEvent>,
    orders: mpsc::UnboundedSender<Order>,
    /// Taken by the task that carries out the orders.
    orders_to_take: Mutex<Option<mpsc::UnboundedReceiver<Order>>>,
    accounts: ArcSwap<AccountNames>,
    /// The callout and the system account, as servers call them.
    untouchable: ArcSwapOption<BTreeSet<String>>,
    servers: Mutex<Servers>,
    census: ArcSwap<Census>,
    leaf_nodes: LeafNodes,
    /// Whether kicks are waiting or in flight.
    is_kicking: AtomicBool,
    /// How many replicas kick now, and so share `kicks_per_second`; this one included.
    kicking_replicas: AtomicU32,
    /// How often peers were overloaded while a replica kicked.
    peers_overloaded: AtomicU64,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl System {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: SystemSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        let (orders, orders_to_take) = mpsc::unbounded_channel();
        metrics.register_system(&KickResult::LABELS);
        Arc::new(Self {
            settings,
            metrics,
            client: OnceLock::new(),
            callout: OnceLock::new(),
            link: watch_channel::Sender::new(Link::Down),
            events: broadcast::Sender::new(EVENTS),
            orders,
            orders_to_take: Mutex::new(Some(orders_to_take)),
            accounts: ArcSwap::default(),
            untouchable: ArcSwapOption::empty(),
            servers: Mutex::default(),
            census: ArcSwap::default(),
            leaf_nodes: LeafNodes::default(),
            is_kicking: AtomicBool::default(),
            kicking_replicas: AtomicU32::new(1),
            peers_overloaded: AtomicU64::default(),
            tasks: Mutex::default(),
        })
    }

    /// Connects in the background, and retries forever. `callout` is the connection of `[nats]`, which knows
    /// the callout account.
    pub(crate) fn start(self: &Arc<Self>, callout: &Client) {
        let (system, callout) = (Arc::clone(self), callout.clone());
        self.spawn(async move {
            let connected = nats::connect(&system.settings.nats, Arc::clone(&system.metrics)).await;
            match connected {
                Ok((client, link)) => {
                    system.use_clients(&client, &callout);
                    system.spawn_events(client.clone());
                    watch::run(system, client, link).await;
                }
                Err(error) => error!(%error, "the connection to the system account cannot be made"),
            }
        });
    }

    /// Connects once, for a command that does not wait for a server. Events are not received.
    ///
    /// # Errors
    /// If no server can be reached.
    pub(crate) async fn connect_once(
        self: &Arc<Self>,
        callout: &Client,
    ) -> Result<(), ConnectError> {
        let client = nats::connect_once(&self.settings.nats).await?;
        self.use_clients(&client, callout);
        self.link.send_replace(Link::Up { connection: 0, refused: 0 });
        Ok(())
    }

    /// Applies the accounts of a configuration.
    pub(crate) fn configured(&self, accounts: AccountNames) {
        self.accounts.store(Arc::new(accounts));
    }

    /// Shares `kicks_per_second` with the other replicas.
    pub(crate) fn share_pace(self: &Arc<Self>, replicas: &Arc<Replicas>) {
        self.spawn(fleet::run(Arc::clone(self), Arc::clone(replicas)));
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> &SystemSettings {
        &self.settings
    }

    /// The state of the connection. After [`Link::Down`], events were lost.
    pub(crate) fn link(&self) -> watch_channel::Receiver<Link> {
        self.link.subscribe()
    }

    /// Lists the connections of all servers. A server that does not answer costs a second.
    ///
    /// # Errors
    /// If no connection can be listed at all.
    pub(crate) async fn connections(&self, filter: &ConnzFilter) -> Result<Listing, Unavailable> {
        self.connections_by_page(filter, listing::PAGE).await
    }

    async fn connections_by_page(
        &self,
        filter: &ConnzFilter,
        page: usize,
    ) -> Result<Listing, Unavailable> {
        let client = self.connected()?;
        let untouchable = match self.untouchable.load_full() {
            Some(known) => known,
            None => self.learn_untouchable().await?,
        };
        let accounts = self.accounts.load_full();
        let query = Query { page, ..Query::of(filter, &accounts) };
        let answers = listing::ask(client, &query).await?;
        let census = self.take_census(&answers.stats);
        let without_leaf_nodes = answers
            .servers
            .iter()
            .filter(|server| !server.lists_leaf_nodes)
            .map(|server| (server.id, Arc::clone(&server.name)))
            .collect();
        let mut listing =
            listing::listing(answers.servers, filter, &census, &untouchable, &accounts);
        self.leaf_nodes.add_to(&mut listing, &without_leaf_nodes, filter, &untouchable);
        listing.without_leaf_nodes = without_leaf_nodes;
        Ok(listing)
    }

    /// Closes a connection, and waits until its server has confirmed it. While the connection to the system
    /// account is lost, the kick waits; dropping the future withdraws a kick that was not sent.
    pub(crate) async fn kick(
        &self,
        session: SessionKey,
        priority: Priority,
        cause: &'static str,
    ) -> KickResult {
        let (result, kicked) = oneshot::channel();
        // Fails only if the task has ended, and then the result is dropped as well.
        let _ = self.orders.send(Order { session, priority, cause, result });
        let ended =
            || KickResult::Failed("the connection to the system account is closed".to_owned());
        kicked.await.unwrap_or_else(|_| ended())
    }

    /// Events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<SystemEvent> {
        self.events.subscribe()
    }

    /// Closes the connection.
    pub(crate) fn shut_down(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
    }

    fn connected(&self) -> Result<&Client, Unavailable> {
        let is_up = *self.link.borrow() != Link::Down;
        self.client.get().filter(|_| is_up).ok_or(Unavailable::NotConnected)
    }

    /// Learns the accounts whose connections are never listed or closed.
    async fn learn_untouchable(&self) -> Result<Arc<BTreeSet<String>>, Unavailable> {
        let mut accounts = BTreeSet::new();
        for client in [self.client.get(), self.callout.get()] {
            let client = client.ok_or(Unavailable::NotConnected)?;
            let own = own_account(client).await;
            let own = own.map_err(|error| Unavailable::CalloutAccountUnknown(error.to_string()))?;
            accounts.insert(own.account);
        }
        let accounts = Arc::new(accounts);
        self.untouchable.store(Some(Arc::clone(&accounts)));
        Ok(accounts)
    }

    fn take_census(&self, stats: &[wire::Stats]) -> Arc<Census> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let census = Arc::new(servers.count(stats, Instant::now()));
        drop(servers);
        if census.is_complete() {
            self.leaf_nodes.keep_only_on(|server| census.answered.contains_key(&server));
        }
        self.metrics.set_system_servers(census.answered.len(), census.expected);
        self.census.store(Arc::clone(&census));
        census
    }

    /// Whether a server process certainly does not run any more, so that its connections have ended.
    fn is_stopped(&self, server: ServerId) -> bool {
        let census = self.census.load();
        census.is_complete() && !census.answered.contains_key(&server)
    }

    /// How many logins were refused as `overloaded` that kicks may have caused.
    fn overloaded_count(&self) -> u64 {
        self.metrics.overloaded_count() + self.peers_overloaded.load(Ordering::Relaxed)
    }

    /// Whether this is one of Callgate's own connections.
    fn is_own(&self, session: SessionKey) -> bool {
        [self.client.get(), self.callout.get()].into_iter().flatten().any(|client| {
            let info = client.server_info();
            let server = info.server_id.parse().ok();
            server == Some(session.server) && info.client_id == session.client_id
        })
    }

    fn use_clients(self: &Arc<Self>, client: &Client, callout: &Client) {
        let _is_first = self.client.set(client.clone());
        let _is_first = self.callout.set(callout.clone());
        let mut orders = self.orders_to_take.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = orders.take() {
            self.spawn(kick::run(Arc::clone(self), client.clone(), orders));
        }
    }

    fn spawn_events(self: &Arc<Self>, client: Client) {
        let system = Arc::clone(self);
        self.spawn(async move {
            if let Err(error) = events::run(system, client).await {
                error!(%error, "events of servers cannot be received");
            }
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task).abort_handle();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }
}
