//! A watch of a bucket that is established again whenever it is lost.

use std::{future::Future, time::Duration};

use async_nats::Client;
use callgate_authenticators::kind::{Bucket, BucketEvent};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tracing::{error, info};

use super::{BucketError, follow};

/// Events that wait for the receiver. When it is behind, the server stops sending (flow control).
const CAPACITY: usize = 256;
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// An outage is logged again after this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Watches a bucket on the connection that `client` provides, until the receiver is dropped.
pub(crate) fn watch(
    bucket: Bucket,
    client: impl Future<Output = Option<Client>> + Send + 'static,
) -> mpsc::Receiver<BucketEvent> {
    let (events, receiver) = mpsc::channel(CAPACITY);
    tokio::spawn(async move {
        let closed = events.clone();
        let watching = async {
            if let Some(client) = client.await {
                keep_watching(&client, &bucket, &events).await;
            }
        };
        tokio::select! {
            () = watching => {}
            () = closed.closed() => {}
        }
    });
    receiver
}

async fn keep_watching(client: &Client, bucket: &Bucket, events: &mpsc::Sender<BucketEvent>) {
    let mut outage = Outage::default();
    loop {
        let watch = follow::Watch::start(client, bucket).await;
        let error = match watch {
            Ok(watch) => watch.deliver(events, || outage.end(bucket)).await,
            Err(error) => error,
        };
        if events.send(BucketEvent::Lost(error.to_string())).await.is_err() {
            return;
        }
        let backoff = outage.note(bucket, error);
        sleep(backoff).await;
    }
}

/// An outage of the watch: what was logged, and how long to wait.
#[derive(Debug, Default)]
struct Outage {
    logged: Option<(BucketError, Instant)>,
    failures: u32,
}

impl Outage {
    /// Logs the error, unless it was logged recently; returns how long to wait.
    fn note(&mut self, bucket: &Bucket, error: BucketError) -> Duration {
        let now = Instant::now();
        let recent = self.logged.as_ref().is_some_and(|(logged, at)| {
            *logged == error && now.saturating_duration_since(*at) < LOG_INTERVAL
        });
        if !recent {
            error!(bucket = bucket.name, %error, "cannot watch the bucket; retrying");
            self.logged = Some((error, now));
        }
        let backoff = MIN_BACKOFF * 2u32.pow(self.failures.min(5));
        self.failures += 1;
        backoff.min(MAX_BACKOFF)
    }

    /// The bucket was listed completely.
    fn end(&mut self, bucket: &Bucket) {
        if self.logged.take().is_some() {
            info!(bucket = bucket.name, "the watch of the bucket is established again");
        }
        self.failures = 0;
    }
}
