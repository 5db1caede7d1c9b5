//! The life of the service: connect, join the queue group when everything has loaded, stay
//! confirmed, change configuration, leave without losing a request.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::Client;
use callgate::{
    Callgate,
    authn::Chain,
    responder::{
        OwnAccount, Responder, ResponderOptions, ServeError, own_account as ask_who_we_are,
    },
};
use callgate_config::file_watch::Fingerprint;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use crate::{
    admin::{self, Admin},
    assemble::{Assembled, Observers, PublicKeys, assemble},
    config::{BuildEnv, Config, Overrides},
    health::Health,
    nats::{self, Link, NatsSettings},
    own_account::{self, Checked},
    peers::Peers,
    reload::Reloader,
    watchdog,
};

/// How often things that have no event are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Everything in flight is finished within this time, or given up.
const DRAIN: Duration = Duration::from_secs(8);
/// After a server did not confirm us, before asking again.
const RETRY: Duration = Duration::from_secs(2);
/// The client tells of a server's errors by another way than of its answers, and perhaps a little later. An
/// error that comes later still ends what was confirmed too early.
const ERRORS_BEHIND: Duration = Duration::from_millis(25);
/// Why we are not ready when a subscription was refused.
const REFUSED: &str = "the NATS server has ended our subscription to `$SYS.REQ.USER.AUTH`: see its \
                       error in the log, and what the callout user may subscribe to";

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    #[error(transparent)]
    Nats(#[from] nats::ConnectError),
    #[error("{0}")]
    Gate(#[from] callgate::BuildError),
    #[error("the system refuses a signal handler, or a thread: {0}")]
    System(#[from] std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(
    config: Config,
    overrides: Overrides,
    env: BuildEnv,
    observers: Arc<Observers>,
    files: Vec<(PathBuf, Fingerprint)>,
) -> Result<(), StartError> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    watchdog::start()?;
    let health = Health::default();
    let (stop_admin, admin_stopped) = watch::channel(());
    if let Some(address) = config.admin {
        let listener = admin::bind(address).await?;
        // With port 0 the system chooses one, so the listener is asked.
        let address = listener.local_addr()?.to_string();
        let admin = Admin { health: health.clone(), metrics: Arc::clone(&observers.metrics) };
        let mut stopped = admin_stopped;
        tokio::spawn(admin::serve(listener, admin, async move {
            let _ = stopped.changed().await;
        }));
        info!(address, "serving /livez, /readyz and /metrics");
    }
    let mut reloader = Reloader::new(&config, overrides, env, files, &observers);
    let max_in_flight = config.admission.max_in_flight;
    let Assembled { builder, chain, nats: settings, keys } = assemble(config, Some(&observers));
    announce(&keys);
    let gate = builder.build()?;
    let (client, link) = nats::connect(&settings, Arc::clone(&observers.metrics)).await?;
    let mut service = Service {
        gate,
        chain,
        keys,
        settings,
        client,
        link,
        health,
        observers,
        max_in_flight,
        membership: Membership::Outside,
        peers: Peers::default(),
        retry_at: Instant::now(),
        told_waiting: None,
        told_unverified: None,
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reloader.request(),
            _ = tick.tick() => reloader.look_at_files(),
            changed = service.link.changed() => if changed.is_err() { break },
        }
        if let Some(fresh) = reloader.take_ready().await {
            service.change(fresh);
        }
        service.progress().await;
    }
    info!("leaving: finishing what is in flight");
    service.leave().await;
    drop(stop_admin);
    Ok(())
}

fn announce(keys: &PublicKeys) {
    let (mode, needed) = match keys.operator_mode {
        true => (
            "operator",
            "starting; the callout account is this issuer, and its JWT needs this xkey",
        ),
        false => (
            "configuration",
            "starting; nats-server's auth_callout block needs this issuer and xkey",
        ),
    };
    let xkey = keys.xkeys.first().map(|key| key.as_str()).unwrap_or("none");
    info!(mode, issuer = keys.subject.as_str(), xkey, "{needed}");
}

#[derive(Debug)]
enum Membership {
    /// Not in the queue group.
    Outside,
    /// In it, unless a server says otherwise.
    Inside {
        responder: Box<Responder>,
        /// The number of the connection on which a server confirmed it.
        confirmed_on: Option<u64>,
        /// How often servers had refused a subscription before this one.
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
    max_in_flight: u32,
    membership: Membership,
    peers: Peers,
    retry_at: Instant,
    told_waiting: Option<String>,
    /// The `issuer.callout_account` that was said to be beyond comparison.
    told_unverified: Option<String>,
}

impl Service {
    /// Does the next thing that is needed to be ready, if it can be done now.
    async fn progress(&mut self) {
        let Link::Up { connection, refused } = *self.link.borrow_and_update() else {
            self.health.not_ready("no connection to NATS");
            return;
        };
        if let Membership::Inside { responder, confirmed_on, refused_before } = &self.membership {
            if refused != *refused_before || !responder.is_running() {
                self.step_out();
                self.try_again(REFUSED);
                return;
            }
            if *confirmed_on == Some(connection) {
                self.look_around().await;
                return;
            }
        }
        let waiting = self.chain.waiting_for();
        if matches!(self.membership, Membership::Outside) && !waiting.is_empty() {
            self.tell_waiting(&waiting);
            return;
        }
        if Instant::now() < self.retry_at {
            return;
        }
        if let Err(why) = self.become_ready(connection, refused).await {
            self.try_again(why);
        }
    }

    async fn look_around(&mut self) {
        let own = self.peers.look(&self.client, &self.settings.queue).await;
        // The client tells of a server's errors as far as it has room for them: this one is noticed anyway.
        if own.is_some_and(|own| !own.may_answer_requests) {
            self.step_out();
            self.try_again(ServeError::NotPermitted.to_string());
        }
    }

    fn try_again(&mut self, why: impl Into<String>) {
        let why = why.into();
        error!(why, "not ready; trying again");
        self.health.not_ready(why);
        self.retry_at = Instant::now() + RETRY;
    }

    /// No request arrives any more: what has arrived is finished, and then we join anew.
    fn step_out(&mut self) {
        if let Membership::Inside { responder, .. } =
            std::mem::replace(&mut self.membership, Membership::Outside)
        {
            tokio::spawn(responder.leave(DRAIN));
        }
    }

    fn tell_waiting(&mut self, waiting: &[(Arc<str>, String)]) {
        let names: Vec<_> = waiting.iter().map(|(name, what)| format!("{name}: {what}")).collect();
        let why = format!("waiting for {}", names.join("; "));
        self.health.not_ready(why.clone());
        if self.told_waiting.as_ref() != Some(&why) {
            warn!(why, "not ready: an authenticator's source has not loaded");
            self.told_waiting = Some(why);
        }
    }

    async fn become_ready(&mut self, connection: u64, refused: u64) -> Result<(), String> {
        let own = self.own_account().await?;
        self.check_own_account(&own)?;
        self.gate.learn_callout_account(&own.account);
        if matches!(self.membership, Membership::Outside) {
            self.join(refused).await?;
        }
        // Asked after the subscription on the same connection: the answer confirms it, unless the
        // server has sent an error before.
        self.own_account().await?;
        tokio::time::sleep(ERRORS_BEHIND).await;
        match *self.link.borrow() {
            Link::Up { connection: now, refused: since }
                if now == connection && since == refused => {}
            Link::Up { connection: now, .. } if now == connection => return Err(REFUSED.to_owned()),
            Link::Up { .. } | Link::Down => return Err("the connection was lost again".to_owned()),
        }
        if let Membership::Inside { confirmed_on, .. } = &mut self.membership {
            *confirmed_on = Some(connection);
        }
        self.health.ready();
        info!(
            account = own.account,
            queue = self.settings.queue,
            "ready: answering authorization requests"
        );
        if own.may_forge_requests {
            warn!(
                "the callout user may publish `$SYS.REQ.USER.AUTH`, and so make up requests: allow \
                 it only `_INBOX.>`, `$SYS._INBOX.>`, `$SYS.REQ.USER.INFO` and `$SRV.INFO`"
            );
        }
        Ok(())
    }

    /// The gate's own account is the one that the configuration says, as far as the server tells.
    fn check_own_account(&mut self, own: &OwnAccount) -> Result<(), String> {
        let stated = self.gate.stated_callout_account();
        match own_account::check(own, &self.keys, stated.as_deref())? {
            Checked::AsStated => {}
            Checked::NameNotTold if self.told_unverified == stated => {}
            Checked::NameNotTold => {
                warn!(
                    "issuer.callout_account cannot be compared: this server tells accounts by their \
                     keys only; write the key that issuer.account has, or leave it out"
                );
                self.told_unverified = stated;
            }
        }
        Ok(())
    }

    async fn own_account(&mut self) -> Result<OwnAccount, String> {
        let own = ask_who_we_are(&self.client).await.map_err(|error| error.to_string())?;
        if !own.may_answer_requests {
            self.step_out();
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
        self.observers.metrics.shows_load(responder.load());
        self.membership = Membership::Inside { responder, confirmed_on: None, refused_before };
        Ok(())
    }

    /// Puts a new configuration in force.
    fn change(&mut self, fresh: Assembled) {
        let Assembled { builder, chain, nats: _, keys } = fresh;
        match self.gate.replace(builder) {
            Ok(()) => {
                for link in self.chain.links() {
                    link.authenticator.retire();
                }
                (self.chain, self.keys) = (chain, keys);
                // A changed callout account is looked at again.
                if let Membership::Inside { confirmed_on, .. } = &mut self.membership {
                    *confirmed_on = None;
                }
                self.observers.metrics.reloaded(true);
                info!(
                    "the new configuration is in force; live sessions keep what they were granted \
                     until they end (session.max_lifetime at the latest)"
                );
            }
            Err(error) => {
                self.observers.metrics.reloaded(false);
                error!(%error, "the new configuration cannot be used; the old one stays in force");
            }
        }
    }

    async fn leave(self) {
        self.health.not_ready("leaving");
        // From here on nobody asks whether the connection is up.
        drop(self.link);
        if let Membership::Inside { responder, .. } = self.membership
            && !responder.leave(DRAIN).await
        {
            warn!("some requests in flight were not finished in time");
        }
        for link in self.chain.links() {
            link.authenticator.retire();
        }
    }
}
