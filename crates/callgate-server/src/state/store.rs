//! Writes to the bucket. A write is stored only if the bucket says so in time.

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{self, Context, context::PublishErrorKind, message::PublishMessage},
};
use callgate::sanitize::log_field;
use callgate_authenticators::kind::REMOVED_BY;
use tokio::time::timeout;

/// How long the bucket may take to confirm a write. A change of its leader takes half a second.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A bucket to write to.
#[derive(Debug, Clone)]
pub(super) struct Store {
    context: Context,
    bucket: String,
}

/// A write was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the key has another revision")]
    Conflict,
    #[error(
        "no server of the bucket `{0}` confirmed the write in time; a majority of its replicas may be down"
    )]
    NoAnswer(String),
    #[error("the bucket `{0}` does not exist, or has no leader")]
    NoBucket(String),
    #[error("the bucket `{bucket}` refused the write: {error}")]
    Refused { bucket: String, error: String },
}

impl Store {
    pub(super) fn new(client: &Client, bucket: &str) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(WRITE_TIMEOUT);
        Self { context, bucket: bucket.to_owned() }
    }

    /// Writes a value, with `revision` only if the key has that revision (0: none).
    pub(super) async fn write(
        &self,
        key: &str,
        value: Vec<u8>,
        revision: Option<u64>,
    ) -> Result<(), WriteError> {
        let message = PublishMessage::build().payload(value.into());
        self.send(key, expecting(message, revision)).await
    }

    /// Leaves a deletion marker; one with an actor unlocks.
    pub(super) async fn delete(&self, key: &str, actor: Option<&str>) -> Result<(), WriteError> {
        let mut message = PublishMessage::build().header("KV-Operation", "DEL");
        if let Some(actor) = actor {
            message = message.header(REMOVED_BY, log_field(actor).as_str());
        }
        self.send(key, message).await
    }

    async fn send(&self, key: &str, message: PublishMessage) -> Result<(), WriteError> {
        let subject = format!("$KV.{}.{key}", self.bucket);
        let write = async { self.context.send_publish(subject, message).await?.await };
        let no_answer = || WriteError::NoAnswer(self.bucket.clone());
        let result = timeout(WRITE_TIMEOUT, write).await.map_err(|_elapsed| no_answer())?;
        let error = match result {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        Err(match error.kind() {
            PublishErrorKind::WrongLastSequence => WriteError::Conflict,
            PublishErrorKind::StreamNotFound => WriteError::NoBucket(self.bucket.clone()),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => no_answer(),
            PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::MaxAckPending
            | PublishErrorKind::MaxPayloadExceeded
            | PublishErrorKind::Other => {
                WriteError::Refused { bucket: self.bucket.clone(), error: error.to_string() }
            }
        })
    }
}

fn expecting(message: PublishMessage, revision: Option<u64>) -> PublishMessage {
    match revision {
        Some(revision) => message.expected_last_subject_sequence(revision),
        None => message,
    }
}
