#![doc = include_str!("../docs/kv.md")]

use std::{sync::Arc, time::Duration};

use callgate::authn::{Authenticator, Origin};
use callgate_config::{Key, Table, Type};

use crate::{
    directory::DirectoryAuthenticator,
    kind::{Bucket, BuildContext, FALL_THROUGH_KEY, Kind, never_falls_through},
};

mod directory;
mod probe;
mod table;
mod users;

pub use crate::directory::{CheckedEntry, MAX_VALUE, check_entry};
use directory::BucketDirectory;

/// The kind `kv`: users in a key-value bucket of JetStream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kv;

const KEYS: &[Key] = &[
    Key::required(
        "bucket",
        Type::Text,
        "the bucket, in Callgate's own account and on its own connection",
    ),
    Key::optional("domain", Type::Text, "the JetStream domain of the bucket"),
    Key::optional(
        "operator_owned",
        Type::Boolean,
        "entries count as the operator's own file: no ceiling, templates in permissions, unrestricted when nothing \
         else grants. For buckets that only operators can write to",
    )
    .or("false"),
    Key::optional(
        "max_stale",
        Type::OneOf(&[Type::Duration, Type::Word(&["none"])]),
        "refuse logins with `backend_unavailable` when the watch has been lost for this long",
    )
    .or("\"none\""),
    FALL_THROUGH_KEY,
];

impl Kind for Kv {
    fn name(&self) -> &'static str {
        "kv"
    }

    fn keys(&self) -> &'static [Key] {
        KEYS
    }

    fn has_entries(&self) -> bool {
        true
    }

    fn uses_bus(&self) -> bool {
        true
    }

    fn takes_passwords(&self, _table: &serde_json::Value) -> bool {
        true
    }

    fn refuses_unknown_users(&self, table: &serde_json::Value) -> bool {
        never_falls_through(table)
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        let settings = Settings::read(context, table)?;
        Some(Arc::new(settings.start(context.clone())))
    }
}

/// The table `[authenticators.kv]`.
struct Settings {
    bucket: Bucket,
    origin: Origin,
    max_stale: Option<Duration>,
    fall_through: bool,
}

impl Settings {
    fn read(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let name = table.required_string("bucket");
        if let Some(name) = &name
            && !Bucket::is_valid_name(name)
        {
            let message = "the name of a bucket consists of letters, digits, `-` and `_`";
            table.fault("bucket", message);
        }
        let domain = table.filled_string("domain");
        if let Some(domain) = &domain
            && !Bucket::is_valid_name(domain)
        {
            table.fault("domain", "a domain consists of letters, digits, `-` and `_`");
        }
        let operator_owned = table.boolean("operator_owned").unwrap_or(false);
        let max_stale = max_stale(&mut table);
        let fall_through = context.chain.read_password_fall_through(&mut table);
        let origin = if operator_owned { Origin::Operator } else { Origin::Outside };
        let good = table.finish();
        let bucket = Bucket { name: name?, domain };
        good.then_some(Self { bucket, origin, max_stale, fall_through })
    }

    fn start(self, context: BuildContext) -> DirectoryAuthenticator<BucketDirectory> {
        let Self { bucket, origin, max_stale, fall_through } = self;
        let directory = BucketDirectory::start(&context, bucket, origin, max_stale);
        DirectoryAuthenticator::new(directory, context, fall_through)
    }
}

/// Reads `max_stale`; `None` stands for `"none"`.
fn max_stale(table: &mut Table<'_>) -> Option<Duration> {
    let item = table.raw("max_stale")?;
    if item.value() == "none" {
        return None;
    }
    let duration = item.duration()?;
    if duration.is_zero() {
        item.fault("must be greater than zero, or \"none\"");
    }
    Some(duration)
}

#[cfg(test)]
mod tests;
