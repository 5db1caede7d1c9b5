//! The life of the service: connect, join the queue group when all sources have loaded, verify the
//! subscription, reload the configuration, shut down without losing a request.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use async_nats::Client;
use callgate::{
    Callgate,
    authn::Chain,
    responder::{
        OwnAccount, Responder, ResponderOptions, ServeError, own_account as request_own_account,
    },
};
use callgate_config::file_watch::Fingerprints;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use crate::{
    admin::{self, Admin},
    assemble::{Assembled, PublicKeys, assemble},
    config::{BuildEnv, Config, Overrides},
    control::{Socket, SocketError},
    health::Health,
    nats::{self, Link, NatsSettings},
    observers::Observers,
    operations::Operations,
    own_account::{self, Checked},
    peers::Peers,
    reload::Reloader,
    revocation::RevocationMode,
    telemetry::CONFIGURATION,
    watchdog,
};

/// How often state without events is polled.
const TICK: Duration = Duration::from_millis(250);
/// How long requests in flight may take to finish.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
/// Before another attempt to become ready.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// async-nats delivers server errors on a separate channel from replies, possibly a little later. An error
/// that comes even later still revokes the confirmation.
const ERROR_DELAY: Duration = Duration::from_millis(25);
const REFUSED: &str = "the NATS server ended the subscription to `$SYS.REQ.USER.AUTH`: see its error in \
                       the log, and check the subscribe permissions of the callout user";

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    #[error(transparent)]
    Control(#[from] SocketError),
    #[error(transparent)]
    Nats(#[from] nats::ConnectError),
    #[error("{0}")]
    Gate(#[from] callgate::BuildError),
    #[error("cannot install a signal handler or start a thread: {0}")]
    System(#[from] std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(
    config: Config,
    overrides: Overrides,
    env: BuildEnv,
    observers: Arc<Observers>,
    files: Fingerprints,
    watched_elsewhere: BTreeSet<PathBuf>,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    watchdog::start()?;
    let health = Health::default();
    let (stop_admin, admin_stopped) = watch::channel(());
    if let Some(address) = config.admin {
        let listener = admin::bind(address).await?;
        // With port 0, the system chooses the port.
        let address = listener.local_addr()?.to_string();
        let admin = Admin { health: health.clone(), metrics: Arc::clone(&observers.metrics) };
        let mut stopped = admin_stopped;
        tokio::spawn(admin::serve(listener, admin, async move {
            let _ = stopped.changed().await;
        }));
        info!(address, "serving /livez, /readyz and /metrics");
    }
    let control = config.control.as_deref().map(Socket::bind).transpose()?;
    let bus = env.bus.clone();
    let operations = Arc::new(Operations::new(&config, Arc::clone(&observers)));
    let mut reloader =
        Reloader::new(&config, overrides, env, files, watched_elsewhere, &operations);
    let max_in_flight = config.admission.max_in_flight;
    let Assembled { builder, chain, nats: settings, keys, accounts, basis } =
        assemble(config, Some(&operations));
    announce(&keys);
    let gate = builder.build()?;
    let (client, link) = nats::connect(&settings, Arc::clone(&observers.metrics)).await?;
    bus.iter().for_each(|bus| bus.bind(&client));
    operations.configured(&accounts, basis);
    operations.start(&client);
    let orders = Arc::new(operations.executor());
    let control = control.map(|socket| tokio::spawn(socket.serve(orders)));
    let mut service = Service {
        gate,
        chain,
        keys,
        settings,
        client,
        link,
        health,
        observers,
        operations,
        max_in_flight,
        membership: Membership::Outside,
        peers: Peers::default(),
        retry_at: Instant::now(),
        logged_waiting: None,
        logged_unverified: None,
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reloader.request(),
            _ = tick.tick() => reloader.poll_files(),
            changed = service.link.changed() => if changed.is_err() { break },
        }
        if let Some(fresh) = reloader.take_ready().await {
            match service.apply(fresh) {
                Ok(()) => reloader.applied(),
                Err(error) => reloader.rejected(&error),
            }
        }
        service.progress().await;
    }
    info!("shutting down: finishing requests in flight");
    service.shut_down().await;
    if let Some(control) = control {
        control.abort();
        // Then the socket is removed.
        let _aborted = control.await;
    }
    drop(stop_admin);
    Ok(())
}

fn announce(keys: &PublicKeys) {
    let (mode, needed) = match keys.operator_mode {
        true => (
            "operator",
            "starting; this issuer must be the callout account, and its JWT must have this xkey",
        ),
        false => (
            "configuration",
            "starting; auth_callout in nats-server.conf must have this issuer and xkey",
        ),
    };
    let xkey = keys.xkeys.first().map(|key| key.as_str()).unwrap_or("none");
    info!(mode, issuer = keys.subject.as_str(), xkey, "{needed}");
}

/// Membership of the queue group.
#[derive(Debug)]
enum Membership {
    Outside,
    /// Subscribed, as far as the client knows.
    Inside {
        responder: Box<Responder>,
        /// Number of the connection on which a server confirmed the subscription.
        confirmed_on: Option<u64>,
        /// `Link::Up::refused` before this subscription.
        refused_before: u64,
    },
}

struct Service {
    gate: Callgate,
    chain: Chain,
    keys: PublicKeys,
    settings: NatsSettings,
    client: Client,
    link: watch::Receiver<Link>,
    health: Health,
    observers: Arc<Observers>,
    operations: Arc<Operations>,
    max_in_flight: u32,
    membership: Membership,
    peers: Peers,
    retry_at: Instant,
    logged_waiting: Option<String>,
    /// The `issuer.callout_account` for which a warning was logged that it cannot be verified.
    logged_unverified: Option<String>,
}

impl Service {
    /// Takes the next step towards being ready, if it can be taken now.
    async fn progress(&mut self) {
        let Link::Up { connection, refused } = *self.link.borrow_and_update() else {
            self.health.not_ready("no connection to NATS");
            return;
        };
        if let Some(waiting) = self.operations.waiting_for() {
            self.leave_queue_group();
            self.log_waiting(&waiting, "a part of the service forbids it");
            return;
        }
        if let Membership::Inside { responder, confirmed_on, refused_before } = &self.membership {
            if refused != *refused_before || !responder.is_running() {
                self.leave_queue_group();
                self.retry_later(REFUSED);
                return;
            }
            if *confirmed_on == Some(connection) {
                self.health.ready(self.chain.remarks());
                self.watch_account().await;
                return;
            }
        }
        let waiting = self.chain.waiting_for();
        if matches!(self.membership, Membership::Outside) && !waiting.is_empty() {
            let names: Vec<_> =
                waiting.iter().map(|(name, what)| format!("{name}: {what}")).collect();
            self.log_waiting(&names.join("; "), "an authenticator's source has not loaded");
            return;
        }
        if Instant::now() < self.retry_at {
            return;
        }
        if let Err(why) = self.become_ready(connection, refused).await {
            self.retry_later(why);
        }
    }

    /// Scans for peers, and notices lost permissions.
    async fn watch_account(&mut self) {
        let own = self.peers.poll(&self.client, &self.settings.queue).await;
        // The client drops server errors if its channel is full, so the permission is also checked here.
        if own.is_some_and(|own| !own.may_answer_requests) {
            self.leave_queue_group();
            self.retry_later(ServeError::NotPermitted.to_string());
        }
    }

    fn retry_later(&mut self, why: impl Into<String>) {
        let why = why.into();
        error!(why, "not ready; retrying");
        self.health.not_ready(why);
        self.retry_at = Instant::now() + RETRY_DELAY;
    }

    /// No more requests arrive: those in flight are finished in the background, and `progress` joins again.
    fn leave_queue_group(&mut self) {
        if let Membership::Inside { responder, .. } =
            std::mem::replace(&mut self.membership, Membership::Outside)
        {
            tokio::spawn(responder.leave(DRAIN_TIMEOUT));
        }
    }

    fn log_waiting(&mut self, what: &str, cause: &str) {
        let why = format!("waiting for {what}");
        self.health.not_ready(why.clone());
        if self.logged_waiting.as_ref() != Some(&why) {
            warn!(why, "not ready: {cause}");
            self.logged_waiting = Some(why);
        }
    }

    async fn become_ready(&mut self, connection: u64, refused: u64) -> Result<(), String> {
        let own = self.own_account().await?;
        self.check_own_account(&own)?;
        self.gate.learn_callout_account(&own.account);
        if matches!(self.membership, Membership::Outside) {
            self.join(refused).await?;
        }
        // A request after the subscription on the same connection: its answer confirms the
        // subscription, unless the server has sent an error before.
        self.own_account().await?;
        tokio::time::sleep(ERROR_DELAY).await;
        match *self.link.borrow() {
            Link::Up { connection: now, refused: since }
                if now == connection && since == refused => {}
            Link::Up { connection: now, .. } if now == connection => return Err(REFUSED.to_owned()),
            Link::Up { .. } | Link::Down => return Err("the connection was lost".to_owned()),
        }
        if let Membership::Inside { confirmed_on, .. } = &mut self.membership {
            *confirmed_on = Some(connection);
        }
        self.health.ready(self.chain.remarks());
        info!(
            account = own.account,
            queue = self.settings.queue,
            "ready: answering authorization requests"
        );
        if own.may_forge_requests {
            warn!(
                "the callout user may publish `$SYS.REQ.USER.AUTH` and could forge requests: allow it \
                 only `_INBOX.>`, `$SYS._INBOX.>`, `$SYS.REQ.USER.INFO` and `$SRV.INFO`"
            );
        }
        Ok(())
    }

    /// Checks that the account of this connection matches the configuration.
    fn check_own_account(&mut self, own: &OwnAccount) -> Result<(), String> {
        let stated = self.gate.stated_callout_account();
        match own_account::check(own, &self.keys, stated.as_deref())? {
            Checked::Matches => {}
            Checked::NameUnknown if self.logged_unverified == stated => {}
            Checked::NameUnknown => {
                warn!(
                    "cannot verify issuer.callout_account: this server reports accounts only by key; \
                     set it to the key in issuer.account or omit it"
                );
                self.logged_unverified = stated;
            }
        }
        Ok(())
    }

    async fn own_account(&mut self) -> Result<OwnAccount, String> {
        let own = request_own_account(&self.client).await.map_err(|error| error.to_string())?;
        if !own.may_answer_requests {
            self.leave_queue_group();
            return Err(ServeError::NotPermitted.to_string());
        }
        Ok(own)
    }

    async fn join(&mut self, refused_before: u64) -> Result<(), String> {
        let options = ResponderOptions {
            queue: self.settings.queue.clone(),
            max_in_flight: self.max_in_flight,
            ..ResponderOptions::default()
        };
        let responder = Responder::join(self.client.clone(), self.gate.clone(), options).await;
        let responder = responder.map_err(|error| error.to_string())?;
        let responder = Box::new(responder);
        self.observers.metrics.set_load(responder.load());
        self.membership = Membership::Inside { responder, confirmed_on: None, refused_before };
        Ok(())
    }

    /// Applies a new configuration.
    fn apply(&mut self, fresh: Assembled) -> Result<(), callgate::BuildError> {
        let Assembled { builder, chain, nats: _, keys, accounts, basis } = fresh;
        self.gate.replace(builder)?;
        let old = std::mem::replace(&mut self.chain, chain);
        old.links().iter().for_each(|link| link.authenticator.retire());
        self.keys = keys;
        let ends_sessions = basis.settings.mode != RevocationMode::Off;
        self.operations.configured(&accounts, basis);
        // The callout account may have changed, so it is checked again.
        if let Membership::Inside { confirmed_on, .. } = &mut self.membership {
            *confirmed_on = None;
        }
        self.observers.metrics.reloaded(CONFIGURATION, true);
        match ends_sessions {
            true => info!("configuration reloaded; live sessions are evaluated again"),
            false => info!(
                "configuration reloaded; live sessions keep their grants until they expire (at most \
                 session.max_lifetime)"
            ),
        }
        Ok(())
    }

    async fn shut_down(self) {
        self.health.not_ready("shutting down");
        // Marks the coming disconnect as intended.
        drop(self.link);
        if let Membership::Inside { responder, .. } = self.membership
            && !responder.leave(DRAIN_TIMEOUT).await
        {
            warn!("some requests in flight did not finish in time");
        }
        for link in self.chain.links() {
            link.authenticator.retire();
        }
        self.operations.shut_down().await;
    }
}
