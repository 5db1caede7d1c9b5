//! One watch of a bucket: a push consumer, from its creation until anything goes wrong.
//!
//! The ordered consumer of async-nats repairs itself out of sight, also after the bucket was deleted
//! and created again. This one ends at the first doubt: the caller then lists everything again.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime},
};

use async_nats::{
    Client, HeaderMap, Message, StatusCode, Subscriber,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, DeliverPolicy, push},
        stream::{Info, Stream},
    },
};
use callgate::responder::missing_permissions;
use callgate_authenticators::kind::{Bucket, BucketEvent, BucketFacts, REMOVED_BY};
use futures_util::StreamExt;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

use super::BucketError;

/// For each request to JetStream.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the server sends a heartbeat when nothing changes, and how often the bucket is compared with
/// what was delivered.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Without any message for this long, the consumer is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// The server removes the consumer of a client that is gone after this time.
const INACTIVE: Duration = Duration::from_secs(30);
/// Names the subject for a reply with which a stalled consumer continues.
const STALLED: &str = "Nats-Consumer-Stalled";
const OPERATION: &str = "KV-Operation";
/// A marker that the server left when a value reached its age limit.
const MARKER: &str = "Nats-Marker-Reason";

/// A consumer and what it has delivered.
pub(super) struct Watch {
    client: Client,
    bucket: Bucket,
    context: Context,
    stream: Stream,
    consumer: String,
    messages: Subscriber,
    prefix: String,
    /// Messages of a complete list that are still to come, at creation.
    pending: u64,
    delivered: u64,
    listed: bool,
    last_revision: u64,
    /// Hashes of all keys with a value or a marker.
    subjects: HashSet<u64>,
    hasher: RandomState,
}

/// The JetStream API of a bucket.
pub(super) fn context(client: &Client, bucket: &Bucket) -> Context {
    let mut context = match &bucket.domain {
        Some(domain) => jetstream::with_domain(client.clone(), domain),
        None => jetstream::new(client.clone()),
    };
    context.set_timeout(REQUEST_TIMEOUT);
    context
}

/// The subjects that the callout user must be permitted to publish to watch a bucket.
pub(super) fn watch_permissions(bucket: &Bucket) -> Vec<String> {
    let stream = format!("KV_{}", bucket.name);
    let api = match &bucket.domain {
        Some(domain) => format!("$JS.{domain}.API"),
        None => "$JS.API".to_owned(),
    };
    vec![
        format!("{api}.STREAM.INFO.{stream}"),
        format!("{api}.CONSUMER.CREATE.{stream}"),
        format!("{api}.CONSUMER.CREATE.{stream}.>"),
        format!("{api}.CONSUMER.DELETE.{stream}.>"),
        format!("$JS.FC.{stream}.>"),
    ]
}

/// Reports the first subject that the callout user is not permitted to publish.
pub(crate) async fn check_permissions(
    client: &Client,
    publish: &[String],
) -> Result<(), BucketError> {
    let missing = missing_permissions(client, publish, &[]).await?;
    if missing.publish.is_empty() {
        return Ok(());
    }
    let subjects: Vec<_> = missing.publish.iter().map(|subject| format!("`{subject}`")).collect();
    Err(BucketError::NotPermitted(format!("publish {}", subjects.join(", "))))
}

impl Watch {
    pub(super) async fn start(client: &Client, bucket: &Bucket) -> Result<Self, BucketError> {
        check_permissions(client, &watch_permissions(bucket)).await?;
        let context = context(client, bucket);
        let stream = context.get_stream(format!("KV_{}", bucket.name)).await;
        let stream = stream.map_err(|error| BucketError::of_stream(bucket, &error))?;
        if stream.cached_info().config.max_messages_per_subject < 1 {
            return Err(BucketError::NotABucket(bucket.to_string()));
        }
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await;
        let messages = messages.map_err(|error| BucketError::Connection(error.to_string()))?;
        let prefix = format!("$KV.{}.", bucket.name);
        let config = push::Config {
            deliver_subject: inbox,
            description: Some("callgate".to_owned()),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: format!("{prefix}>"),
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE,
            ..push::Config::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| BucketError::of_consumer(bucket, &error))?;
        let info = consumer.cached_info();
        Ok(Self {
            client: client.clone(),
            bucket: bucket.clone(),
            context,
            consumer: info.name.clone(),
            pending: info.num_pending,
            stream,
            messages,
            prefix,
            delivered: 0,
            listed: false,
            last_revision: 0,
            subjects: HashSet::new(),
            hasher: RandomState::new(),
        })
    }

    /// Delivers everything until the watch is lost or the receiver is dropped. `on_listed` runs when the
    /// list is complete.
    pub(super) async fn deliver(
        mut self,
        events: &mpsc::Sender<BucketEvent>,
        on_listed: impl FnMut(),
    ) -> BucketError {
        let error = match self.follow(events, on_listed).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // The server would remove it later.
        let _ = timeout(REQUEST_TIMEOUT, self.stream.delete_consumer(&self.consumer)).await;
        error
    }

    async fn follow(
        &mut self,
        events: &mpsc::Sender<BucketEvent>,
        mut on_listed: impl FnMut(),
    ) -> Result<std::convert::Infallible, BucketError> {
        let send = async |event| {
            // Without a receiver, the task ends elsewhere.
            let _ = events.send(event).await;
        };
        send(BucketEvent::Listing(facts(self.stream.cached_info()))).await;
        let mut heard = Instant::now();
        let mut compare = interval(HEARTBEAT);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if self.pending == 0 {
            self.listed = true;
            send(BucketEvent::Listed).await;
            on_listed();
        }
        loop {
            let next = tokio::select! {
                biased;
                next = timeout_at(heard + SILENCE, self.messages.next()) => next,
                _ = compare.tick(), if self.listed => {
                    self.compare().await?;
                    continue;
                }
            };
            let message = next.map_err(|_| BucketError::ConsumerGone)?;
            let message = message.ok_or(BucketError::ConsumerGone)?;
            heard = Instant::now();
            let was_listed = self.listed;
            if let Some(event) = self.read(message).await? {
                send(event).await;
            }
            if self.listed && !was_listed {
                send(BucketEvent::Listed).await;
                on_listed();
            }
            // A full channel may have held up the loop; that is not the server's silence.
            heard = heard.max(Instant::now());
        }
    }

    async fn read(&mut self, message: Message) -> Result<Option<BucketEvent>, BucketError> {
        match message.status {
            None => self.value(message).map(Some),
            Some(StatusCode::IDLE_HEARTBEAT) => {
                self.control(message).await?;
                Ok(None)
            }
            Some(_) => Err(BucketError::ConsumerGone),
        }
    }

    /// A heartbeat, or a request of flow control.
    async fn control(&mut self, message: Message) -> Result<(), BucketError> {
        let lost = |error: async_nats::PublishError| BucketError::Connection(error.to_string());
        if let Some(reply) = message.reply {
            return self.client.publish(reply, "".into()).await.map_err(lost);
        }
        let header = |name: &str| {
            let headers = message.headers.as_ref();
            headers.and_then(|headers| headers.get(name)).map(|value| value.as_str().to_owned())
        };
        let delivered = header(async_nats::header::NATS_LAST_CONSUMER.as_ref());
        if delivered.and_then(|number| number.parse::<u64>().ok()) != Some(self.delivered) {
            return Err(BucketError::Gap);
        }
        if let Some(subject) = header(STALLED) {
            return self.client.publish(subject, "".into()).await.map_err(lost);
        }
        // Values may have expired after they were counted: the server has nothing left to send.
        self.listed = true;
        Ok(())
    }

    fn value(&mut self, message: Message) -> Result<BucketEvent, BucketError> {
        let message = jetstream::Message { message, context: self.context.clone() };
        let info = message.info().map_err(|_| BucketError::Gap)?;
        if info.consumer_sequence != self.delivered + 1 {
            return Err(BucketError::Gap);
        }
        self.delivered = info.consumer_sequence;
        self.last_revision = info.stream_sequence;
        self.listed |= info.pending == 0;
        let key = message.subject.strip_prefix(&self.prefix).ok_or(BucketError::Gap)?.to_owned();
        let revision = info.stream_sequence;
        let written = written(info.published.unix_timestamp_nanos());
        self.subjects.insert(self.hasher.hash_one(&key));
        Ok(match message.headers.as_ref().filter(|headers| is_removal(headers)) {
            Some(headers) => {
                let by = headers.get(REMOVED_BY).map(|by| by.as_str().to_owned());
                BucketEvent::Removed { key, revision, by }
            }
            None => BucketEvent::Value { key, value: message.payload.to_vec(), revision, written },
        })
    }

    /// Compares the bucket with what was delivered. A stream that is purged, or whose values expire,
    /// reports nothing to its consumers; and only a leader with a quorum answers.
    async fn compare(&mut self) -> Result<(), BucketError> {
        let info = self.stream.get_info().await;
        let info = info.map_err(|error| BucketError::of_info(&self.bucket, &error))?;
        let Info { created, state, .. } = info;
        if created != self.stream.cached_info().created || state.last_sequence < self.last_revision
        {
            return Err(BucketError::Missing(self.bucket.to_string()));
        }
        let delivered = u64::try_from(self.subjects.len()).unwrap_or(u64::MAX);
        // A change that is on its way is not a difference.
        let is_current = state.last_sequence == self.last_revision || state.messages == 0;
        if is_current && state.subjects_count != delivered {
            return Err(BucketError::Diverged);
        }
        Ok(())
    }
}

fn facts(info: &Info) -> BucketFacts {
    let Info { config, cluster, .. } = info;
    let cluster = cluster.as_ref().and_then(|cluster| cluster.name.as_deref());
    let has_markers = config.subject_delete_marker_ttl.is_some();
    BucketFacts {
        replicas: config.num_replicas,
        is_clustered: cluster.is_some_and(|name| !name.is_empty()),
        max_age: Some(config.max_age).filter(|age| !age.is_zero() && !has_markers),
    }
}

fn written(nanoseconds: i128) -> SystemTime {
    let since = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
    SystemTime::UNIX_EPOCH + since
}

fn is_removal(headers: &HeaderMap) -> bool {
    let operation = headers.get(OPERATION).map(|value| value.as_str());
    matches!(operation, Some("DEL" | "PURGE")) || headers.get(MARKER).is_some()
}
