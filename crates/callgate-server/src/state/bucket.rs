//! The bucket exists, and may be used.

use std::time::Duration;

use async_nats::Client;
use callgate::responder::missing_permissions;
use callgate_authenticators::kind::Bucket;
use tracing::warn;

use super::StateSettings;
use crate::buckets::{self, BucketAccess, BucketError, Retention};

/// Values stay until they are removed.
const RETENTION: Retention = Retention { history: 1, max_age: Duration::ZERO };

/// What `init` permits the callout user to publish for `[state]`, with the default bucket.
pub(crate) const PERMISSIONS: [&str; 13] = [
    BUS_PERMISSION,
    "$KV.callgate.>",
    "$JS.FC.KV_callgate.>",
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.KV_callgate",
    "$JS.API.STREAM.CREATE.KV_callgate",
    "$JS.API.STREAM.MSG.GET.KV_callgate",
    "$JS.API.DIRECT.GET.KV_callgate",
    "$JS.API.DIRECT.GET.KV_callgate.>",
    "$JS.API.CONSUMER.CREATE.KV_callgate",
    "$JS.API.CONSUMER.CREATE.KV_callgate.>",
    "$JS.API.CONSUMER.INFO.KV_callgate.>",
    "$JS.API.CONSUMER.DELETE.KV_callgate.>",
];
/// For messages between replicas, to publish and to subscribe to.
pub(crate) const BUS_PERMISSION: &str = "CALLGATE.>";

/// The subjects that the callout user must be permitted to publish. Reads of single values, which
/// `init` permits too, are for administrators' tools.
pub(crate) fn permissions(bucket: &str, create: bool) -> Vec<String> {
    let stream = format!("KV_{bucket}");
    let mut subjects = vec![
        format!("$JS.API.STREAM.INFO.{stream}"),
        format!("$JS.API.CONSUMER.CREATE.{stream}"),
        format!("$JS.API.CONSUMER.CREATE.{stream}.>"),
        format!("$JS.API.CONSUMER.DELETE.{stream}.>"),
        format!("$JS.FC.{stream}.>"),
        format!("$KV.{bucket}.>"),
    ];
    if create {
        subjects.push("$JS.API.INFO".to_owned());
        subjects.push(format!("$JS.API.STREAM.CREATE.{stream}"));
    }
    subjects
}

/// Checks the permissions, and creates the bucket if it is missing.
pub(super) async fn open(client: &Client, settings: &StateSettings) -> Result<(), BucketError> {
    let bucket = of(settings);
    buckets::check_permissions(client, &permissions(&bucket.name, settings.create)).await?;
    let access = match BucketAccess::open(client, &bucket).await {
        Err(BucketError::Missing(_)) if settings.create => {
            let created = buckets::create(client, &bucket, RETENTION, &[settings.replicas]).await?;
            let Some(created) = created else { return Ok(()) };
            tracing::info!(bucket = bucket.name, replicas = created.replicas(), "bucket created");
            created
        }
        opened => opened?,
    };
    if access.replicas() < settings.replicas {
        warn!(
            bucket = bucket.name,
            replicas = access.replicas(),
            "the bucket has fewer replicas than `state.replicas`: locks cannot be written while one of its \
             servers is down; raise the number with `nats stream edit`"
        );
    }
    Ok(())
}

/// What `check --connect` says about the bucket, which it does not create.
///
/// # Errors
/// If a permission is missing, or the bucket cannot be used.
pub(crate) async fn examine(
    client: &Client,
    settings: &StateSettings,
    queue: &str,
) -> Result<Vec<String>, BucketError> {
    let bucket = of(settings);
    let bus = [format!("CALLGATE.{queue}.>")];
    let publish = [permissions(&bucket.name, settings.create), bus.to_vec()].concat();
    buckets::check_permissions(client, &publish).await?;
    let missing = missing_permissions(client, &[], &bus).await?;
    if let Some(subject) = missing.subscribe.first() {
        return Err(BucketError::NotPermitted(format!("subscribe to `{subject}`")));
    }
    match BucketAccess::open(client, &bucket).await {
        Err(BucketError::Missing(_)) if settings.create => {
            Ok(vec![format!("the bucket {bucket} will be created")])
        }
        opened => {
            let replicas = opened?.replicas();
            Ok(vec![format!("the bucket {bucket} exists, replicas: {replicas}")])
        }
    }
}

pub(super) fn of(settings: &StateSettings) -> Bucket {
    Bucket { name: settings.bucket.clone(), domain: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_permits_everything_that_is_needed() {
        let needed = permissions("callgate", true);
        assert!(needed.iter().all(|subject| PERMISSIONS.contains(&subject.as_str())), "{needed:?}");
        let written = include_str!("../cli/init/configuration_mode.rs");
        let values = include_str!("../cli/init/kubernetes.rs");
        for subject in PERMISSIONS {
            assert!(written.contains(&format!("\"{subject}\"")), "{subject}");
            assert!(values.contains(&format!("- {subject}\n")), "{subject}");
        }
    }
}
