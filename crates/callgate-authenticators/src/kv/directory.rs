//! The directory whose entries are the values of a bucket.

use std::{
    future::{self, Future},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use callgate::{
    authn::{BackendError, Origin, Probe, ProbeReport, Readiness},
    keys::UserKey,
    secret::Secret,
};
use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::Instant as Deadline};

use super::{probe::Probing, users::BucketUsers};
use crate::{
    directory::{Directory, Entry, Lookup, PackedEntry, Remembered},
    kind::{Bucket, BuildContext},
    network::BackgroundTasks,
    passwords::StoredPassword,
};

/// The users of a watched bucket.
pub(super) struct BucketDirectory {
    pub(super) users: Arc<BucketUsers>,
    description: String,
    max_stale: Option<Duration>,
    watching: Mutex<Option<BackgroundTasks>>,
    probe: Probing,
}

impl BucketDirectory {
    /// Starts to follow the bucket.
    pub(super) fn start(
        context: &BuildContext,
        bucket: Bucket,
        origin: Origin,
        max_stale: Option<Duration>,
    ) -> Self {
        let users = Arc::new(BucketUsers::new(context.clone(), &bucket, origin));
        let bus = context.services.bus.clone();
        let watching = bus.as_ref().filter(|_| context.services.background).map(|bus| {
            let events = bus.watch(&bucket);
            BackgroundTasks::spawn(true, [Arc::clone(&users).follow(events)])
        });
        Self {
            users,
            description: format!("the bucket {bucket}"),
            max_stale,
            watching: Mutex::new(watching),
            probe: Probing { bus, bucket, origin, context: context.clone() },
        }
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
        Arc::clone(self.users.read().table.dummies().for_name(name))
    }

    fn for_each(&self, visit: &mut dyn FnMut(&Entry)) -> Option<()> {
        let state = self.users.read();
        let entries = state.table.users().entries();
        entries.filter_map(PackedEntry::unpack).for_each(|entry| visit(&entry));
        Some(())
    }

    /// Also while the watch is lost.
    fn remembered(&self, name: &str) -> Remembered {
        let state = self.users.read();
        match state.table.users().by_name(name) {
            Some(entry) => Remembered::Entry(entry),
            None if state.loaded => Remembered::Missing,
            None => Remembered::Unknown,
        }
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.users.changes())
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn readiness(&self) -> Readiness {
        match self.users.read().loaded {
            true => Readiness::Ready,
            false => Readiness::Waiting(format!("the users in {}", self.description)),
        }
    }

    fn probe(&self, _: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        Some(Box::pin(self.probe.run()))
    }

    fn retire(&self) {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
