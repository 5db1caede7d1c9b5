//! Closes connections: by ID on the server's own subject, several at a time, at a limited pace.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{Client, RequestErrorKind};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    SessionKey, System,
    pace::Pace,
    wire::{self, Done},
};
use crate::nats::Link;

/// Kicks that are in flight at a time.
const PIPELINE: usize = 64;
/// Servers answer within milliseconds.
const KICK_TIMEOUT: Duration = Duration::from_secs(2);
/// What a server says about a connection that it does not have (nats-server `events.go`).
const NO_SUCH_CLIENT: &str = "no such client";

/// Which kicks come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Priority {
    Lock,
    Revocation,
    Kick,
}

/// What became of a kick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KickResult {
    /// The server has closed the connection.
    Kicked,
    /// The server has no such connection.
    AlreadyGone,
    /// The connection may still be there.
    Failed(String),
}

impl KickResult {
    /// Every value of the label `result`.
    pub(crate) const LABELS: [&'static str; 3] = ["kicked", "already_gone", "failed"];

    /// The value of the label `result`.
    pub(crate) fn as_str(&self) -> &'static str {
        let [kicked, already_gone, failed] = Self::LABELS;
        match self {
            Self::Kicked => kicked,
            Self::AlreadyGone => already_gone,
            Self::Failed(_) => failed,
        }
    }
}

/// A kick that waits for its turn.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) session: SessionKey,
    pub(super) priority: Priority,
    pub(super) cause: &'static str,
    pub(super) result: oneshot::Sender<KickResult>,
}

impl Order {
    fn is_wanted(&self) -> bool {
        !self.result.is_closed()
    }
}

/// Orders by priority, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    locks: VecDeque<Order>,
    revocations: VecDeque<Order>,
    kicks: VecDeque<Order>,
}

impl Waiting {
    fn push(&mut self, order: Order) {
        let queue = match order.priority {
            Priority::Lock => &mut self.locks,
            Priority::Revocation => &mut self.revocations,
            Priority::Kick => &mut self.kicks,
        };
        queue.push_back(order);
    }

    /// The next order that was not withdrawn.
    fn pop(&mut self) -> Option<Order> {
        [&mut self.locks, &mut self.revocations, &mut self.kicks]
            .into_iter()
            .find_map(|queue| std::iter::from_fn(|| queue.pop_front()).find(Order::is_wanted))
    }

    fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.revocations.is_empty() && self.kicks.is_empty()
    }
}

/// Carries out orders, while connected.
pub(super) async fn run(
    system: Arc<System>,
    client: Client,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut link = system.link();
    let mut waiting = Waiting::default();
    let mut in_flight = FuturesUnordered::new();
    let settings = &system.settings;
    let mut pace = Pace::new(settings.kicks_per_second, Instant::now(), system.overloaded_count());
    loop {
        let is_up = *link.borrow_and_update() != Link::Down;
        let may_send = is_up && !waiting.is_empty() && in_flight.len() < PIPELINE;
        let is_kicking = !waiting.is_empty() || !in_flight.is_empty();
        system.is_kicking.store(is_kicking, Ordering::Relaxed);
        let replicas = system.kicking_replicas.load(Ordering::Relaxed).max(1);
        pace.limit(f64::from(settings.kicks_per_second) / f64::from(replicas));
        let now = Instant::now();
        let next = pace.next(now, system.overloaded_count());
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => waiting.push(order),
                None => return,
            },
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            () = due(next, now), if may_send => if let Some(order) = waiting.pop() {
                pace.sent(now);
                in_flight.push(carry_out(&system, &client, order));
            },
            changed = link.changed() => if changed.is_err() { return },
        }
    }
}

/// A timer would take a millisecond even if the time has come, and so halve the pace.
async fn due(next: Instant, now: Instant) {
    if next > now {
        sleep_until(next).await;
    }
}

async fn carry_out(system: &System, client: &Client, order: Order) {
    let result = match system.is_own(order.session) {
        true => KickResult::Failed("this is Callgate's own connection".to_owned()),
        false => kick(system, client, order.session).await,
    };
    system.metrics.count_kick(order.cause, result.as_str());
    // The caller may have stopped waiting.
    let _ = order.result.send(result);
}

async fn kick(system: &System, client: &Client, session: SessionKey) -> KickResult {
    match request(client, session).await {
        Ok(None) => KickResult::Kicked,
        Ok(Some(error)) if error.starts_with(NO_SUCH_CLIENT) => KickResult::AlreadyGone,
        Ok(Some(error)) => {
            KickResult::Failed(format!("the server reports `{}`", error.escape_debug()))
        }
        Err(KickError::NoServer) if system.is_stopped(session.server) => KickResult::AlreadyGone,
        Err(error) => KickResult::Failed(error.to_string()),
    }
}

/// A server did not answer a kick.
#[derive(Debug, thiserror::Error)]
pub(super) enum KickError {
    #[error("the server cannot be reached")]
    NoServer,
    #[error("the server has not confirmed the kick within {} s", KICK_TIMEOUT.as_secs())]
    Timeout,
    #[error("the kick could not be sent: {0}")]
    Nats(String),
    #[error(transparent)]
    Wire(#[from] wire::WireError),
}

/// Kicks, and returns the server's error.
pub(super) async fn request(
    client: &Client,
    session: SessionKey,
) -> Result<Option<String>, KickError> {
    let subject = format!("$SYS.REQ.SERVER.{}.KICK", session.server);
    let body = json!({ "cid": session.client_id }).to_string();
    let request = async_nats::Request::new().payload(body.into()).timeout(Some(KICK_TIMEOUT));
    let answer = client.send_request(subject, request).await;
    let answer = answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => KickError::NoServer,
        RequestErrorKind::TimedOut => KickError::Timeout,
        RequestErrorKind::InvalidSubject
        | RequestErrorKind::MaxPayloadExceeded
        | RequestErrorKind::Other => KickError::Nats(error.to_string()),
    })?;
    let Done { error } = wire::parse_now(&answer.payload)?;
    Ok(error.map(|error| error.description))
}
