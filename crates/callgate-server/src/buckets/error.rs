//! Why a bucket cannot be used, with what to do about it.

use async_nats::jetstream::{
    ErrorCode,
    context::{GetStreamError, GetStreamErrorKind, RequestError},
    stream::{ConsumerError, ConsumerErrorKind},
};
use callgate::responder::ServeError;
use callgate_authenticators::kind::Bucket;

/// A bucket cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BucketError {
    #[error("the bucket {0} does not exist")]
    Missing(String),
    #[error("the stream of the bucket {0} is not a key-value bucket")]
    NotABucket(String),
    #[error(
        "JetStream is not enabled for the callout account: add `jetstream: enabled` to the account \
         in nats-server.conf, or JetStream limits to its JWT"
    )]
    NotEnabled,
    #[error(
        "the callout user has no permission to {0}: see `docs/kv.md`, and for [state] `docs/revocation.md`"
    )]
    NotPermitted(String),
    #[error(
        "the bucket {bucket} needs {needed} servers with JetStream, and the cluster has {}: add servers, or \
         ask for fewer replicas ({error})",
        servers(*.known)
    )]
    TooFewServers { bucket: String, needed: usize, known: usize, error: String },
    #[error("no server of the bucket {0} answers; a majority of its replicas may be down")]
    NoAnswer(String),
    #[error("JetStream reports an error about the bucket {bucket}: {error}")]
    JetStream { bucket: String, error: String },
    #[error("no connection to NATS: {0}")]
    Connection(String),
    #[error("messages of the watch were lost")]
    Gap,
    #[error("the consumer of the watch is gone")]
    ConsumerGone,
    #[error("the bucket holds other keys than the watch has delivered")]
    Diverged,
}

fn servers(count: usize) -> String {
    format!("{count} server{}", if count == 1 { "" } else { "s" })
}

impl BucketError {
    fn of_jetstream(bucket: &Bucket, error: &async_nats::jetstream::Error) -> Self {
        let code = error.error_code();
        if code == ErrorCode::STREAM_NOT_FOUND {
            return Self::Missing(bucket.to_string());
        }
        if code == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
            || code == ErrorCode::JETSTREAM_NOT_ENABLED
        {
            return Self::NotEnabled;
        }
        Self::JetStream { bucket: bucket.to_string(), error: error.to_string() }
    }

    pub(super) fn of_stream(bucket: &Bucket, error: &GetStreamError) -> Self {
        match error.kind() {
            GetStreamErrorKind::JetStream(error) => Self::of_jetstream(bucket, &error),
            GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::Request
            | GetStreamErrorKind::InvalidStreamName => Self::NoAnswer(bucket.to_string()),
        }
    }

    pub(super) fn of_info(bucket: &Bucket, error: &RequestError) -> Self {
        let source = std::error::Error::source(error);
        match source.and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>()) {
            Some(error) => Self::of_jetstream(bucket, error),
            None => Self::NoAnswer(bucket.to_string()),
        }
    }

    pub(super) fn of_consumer(bucket: &Bucket, error: &ConsumerError) -> Self {
        match error.kind() {
            ConsumerErrorKind::JetStream(error) => Self::of_jetstream(bucket, &error),
            _ => Self::NoAnswer(bucket.to_string()),
        }
    }
}

impl From<ServeError> for BucketError {
    fn from(error: ServeError) -> Self {
        Self::Connection(error.to_string())
    }
}
