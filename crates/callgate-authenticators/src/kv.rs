#![doc = include_str!("../docs/kv.md")]

use std::{
    future::{self, Future},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use callgate::{
    authn::{Authenticator, BackendError, Origin, Probe, ProbeReport, Readiness},
    keys::UserKey,
    secret::Secret,
};
use callgate_config::{Key, Table, Type};
use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::Instant as Deadline};

use crate::{
    directory::{Directory, DirectoryAuthenticator, Entry, Lookup, Remembered},
    kind::{Bucket, BuildContext, FALL_THROUGH_KEY, Kind, never_falls_through},
    passwords::StoredPassword,
};

mod entry;
mod probe;
mod table;
mod users;

pub use entry::{CheckedEntry, MAX_VALUE, check_entry};
use probe::Probing;
use users::BucketUsers;

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
        let users = Arc::new(BucketUsers::new(context.clone(), &bucket, origin));
        let bus = context.services.bus.clone().filter(|_| context.services.background);
        let follower = bus.map(|bus| {
            let events = bus.watch(&bucket);
            tokio::spawn(Arc::clone(&users).follow(events)).abort_handle()
        });
        let description = format!("the bucket {bucket}");
        let follower = Mutex::new(follower.map(Follower));
        let probe =
            Probing { bus: context.services.bus.clone(), bucket, origin, context: context.clone() };
        let directory = BucketDirectory { users, description, max_stale, follower, probe };
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

/// The users of a watched bucket.
struct BucketDirectory {
    users: Arc<BucketUsers>,
    description: String,
    max_stale: Option<Duration>,
    follower: Mutex<Option<Follower>>,
    probe: Probing,
}

/// The task that follows the bucket; it ends when this is dropped.
struct Follower(tokio::task::AbortHandle);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Directory for BucketDirectory {
    fn by_name(&self, name: &str, _: Deadline) -> impl Future<Output = Lookup> + Send {
        let found = self.users.find(self.max_stale, Instant::now(), |users| users.by_name(name));
        future::ready(found)
    }

    fn by_token(&self, token: &Secret, _: Deadline) -> impl Future<Output = Lookup> + Send {
        let found = self.users.find(self.max_stale, Instant::now(), |users| users.by_token(token));
        future::ready(found)
    }

    fn by_nkey(&self, key: &UserKey, _: Deadline) -> impl Future<Output = Lookup> + Send {
        let found = self.users.find(self.max_stale, Instant::now(), |users| users.by_nkey(key));
        future::ready(found)
    }

    fn dummy_password(&self, name: &str) -> Arc<StoredPassword> {
        self.users.dummy_password(name)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&Entry)) -> Option<()> {
        self.users.for_each(visit);
        Some(())
    }

    fn remembered(&self, name: &str) -> Remembered {
        self.users.remembered(name)
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.users.changes())
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn readiness(&self) -> Readiness {
        match self.users.has_loaded() {
            true => Readiness::Ready,
            false => Readiness::Waiting(format!("the users in {}", self.description)),
        }
    }

    fn probe(&self, _: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        Some(Box::pin(self.probe.run()))
    }

    fn retire(&self) {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests;
