//! Clients on async-nats.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use async_nats::{Client, ConnectError, ConnectOptions, Event};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A client that is in, and what its server tells it besides messages.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    events: UnboundedReceiver<String>,
}

/// A name for each connection, by which its decision is found in the log.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("client-{}.", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Connects with a token.
pub(crate) async fn connect(url: &str, token: &str, name: &str) -> Result<Session, ConnectError> {
    let (sender, events) = unbounded_channel();
    let options = ConnectOptions::with_token(token.to_owned())
        .name(name)
        .connection_timeout(PATIENCE)
        .event_callback(move |event| {
            let _ = sender.send(match event {
                Event::ServerError(error) => error.to_string(),
                other => format!("{other:?}"),
            });
            std::future::ready(())
        });
    Ok(Session { client: options.connect(url).await?, events })
}

impl Session {
    /// Subscribes to a subject, publishes there, and waits for the message.
    pub(crate) async fn talks_to_itself_on(&self, subject: &str) {
        let mut inbox = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.client.publish(subject.to_owned(), "hello".into()).await.unwrap();
        let message = timeout(PATIENCE, inbox.next()).await.expect("a message in time");
        assert_eq!(message.expect("a message").payload, "hello");
    }

    /// Publishes, and waits for the server to say no.
    pub(crate) async fn may_not_publish(&mut self, subject: &str) {
        self.client.publish(subject.to_owned(), "x".into()).await.unwrap();
        self.client.flush().await.unwrap();
        self.hears(&format!("permissions violation for publish to \"{subject}\"")).await;
    }

    /// Subscribes, and waits for the server to say no.
    pub(crate) async fn may_not_subscribe(&mut self, subject: &str) {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.hears(&format!("permissions violation for subscription to \"{subject}\"")).await;
    }

    /// What the server says that it may do; its role must allow to ask.
    pub(crate) async fn permissions(&self) -> Value {
        let answer = self.client.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();
        let info: Value = serde_json::from_slice(&answer.payload).unwrap();
        info["data"]["permissions"].clone()
    }

    async fn hears(&mut self, text: &str) {
        let heard = async {
            while let Some(event) = self.events.recv().await {
                if event.to_lowercase().contains(&text.to_lowercase()) {
                    return;
                }
            }
            panic!("the client ended before it heard `{text}`");
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("never heard `{text}`"));
    }
}
