//! Reads and compare-and-set writes of a bucket, and its creation.

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{
        context::{CreateKeyValueErrorKind, CreateStreamErrorKind},
        kv::{Config, Operation, Store, UpdateErrorKind},
        stream::StorageType,
    },
};
use callgate_authenticators::kind::Bucket;
use futures_util::StreamExt;

use super::{BucketError, follow::context};

/// A bucket to read and write.
#[derive(Debug, Clone)]
pub(crate) struct BucketAccess {
    bucket: Bucket,
    store: Store,
    replicas: usize,
}

/// A value with its revision. The revision of a deleted key, or 0 for an unknown one, is that for a write.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) revision: u64,
    /// `None` if the key was deleted or never written.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) written: Option<String>,
}

/// The outcome of a compare-and-set write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Done {
        revision: u64,
    },
    /// Another write came first; nothing was written.
    Conflict,
}

/// JetStream refuses a number of replicas: not clustered, no suitable servers, insufficient resources.
const TOO_MANY_REPLICAS: [u64; 3] = [10_074, 10_005, 10_023];

/// What a new bucket keeps of each key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// The number of revisions.
    pub(crate) history: i64,
    /// For how long; zero for ever.
    pub(crate) max_age: Duration,
}

/// Raises the number stored under `key` in a bucket, which is created if it is missing; false if the stored
/// one is not lower.
///
/// # Errors
/// If the servers refuse or do not answer, or the stored value is not a number.
pub(crate) async fn raise(
    client: &Client,
    bucket: &Bucket,
    key: &str,
    number: u64,
    retention: Retention,
) -> Result<bool, BucketError> {
    let access = match BucketAccess::open(client, bucket).await {
        Err(BucketError::Missing(_)) => match create(client, bucket, retention, &[3, 1]).await? {
            Some(access) => access,
            // Another replica was faster.
            None => BucketAccess::open(client, bucket).await?,
        },
        opened => opened?,
    };
    loop {
        let stored = access.read(key).await?;
        if !stored.is_below(number, bucket, key)? {
            return Ok(false);
        }
        let value = number.to_string().into_bytes();
        match access.write(key, value, stored.revision).await? {
            Written::Done { .. } => return Ok(true),
            Written::Conflict => {}
        }
    }
}

/// Whether [`raise`] would succeed. Writes nothing, and does not create the bucket.
///
/// # Errors
/// As for [`raise`].
pub(crate) async fn is_below(
    client: &Client,
    bucket: &Bucket,
    key: &str,
    number: u64,
) -> Result<bool, BucketError> {
    match BucketAccess::open(client, bucket).await {
        Err(BucketError::Missing(_)) => Ok(true),
        opened => opened?.read(key).await?.is_below(number, bucket, key),
    }
}

impl Stored {
    /// Whether the stored number is lower than `number`, or there is none.
    fn is_below(&self, number: u64, bucket: &Bucket, key: &str) -> Result<bool, BucketError> {
        let Some(value) = &self.value else { return Ok(true) };
        let stored = parse_number(value).ok_or_else(|| {
            let error = format!("the value of `{key}` is not a number");
            BucketError::JetStream { bucket: bucket.to_string(), error }
        })?;
        Ok(stored < number)
    }
}

fn parse_number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Creates a bucket with file storage and the first of these numbers of replicas for which there are
/// enough servers. `None` if there is one of that name already.
///
/// # Errors
/// If the servers refuse: the message contains their error.
pub(crate) async fn create(
    client: &Client,
    bucket: &Bucket,
    retention: Retention,
    replicas: &[usize],
) -> Result<Option<BucketAccess>, BucketError> {
    match BucketAccess::open(client, bucket).await {
        Ok(_) => return Ok(None),
        Err(BucketError::Missing(_)) => {}
        Err(error) => return Err(error),
    }
    let context = context(client, bucket);
    let mut last = BucketError::Missing(bucket.to_string());
    for replicas in replicas {
        let config = Config {
            bucket: bucket.name.clone(),
            history: retention.history,
            max_age: retention.max_age,
            storage: StorageType::File,
            num_replicas: *replicas,
            ..Config::default()
        };
        last = match context.create_key_value(config).await {
            Ok(store) => {
                return Ok(Some(BucketAccess {
                    bucket: bucket.clone(),
                    store,
                    replicas: *replicas,
                }));
            }
            Err(error) if error.kind() == CreateKeyValueErrorKind::TimedOut => {
                return Err(BucketError::NoAnswer(bucket.to_string()));
            }
            Err(error) => {
                let (code, error) = cause(&error);
                let bucket = bucket.to_string();
                if !code.is_some_and(|code| TOO_MANY_REPLICAS.contains(&code)) {
                    return Err(BucketError::JetStream { bucket, error });
                }
                // A server that is not clustered knows no others.
                let known = client.server_info().connect_urls.len().max(1);
                BucketError::TooFewServers { bucket, needed: *replicas, known, error }
            }
        };
    }
    Err(last)
}

/// The error of JetStream below an error of the client, and its code.
fn cause(error: &(dyn std::error::Error + 'static)) -> (Option<u64>, String) {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let code = chain.clone().find_map(|error| {
        let error = error.downcast_ref::<async_nats::jetstream::context::CreateStreamError>()?;
        match error.kind() {
            CreateStreamErrorKind::JetStream(error) => Some(error.error_code().0),
            _ => None,
        }
    });
    (code, chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

impl BucketAccess {
    /// Opens an existing bucket.
    ///
    /// # Errors
    /// If there is none, or no server answers.
    pub(crate) async fn open(client: &Client, bucket: &Bucket) -> Result<Self, BucketError> {
        let context = context(client, bucket);
        let stream = context.get_stream(format!("KV_{}", bucket.name)).await;
        let stream = stream.map_err(|error| BucketError::of_stream(bucket, &error))?;
        let replicas = stream.cached_info().config.num_replicas;
        let store = context.get_key_value(&bucket.name).await;
        let store = store.map_err(|_| BucketError::NotABucket(bucket.to_string()))?;
        Ok(Self { bucket: bucket.clone(), store, replicas })
    }

    /// The number of replicas.
    pub(crate) fn replicas(&self) -> usize {
        self.replicas
    }

    /// The last value of a key.
    pub(crate) async fn read(&self, key: &str) -> Result<Stored, BucketError> {
        let entry = self.store.entry(key).await.map_err(|error| self.failed(&error))?;
        Ok(entry.map_or(Stored { revision: 0, value: None, written: None }, stored))
    }

    /// Every key with a value, in no particular order.
    pub(crate) async fn all(&self) -> Result<Vec<(String, Stored)>, BucketError> {
        let mut keys = self.store.keys().await.map_err(|error| self.failed(&error))?;
        let mut all = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| self.failed(&error))?;
            let stored = self.read(&key).await?;
            if stored.value.is_some() {
                all.push((key, stored));
            }
        }
        Ok(all)
    }

    /// The stored revisions of a key, oldest first.
    pub(crate) async fn history(&self, key: &str) -> Result<Vec<Stored>, BucketError> {
        let mut entries = self.store.history(key).await.map_err(|error| self.failed(&error))?;
        let mut all = Vec::new();
        while let Some(entry) = entries.next().await {
            all.push(stored(entry.map_err(|error| self.failed(&error))?));
        }
        Ok(all)
    }

    /// Writes a value if the key still has the revision of an earlier [`BucketAccess::read`].
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Vec<u8>,
        revision: u64,
    ) -> Result<Written, BucketError> {
        match self.store.update(key, value.into(), revision).await {
            Ok(revision) => Ok(Written::Done { revision }),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                Ok(Written::Conflict)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Deletes a key if it still has this revision.
    pub(crate) async fn delete(&self, key: &str, revision: u64) -> Result<Written, BucketError> {
        match self.store.delete_expect_revision(key, Some(revision)).await {
            Ok(()) => Ok(Written::Done { revision }),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                Ok(Written::Conflict)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &dyn std::error::Error) -> BucketError {
        let source = error.source().map(ToString::to_string);
        let error = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        BucketError::JetStream { bucket: self.bucket.to_string(), error }
    }
}

fn stored(entry: async_nats::jetstream::kv::Entry) -> Stored {
    let written = entry.created.to_string();
    let value = match entry.operation {
        Operation::Put => Some(entry.value.to_vec()),
        Operation::Delete | Operation::Purge => None,
    };
    Stored { revision: entry.revision, value, written: Some(written) }
}
