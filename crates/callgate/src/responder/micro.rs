//! The NATS micro-service protocol: `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS` (NATS ADR-32).
//!
//! There is one endpoint; its metadata contains nothing from the configuration.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, Subscriber};
use futures_util::{StreamExt, stream::select_all};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{AUTH_SUBJECT, ResponderOptions, ServeError, subscribe_error};
use crate::clock::UnixTime;

pub(super) const NAME: &str = "callgate";

/// The numbers shown by `nats micro stats`.
#[derive(Debug, Default)]
pub(super) struct Stats {
    requests: AtomicU64,
    errors: AtomicU64,
    nanoseconds: AtomicU64,
    last_error: Mutex<String>,
}

impl Stats {
    pub(super) fn count(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn count_error(&self, error: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// Answers the micro-service protocol until stopped.
#[derive(Debug)]
pub(super) struct Micro {
    task: JoinHandle<()>,
}

struct Service {
    id: String,
    version: String,
    queue: String,
    started: UnixTime,
    stats: Arc<Stats>,
}

impl Micro {
    pub(super) async fn start(
        client: &Client,
        options: &ResponderOptions,
        stats: Arc<Stats>,
    ) -> Result<Self, ServeError> {
        // An inbox ends in a random name, so no other source of random numbers is needed.
        let inbox = client.new_inbox();
        let id = inbox.rsplit('.').next().unwrap_or(NAME).to_owned();
        let mut subscriptions = Vec::new();
        for verb in ["PING", "INFO", "STATS"] {
            for subject in [
                format!("$SRV.{verb}"),
                format!("$SRV.{verb}.{NAME}"),
                format!("$SRV.{verb}.{NAME}.{id}"),
            ] {
                let subscription = client.subscribe(subject.clone()).await;
                subscriptions.push(subscription.map_err(|e| subscribe_error(&subject, &e))?);
            }
        }
        let service = Service {
            id,
            version: options.version.clone(),
            queue: options.queue.clone(),
            started: UnixTime::now(),
            stats,
        };
        Ok(Self { task: tokio::spawn(answer(client.clone(), subscriptions, service)) })
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Micro {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer(client: Client, subscriptions: Vec<Subscriber>, service: Service) {
    let mut requests = select_all(subscriptions);
    while let Some(request) = requests.next().await {
        let Some(reply) = request.reply else { continue };
        let verb = request.subject.split('.').nth(1).unwrap_or_default().to_owned();
        let answer = match verb.as_str() {
            "PING" => service.ping(),
            "INFO" => service.info(),
            _ => service.statistics(),
        };
        // Nothing can be done about an error here: the requester will try again.
        let _ = client.publish(reply, answer.to_string().into()).await;
    }
}

impl Service {
    fn ping(&self) -> Value {
        json!({
            "type": "io.nats.micro.v1.ping_response",
            "name": NAME,
            "id": self.id,
            "version": self.version,
            "metadata": {},
        })
    }

    fn info(&self) -> Value {
        json!({
            "type": "io.nats.micro.v1.info_response",
            "name": NAME,
            "id": self.id,
            "version": self.version,
            "metadata": {},
            "description": "authentication and authorization for NATS",
            "endpoints": [{
                "name": "auth",
                "subject": AUTH_SUBJECT,
                "queue_group": self.queue,
                "metadata": {},
            }],
        })
    }

    fn statistics(&self) -> Value {
        let requests = self.stats.requests.load(Ordering::Relaxed);
        let nanoseconds = self.stats.nanoseconds.load(Ordering::Relaxed);
        let last_error =
            self.stats.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "type": "io.nats.micro.v1.stats_response",
            "name": NAME,
            "id": self.id,
            "version": self.version,
            "metadata": {},
            "started": self.started.to_string(),
            "endpoints": [{
                "name": "auth",
                "subject": AUTH_SUBJECT,
                "queue_group": self.queue,
                "num_requests": requests,
                "num_errors": self.stats.errors.load(Ordering::Relaxed),
                "last_error": last_error,
                "processing_time": nanoseconds,
                "average_processing_time": nanoseconds.checked_div(requests).unwrap_or_default(),
            }],
        })
    }
}
