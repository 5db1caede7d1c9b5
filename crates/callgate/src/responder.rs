//! Runs a gate on async-nats: one queue subscriber among its replicas, bounded work, and a way out
//! that loses no request.
//!
//! async-nats' own service endpoints unsubscribe at once when they stop and lose what was on its
//! way; the micro-service protocol is small, so it is spoken here over a subscription that is left
//! with care.

use std::{pin::pin, sync::Arc, time::Duration};

use async_nats::{Client, Message as NatsMessage, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    callgate::Callgate,
    clock::UnixTime,
    open::{Message, XKEY_HEADER},
    pipeline::{Handled, Pipeline, Slots},
};

mod account;
mod batch;
mod drain;
mod micro;

pub use account::{OwnAccount, other_responders, own_account};
use batch::Deciding;
use micro::{Micro, Stats};

/// Where nats-server asks.
pub const AUTH_SUBJECT: &str = "$SYS.REQ.USER.AUTH";

/// Refusals that are held back at once, for `delay`.
const MAX_HELD_BACK: u32 = 65_536;
/// Messages that have arrived and are not opened yet. Opening one takes a tenth of a millisecond, so
/// that the last of so many is still in time; later ones would only fill the memory.
const MAX_UNOPENED: u32 = 4096;

/// How often it is asked whether requests still may arrive.
const LOOK: Duration = Duration::from_secs(5);

/// How a gate is run.
#[derive(Debug, Clone)]
pub struct ResponderOptions {
    /// The queue group, shared by all replicas.
    pub queue: String,
    /// Requests that are worked on at once; more are refused at once, `temporarily unavailable`.
    /// No source of requests gets all of these places, and no authenticator that is waited for.
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

/// Why a gate could not be run, or stopped running.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The subscription could not be made.
    #[error("subscribing to `{subject}` failed: {error}")]
    Subscribe {
        /// The subject.
        subject: String,
        /// What the client says.
        error: String,
    },
    /// The server did not answer who we are, so it did not confirm the subscription either.
    #[error(
        "the server does not answer `$SYS.REQ.USER.INFO`, so the subscription is not confirmed: \
         does the callout user have leave to publish it, and to subscribe `_INBOX.>`? ({0})"
    )]
    NotConfirmed(String),
    /// The server lets us subscribe, and then gives us nothing.
    #[error(
        "the callout user may not subscribe to `$SYS.REQ.USER.AUTH`, so that no request arrives: \
         allow it that in nats-server's configuration, or in its user JWT"
    )]
    NotPermitted,
    /// The client was closed.
    #[error("the connection to NATS was closed")]
    Closed,
}

/// A gate that is a member of the queue group.
#[derive(Debug)]
pub struct Responder {
    client: Client,
    slots: Arc<Slots>,
    arrived: Arc<Semaphore>,
    most_arrived: u32,
    held_back: Arc<Semaphore>,
    stop: tokio::sync::watch::Sender<bool>,
    work: JoinHandle<()>,
    micro: Micro,
}

impl Responder {
    /// Joins the queue group and answers from now on. Whether a server has confirmed it is told by
    /// [`own_account`], asked afterwards on the same client: servers work in order. A server that takes
    /// the permission away later ends the subscription, and this does not notice.
    ///
    /// # Errors
    /// If the client cannot subscribe.
    pub async fn join(
        client: Client,
        gate: Callgate,
        options: ResponderOptions,
    ) -> Result<Self, ServeError> {
        let stats = Arc::new(Stats::default());
        let micro = Micro::start(&client, &options, Arc::clone(&stats)).await?;
        let subscription = client
            .queue_subscribe(AUTH_SUBJECT, options.queue.clone())
            .await
            .map_err(|error| subscribe_error(AUTH_SUBJECT, &error))?;
        let most = options.max_in_flight.max(1);
        gate.learn_most_at_once(most);
        let slots = Arc::new(Slots { most, taken: Arc::default() });
        let most_arrived = most.saturating_add(MAX_UNOPENED);
        let arrived = Arc::new(Semaphore::new(most_arrived as usize));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let held_back = Arc::new(Semaphore::new(MAX_HELD_BACK as usize));
        let answering =
            Answering { client: client.clone(), held_back: Arc::clone(&held_back), stats };
        let worker = Worker {
            gate,
            workers: Handle::current().metrics().num_workers(),
            slots: Arc::clone(&slots),
            arrived: Arc::clone(&arrived),
            answering: Arc::new(answering),
        };
        let work = tokio::spawn(worker.run(subscription, stopped));
        Ok(Self { client, slots, arrived, most_arrived, held_back, stop, work, micro })
    }

    /// Requests that are being decided now.
    pub fn in_flight(&self) -> u32 {
        self.load().in_flight()
    }

    /// The same, to be asked by somebody else.
    pub fn load(&self) -> Load {
        Load(Arc::clone(&self.slots))
    }

    /// True until the subscription ends, by [`Responder::leave`] or with the client.
    pub fn is_running(&self) -> bool {
        !self.work.is_finished()
    }

    /// Leaves the queue group and finishes what has arrived, within `patience`. Returns whether all
    /// of it was finished.
    pub async fn leave(self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let _ = self.stop.send(true);
        self.micro.stop();
        let mut work = self.work;
        let read = tokio::time::timeout_at(until, &mut work).await.is_ok();
        work.abort();
        let arrived = self.arrived.acquire_many(self.most_arrived);
        let held_back = self.held_back.acquire_many(MAX_HELD_BACK);
        let finished = tokio::time::timeout_at(until, async { (arrived.await, held_back.await) });
        let finished = finished.await.is_ok();
        // Answers may still be on their way to the socket.
        let flushed = timeout(Duration::from_secs(1), self.client.flush()).await.is_ok();
        read && finished && flushed
    }
}

/// How much a [`Responder`] has to do now, also while that is busy or leaving.
#[derive(Debug, Clone)]
pub struct Load(Arc<Slots>);

impl Load {
    /// Requests that are being decided now.
    pub fn in_flight(&self) -> u32 {
        self.0.taken.taken()
    }
}

fn subscribe_error(subject: &str, error: &dyn std::error::Error) -> ServeError {
    ServeError::Subscribe { subject: subject.to_owned(), error: error.to_string() }
}

struct Worker {
    gate: Callgate,
    /// Threads of the runtime.
    workers: usize,
    slots: Arc<Slots>,
    arrived: Arc<Semaphore>,
    answering: Arc<Answering>,
}

impl Worker {
    async fn run(
        self,
        mut subscription: Subscriber,
        mut stopped: tokio::sync::watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                message = subscription.next() => match message {
                    Some(message) => self.accept(message, &mut subscription),
                    None => return,
                },
                _ = stopped.changed() => break,
            }
        }
        if drain::say_goodbye(&mut subscription).await.is_err() {
            return;
        }
        let mut the_last = pin!(drain::all_has_arrived(&self.answering.client));
        loop {
            tokio::select! {
                // In this order: what has arrived is taken before the end is.
                biased;
                message = subscription.next() => match message {
                    Some(message) => self.accept(message, &mut subscription),
                    None => return,
                },
                () = &mut the_last => return,
            }
        }
    }

    /// Works on `first` and on what has arrived with it.
    fn accept(&self, first: NatsMessage, subscription: &mut Subscriber) {
        let pipeline = self.gate.pipeline();
        let mut together: Vec<_> = self.undecided(first, &pipeline).into_iter().collect();
        while together.len() < batch::MOST_TOGETHER {
            // The end of the subscription is told again when it is asked the next time.
            let Some(Some(message)) = subscription.next().now_or_never() else { break };
            together.extend(self.undecided(message, &pipeline));
        }
        batch::decide(&self.answering, together, pipeline.decide.in_turn(), self.workers);
    }

    /// The decision about `message`, if somebody waits for an answer and it would not come too late.
    fn undecided(&self, message: NatsMessage, pipeline: &Arc<Pipeline>) -> Option<Deciding> {
        let arrived = Instant::now();
        let now = UnixTime::now();
        let NatsMessage { reply, payload, headers, .. } = message;
        // Without a reply subject nobody waits for an answer.
        let reply = reply?;
        let xkey = headers.as_ref().and_then(|headers| headers.get(XKEY_HEADER));
        let xkey = xkey.map(|value| value.as_str().to_owned());
        let Ok(place) = Arc::clone(&self.arrived).try_acquire_owned() else {
            pipeline.pass_over(arrived);
            return None;
        };
        let (pipeline, slots) = (Arc::clone(pipeline), Arc::clone(&self.slots));
        Some(Box::pin(async move {
            let message = Message { payload: &payload, xkey_header: xkey.as_deref(), now, arrived };
            let handled = pipeline.handle_among(message, Some(&slots)).await;
            Decided { reply, handled, place, arrived }
        }))
    }
}

/// A decision that was taken, with what is needed to answer it.
struct Decided {
    reply: Subject,
    handled: Handled,
    place: OwnedSemaphorePermit,
    arrived: Instant,
}

struct Answering {
    client: Client,
    held_back: Arc<Semaphore>,
    stats: Arc<Stats>,
}

impl Answering {
    /// Without a server: nothing is sent.
    #[cfg(test)]
    async fn to_nobody() -> Arc<Self> {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = options.connect("127.0.0.1:1").await.unwrap();
        let held_back = Arc::new(Semaphore::new(1));
        Arc::new(Self { client, held_back, stats: Arc::default() })
    }

    /// Sends the answer now, or has it sent when its moment comes.
    async fn send(self: &Arc<Self>, decided: Decided) {
        let Decided { reply, handled, place, arrived } = decided;
        self.stats.count(arrived.elapsed());
        let Handled::Answer { bytes, not_before } = handled else { return };
        // A refusal that is held back holds no place; past the limit it is told at once.
        let held = not_before.and_then(|moment| {
            Some((moment, Arc::clone(&self.held_back).try_acquire_owned().ok()?))
        });
        let Some((moment, held)) = held else {
            self.publish(reply, bytes).await;
            drop(place);
            return;
        };
        let answering = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(moment).await;
            answering.publish(reply, bytes).await;
            drop(held);
        });
    }

    async fn publish(&self, reply: Subject, bytes: Vec<u8>) {
        if let Err(error) = self.client.publish(reply, bytes.into()).await {
            self.stats.count_error(error.to_string());
        }
    }
}

impl Callgate {
    /// Answers on this client, in the queue group `callgate`, until the client is closed.
    ///
    /// First asks the server for the callout account, so that nobody is placed there.
    ///
    /// # Errors
    /// If the server does not confirm the subscription, or when the client is closed; some
    /// seconds after the permission to subscribe was taken away. It can be called again.
    pub async fn serve(&self, client: Client) -> Result<(), ServeError> {
        let own = permitted(own_account(&client).await?)?;
        self.learn_callout_account(&own.account);
        let mut responder =
            Responder::join(client.clone(), self.clone(), ResponderOptions::default()).await?;
        permitted(own_account(&client).await?)?;
        loop {
            if timeout(LOOK, &mut responder.work).await.is_ok() {
                return Err(ServeError::Closed);
            }
            // No answer: the connection is lost, and the client comes back by itself.
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
    use crate::{keys::AccountSigner, record::Reason};

    #[tokio::test]
    async fn a_message_that_would_wait_too_long_to_be_opened_is_passed_over_and_recorded() {
        let reasons = Arc::<Mutex<Vec<Reason>>>::default();
        let record = Arc::clone(&reasons);
        let gate = Callgate::builder(AccountSigner::generate().unwrap())
            .authorize(|_| async { Err(crate::Refusal::deny("nobody is known here")) })
            .on_decision(move |decision| record.lock().unwrap().push(decision.reason))
            .build()
            .unwrap();
        let answering = Answering::to_nobody().await;
        let (slots, arrived) = (Arc::default(), Arc::new(Semaphore::new(1)));
        let worker = Worker { gate, workers: 1, slots, arrived, answering };
        let message = || NatsMessage {
            subject: AUTH_SUBJECT.into(),
            reply: Some("_INBOX.1".into()),
            payload: "not a request".into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        // The first is worked on only when this task waits.
        let pipeline = worker.gate.pipeline();
        let taken = (0..3).filter_map(|_| worker.undecided(message(), &pipeline)).collect();
        batch::decide(&worker.answering, taken, true, worker.workers);
        assert_eq!(*reasons.lock().unwrap(), [Reason::DeadlinePassed, Reason::DeadlinePassed]);
        let _finished = worker.arrived.acquire().await.unwrap();
        assert_eq!(reasons.lock().unwrap().get(2), Some(&Reason::BadRequest));
    }
}
