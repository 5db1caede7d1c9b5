//! Receiving: one subscription, established again whenever it is doubtful.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, HeaderMap, Message, Subscriber};
use callgate::responder::missing_permissions;
use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{error, info};

use super::{
    PeerMessage, ReplicaId, Replicas, lock,
    message::{COMMAND, MORE, REPLICA, header},
};

/// Says that a replica is alive.
const HELLO: &str = "hello";
/// Says that a replica stops.
pub(super) const BYE: &str = "bye";
/// Before the next attempt to subscribe.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// A server drops a subscription silently when a reload takes its permission away. A replica that does
/// not hear itself for this many pulses subscribes again.
const DEAF: u32 = 4;

impl Replicas {
    pub(super) async fn run(self: Arc<Self>, client: Client) {
        loop {
            let messages = self.subscribe_when_permitted(&client).await;
            self.receive(&client, messages).await;
        }
    }

    async fn subscribe_when_permitted(&self, client: &Client) -> Subscriber {
        let needed = self.permissions();
        let mut logged = false;
        loop {
            let missing = missing_permissions(client, &needed, &needed).await;
            match missing {
                Ok(missing) if missing.publish.is_empty() && missing.subscribe.is_empty() => {
                    if let Ok(messages) = client.subscribe(format!("{}.*", self.prefix)).await {
                        if logged {
                            info!("messages between replicas are permitted now");
                        }
                        return messages;
                    }
                }
                Ok(missing) if !logged => {
                    let publish = missing.publish.join(", ");
                    let subscribe = missing.subscribe.join(", ");
                    error!(
                        publish,
                        subscribe,
                        "the callout user has no permission for messages between replicas: allow it to \
                         publish and subscribe to `CALLGATE.>`"
                    );
                    logged = true;
                }
                Ok(_) | Err(_) => {}
            }
            sleep(RETRY_DELAY).await;
        }
    }

    async fn receive(self: &Arc<Self>, client: &Client, mut messages: Subscriber) {
        let mut pulse = interval(self.pulse);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard_self = Instant::now();
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return };
                    if self.receive_one(client, message).await {
                        heard_self = Instant::now();
                    }
                }
                _ = pulse.tick(), if self.is_member => {
                    if heard_self.elapsed() > self.pulse * DEAF {
                        return;
                    }
                    self.publish(HELLO, Vec::new()).await;
                }
            }
        }
    }

    /// Handles a message; true if it is this replica's own.
    async fn receive_one(self: &Arc<Self>, client: &Client, message: Message) -> bool {
        let Some(from) = header(&message, REPLICA).map(ReplicaId::from) else { return false };
        if from == self.id {
            return true;
        }
        let is_replica = header(&message, COMMAND).is_none();
        let kind = message.subject.strip_prefix(&self.prefix).unwrap_or_default();
        let kind = kind.trim_start_matches('.').to_owned();
        match (kind.as_str(), message.reply) {
            (BYE, _) => self.left(&from),
            (HELLO, None) => self.note_member(&from).await,
            (_, None) => {
                // Whatever a replica sends says that it is alive.
                if is_replica {
                    self.heard(&from, Duration::ZERO);
                }
                self.deliver(&kind, PeerMessage { from, payload: message.payload });
            }
            (_, Some(reply)) => {
                let responder = lock(&self.responders).get(kind.as_str()).cloned();
                if let Some(responder) = responder {
                    let answer = responder(PeerMessage { from, payload: message.payload });
                    let (replicas, client) = (Arc::clone(self), client.clone());
                    tokio::spawn(async move {
                        replicas.answer(&client, &reply, answer.await).await;
                    });
                }
            }
        }
        false
    }

    /// A new peer should not wait for the next pulse to learn of this one.
    async fn note_member(&self, id: &ReplicaId) {
        let is_new = !self.is_alive(id);
        self.heard(id, Duration::ZERO);
        if is_new && self.is_member {
            self.publish(HELLO, Vec::new()).await;
        }
    }

    async fn answer(&self, client: &Client, reply: &async_nats::Subject, parts: Vec<Vec<u8>>) {
        let count = parts.len();
        for (number, part) in parts.into_iter().enumerate() {
            let mut headers: HeaderMap = self.headers();
            if number + 1 < count {
                headers.insert(MORE, "1");
            }
            let _ = client.publish_with_headers(reply.clone(), headers, part.into()).await;
        }
    }
}
