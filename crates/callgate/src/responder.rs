//! Runs a callout on async-nats: a queue group of replicas, bounded work, and a drain that loses no
//! request.
//!
//! The service endpoints of async-nats unsubscribe immediately when they stop and lose the messages in
//! flight. The micro-service protocol is small, so it is implemented here on top of a subscription
//! that is drained.

use std::{pin::pin, sync::Arc, time::Duration};

use async_nats::{Client, Message as NatsMessage, Subject, Subscriber, connection::State};
use futures_util::{FutureExt, StreamExt};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    admission::RequestLimiter,
    callgate::Callgate,
    clock::UnixTime,
    open::{Message, XKEY_HEADER},
    pipeline::Pipeline,
    reason::{Denial, Reason},
    record::Decision,
    reply::Outgoing,
};

mod account;
mod batch;
mod drain;
mod micro;

pub use account::{
    MissingPermissions, OwnAccount, missing_permissions, other_responders, own_account,
};
use batch::PendingDecision;
use micro::{Micro, Stats};

/// The subject of authorization requests.
pub const AUTH_SUBJECT: &str = "$SYS.REQ.USER.AUTH";

const MAX_DELAYED_REFUSALS: u32 = 65_536;
/// Messages that have arrived but are not opened. Opening one takes a tenth of a millisecond, so the
/// last of these is still in time; more would only fill the memory.
const MAX_UNOPENED: u32 = 4096;
/// How often to check that requests can still arrive.
const PERMISSION_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How to run a callout.
#[derive(Debug, Clone)]
pub struct ResponderOptions {
    /// The queue group, shared by all replicas.
    pub queue: String,
    /// How many requests may be in flight; more are refused immediately, `temporarily unavailable`.
    /// No single source and no single authenticator can take all of this capacity.
    pub max_in_flight: u32,
    /// The version that `nats micro` shows.
    pub version: String,
}

impl Default for ResponderOptions {
    fn default() -> Self {
        Self {
            queue: "callgate".to_owned(),
            max_in_flight: 1024,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Why a callout cannot be run, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client could not subscribe.
    #[error("subscribing to `{subject}` failed: {error}")]
    Subscribe {
        /// The subject.
        subject: String,
        /// The client's error.
        error: String,
    },
    /// The server did not report our account, so it did not confirm the subscription either.
    #[error(
        "the server does not answer `$SYS.REQ.USER.INFO`, so the subscription is not confirmed: is \
         the callout user permitted to publish it, and to subscribe to `_INBOX.>`? ({0})"
    )]
    NotConfirmed(String),
    /// The server accepts the subscription but will not deliver any requests.
    #[error(
        "the callout user is not permitted to subscribe to `$SYS.REQ.USER.AUTH`, so no request \
         arrives: permit it in nats-server's configuration or in its user JWT"
    )]
    NotPermitted,
    /// The client was closed.
    #[error("the connection to NATS was closed")]
    Closed,
}

/// A running callout: a member of the queue group.
#[derive(Debug)]
pub struct Responder {
    client: Client,
    limiter: Arc<RequestLimiter>,
    unanswered: Arc<Semaphore>,
    max_unanswered: u32,
    delayed: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    work: JoinHandle<()>,
    micro: Micro,
}

impl Responder {
    /// Joins the queue group and answers requests from now on. To find out whether a server has
    /// confirmed the subscription, call [`own_account`] afterwards on the same client: servers process
    /// messages in order. If a server revokes the permission later, the subscription ends without
    /// this responder noticing.
    ///
    /// # Errors
    /// If the client cannot subscribe.
    pub async fn join(
        client: Client,
        callgate: Callgate,
        options: ResponderOptions,
    ) -> Result<Self, ServeError> {
        let stats = Arc::new(Stats::default());
        let micro = Micro::start(&client, &options, Arc::clone(&stats)).await?;
        let subscription = client
            .queue_subscribe(AUTH_SUBJECT, options.queue.clone())
            .await
            .map_err(|error| subscribe_error(AUTH_SUBJECT, &error))?;
        let max_in_flight = options.max_in_flight.max(1);
        callgate.set_max_in_flight(max_in_flight);
        let limiter = Arc::new(RequestLimiter { max_in_flight, permits: Arc::default() });
        let max_unanswered = max_in_flight.saturating_add(MAX_UNOPENED);
        let unanswered = Arc::new(Semaphore::new(max_unanswered as usize));
        let (stop, stopped) = watch::channel(false);
        let delayed = Arc::new(Semaphore::new(MAX_DELAYED_REFUSALS as usize));
        let replies = Replies { client: client.clone(), delayed: Arc::clone(&delayed), stats };
        let worker = Worker {
            callgate,
            threads: Handle::current().metrics().num_workers(),
            limiter: Arc::clone(&limiter),
            unanswered: Arc::clone(&unanswered),
            replies: Arc::new(replies),
        };
        let work = tokio::spawn(worker.run(subscription, stopped));
        Ok(Self { client, limiter, unanswered, max_unanswered, delayed, stop, work, micro })
    }

    /// How many requests are being decided now.
    pub fn in_flight(&self) -> u32 {
        self.limiter.permits.in_use()
    }

    /// A handle that reports the load independently of this responder.
    pub fn load(&self) -> Load {
        Load(Arc::clone(&self.limiter))
    }

    /// Whether the subscription is open. It ends with [`Responder::leave`] or with the client.
    pub fn is_running(&self) -> bool {
        !self.work.is_finished()
    }

    /// Leaves the queue group and finishes what has arrived, within `patience`. Returns whether
    /// everything was finished.
    ///
    /// While no server is connected there is nothing to wait for: the servers that sent the requests have
    /// given up, and no reply can be sent.
    pub async fn leave(self, patience: Duration) -> bool {
        let client = self.client.clone();
        let work = self.work.abort_handle();
        let finished = tokio::select! {
            finished = self.drain(patience) => finished,
            () = disconnected(&client) => true,
        };
        work.abort();
        finished
    }

    async fn drain(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let _ = self.stop.send(true);
        self.micro.stop();
        let mut work = self.work;
        let drained = timeout_at(deadline, &mut work).await.is_ok();
        work.abort();
        let unanswered = self.unanswered.acquire_many(self.max_unanswered);
        let delayed = self.delayed.acquire_many(MAX_DELAYED_REFUSALS);
        let finished = timeout_at(deadline, async { (unanswered.await, delayed.await) });
        let finished = finished.await.is_ok();
        // Replies may still be on their way to the socket.
        let flushed = timeout(FLUSH_TIMEOUT, self.client.flush()).await.is_ok();
        drained && finished && flushed
    }
}

/// Returns when the client is not connected. It offers the state of the connection only for polling.
async fn disconnected(client: &Client) {
    while client.connection_state() == State::Connected {
        sleep(Duration::from_millis(50)).await;
    }
}

/// The load of a [`Responder`], also while that is busy or leaving.
#[derive(Debug, Clone)]
pub struct Load(Arc<RequestLimiter>);

impl Load {
    /// How many requests are being decided now.
    pub fn in_flight(&self) -> u32 {
        self.0.permits.in_use()
    }
}

fn subscribe_error(subject: &str, error: &dyn std::error::Error) -> ServeError {
    ServeError::Subscribe { subject: subject.to_owned(), error: error.to_string() }
}

struct Worker {
    callgate: Callgate,
    /// Worker threads of the runtime.
    threads: usize,
    limiter: Arc<RequestLimiter>,
    unanswered: Arc<Semaphore>,
    replies: Arc<Replies>,
}

impl Worker {
    async fn run(self, mut subscription: Subscriber, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                message = subscription.next() => match message {
                    Some(message) => self.accept(message, &mut subscription),
                    None => return,
                },
                _ = stopped.changed() => break,
            }
        }
        if drain::unsubscribe(&mut subscription).await.is_err() {
            return;
        }
        let mut flushed = pin!(drain::flush_in_flight(&self.replies.client));
        loop {
            tokio::select! {
                // In this order: messages that have arrived come before the end.
                biased;
                message = subscription.next() => match message {
                    Some(message) => self.accept(message, &mut subscription),
                    None => return,
                },
                () = &mut flushed => return,
            }
        }
    }

    /// Handles `first` and the messages that have arrived with it as one batch.
    fn accept(&self, first: NatsMessage, subscription: &mut Subscriber) {
        let pipeline = self.callgate.pipeline();
        let mut batch: Vec<_> = self.decision(first, &pipeline).into_iter().collect();
        while batch.len() < batch::MAX_BATCH {
            // If the subscription has ended, the next call of `next` says so again.
            let Some(Some(message)) = subscription.next().now_or_never() else { break };
            batch.extend(self.decision(message, &pipeline));
        }
        batch::decide(&self.replies, batch, pipeline.decider.never_blocks(), self.threads);
    }

    /// The decision about `message`, unless no one waits for a reply or it would come too late.
    fn decision(&self, message: NatsMessage, pipeline: &Arc<Pipeline>) -> Option<PendingDecision> {
        let arrived = Instant::now();
        let now = UnixTime::now();
        let NatsMessage { reply, payload, headers, .. } = message;
        let reply = reply?;
        let xkey = headers.as_ref().and_then(|headers| headers.get(XKEY_HEADER));
        let xkey = xkey.map(|value| value.as_str().to_owned());
        let Ok(permit) = Arc::clone(&self.unanswered).try_acquire_owned() else {
            shed(pipeline, arrived);
            return None;
        };
        let pipeline = Arc::clone(pipeline);
        let limiter = Arc::clone(&self.limiter);
        Some(Box::pin(async move {
            let message = Message { payload: &payload, xkey_header: xkey.as_deref(), now, arrived };
            let outgoing = pipeline.handle(message, Some(&limiter)).await;
            Decided { reply, outgoing, permit, arrived }
        }))
    }
}

/// Records a message that is not even opened, because that would take too long.
fn shed(pipeline: &Pipeline, arrived: Instant) {
    let detail = "too many messages are waiting to be opened: the server would not wait any longer";
    let denial = Denial::new(Reason::DeadlinePassed, detail);
    pipeline.observers.record(&Decision::unopened(denial, arrived));
}

/// A decision, and what is needed to reply.
struct Decided {
    reply: Subject,
    outgoing: Outgoing,
    permit: OwnedSemaphorePermit,
    arrived: Instant,
}

/// Sends replies.
struct Replies {
    client: Client,
    delayed: Arc<Semaphore>,
    stats: Arc<Stats>,
}

impl Replies {
    /// Without a server: nothing is sent.
    #[cfg(test)]
    async fn disconnected() -> Arc<Self> {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = options.connect("127.0.0.1:1").await.unwrap();
        let delayed = Arc::new(Semaphore::new(1));
        Arc::new(Self { client, delayed, stats: Arc::default() })
    }

    /// Sends a reply, now or when it is due.
    async fn send(self: &Arc<Self>, decided: Decided) {
        let Decided { reply, outgoing, permit, arrived } = decided;
        self.stats.count(arrived.elapsed());
        let Outgoing::Reply { bytes, not_before } = outgoing else { return };
        // A delayed refusal does not count as unanswered. Past the limit it is sent immediately.
        let delay = not_before
            .and_then(|due| Some((due, Arc::clone(&self.delayed).try_acquire_owned().ok()?)));
        let Some((due, delayed)) = delay else {
            self.publish(reply, bytes).await;
            drop(permit);
            return;
        };
        let replies = Arc::clone(self);
        tokio::spawn(async move {
            sleep_until(due).await;
            replies.publish(reply, bytes).await;
            drop(delayed);
        });
    }

    async fn publish(&self, reply: Subject, bytes: Vec<u8>) {
        if let Err(error) = self.client.publish(reply, bytes.into()).await {
            self.stats.count_error(error.to_string());
        }
    }
}

impl Callgate {
    /// Answers requests on this client, in the queue group `callgate`, until the client is closed.
    ///
    /// First requests the name of the callout account from the server, so that no user is placed in it.
    ///
    /// # Errors
    /// If the server does not confirm the subscription, when the client is closed, or some seconds
    /// after the permission to subscribe was revoked. It can be called again.
    pub async fn serve(&self, client: Client) -> Result<(), ServeError> {
        let own = permitted(own_account(&client).await?)?;
        self.learn_callout_account(&own.account);
        let mut responder =
            Responder::join(client.clone(), self.clone(), ResponderOptions::default()).await?;
        permitted(own_account(&client).await?)?;
        loop {
            if timeout(PERMISSION_CHECK_INTERVAL, &mut responder.work).await.is_ok() {
                return Err(ServeError::Closed);
            }
            // No answer: the connection is lost, and the client reconnects on its own.
            if let Ok(own) = own_account(&client).await {
                permitted(own)?;
            }
        }
    }
}

fn permitted(own: OwnAccount) -> Result<OwnAccount, ServeError> {
    if own.may_answer_requests { Ok(own) } else { Err(ServeError::NotPermitted) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::keys::AccountSigner;

    #[tokio::test]
    async fn message_that_would_wait_too_long_is_shed_and_recorded() {
        let reasons = Arc::<Mutex<Vec<Reason>>>::default();
        let record = Arc::clone(&reasons);
        let callgate = Callgate::builder(AccountSigner::generate().unwrap())
            .authorize(|_| async { Err(crate::Refusal::deny("no client is known")) })
            .on_decision(move |decision| record.lock().unwrap().push(decision.reason))
            .build()
            .unwrap();
        let replies = Replies::disconnected().await;
        let unanswered = Arc::new(Semaphore::new(1));
        let worker = Worker { callgate, threads: 1, limiter: Arc::default(), unanswered, replies };
        let message = || NatsMessage {
            subject: AUTH_SUBJECT.into(),
            reply: Some("_INBOX.1".into()),
            payload: "not a request".into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        // The first is handled only when this task waits.
        let pipeline = worker.callgate.pipeline();
        let batch = (0..3).filter_map(|_| worker.decision(message(), &pipeline)).collect();
        batch::decide(&worker.replies, batch, true, worker.threads);
        assert_eq!(*reasons.lock().unwrap(), [Reason::DeadlinePassed, Reason::DeadlinePassed]);
        let _finished = worker.unanswered.acquire().await.unwrap();
        assert_eq!(reasons.lock().unwrap().get(2), Some(&Reason::BadRequest));
    }
}
