//! A connected client, and the events of its connection.

use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectOptions, Event};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connected client, and the events of its connection.
#[derive(Debug)]
pub struct Session {
    /// The client.
    pub client: Client,
    events: UnboundedReceiver<String>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// If the client cannot connect.
    pub async fn connect(url: &str, options: ConnectOptions) -> Result<Self, ConnectError> {
        let (sender, events) = unbounded_channel();
        let options = options.event_callback(move |event| {
            let _receiver_is_gone = sender.send(describe(&event));
            std::future::ready(())
        });
        Ok(Self { client: options.connect(url).await?, events })
    }

    /// Waits for an event that contains this text, ignoring case.
    ///
    /// # Panics
    /// If none arrives.
    pub async fn hears(&mut self, text: &str) {
        let heard = async {
            while let Some(event) = self.events.recv().await {
                if event.to_lowercase().contains(&text.to_lowercase()) {
                    return;
                }
            }
            panic!("the client closed before the event `{text}`");
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("no event with `{text}`"));
    }

    /// Publishes, and waits for the server's permission error.
    ///
    /// # Panics
    /// If none arrives.
    pub async fn is_refused_to_publish(&mut self, subject: &str) {
        self.client.publish(subject.to_owned(), "x".into()).await.unwrap();
        self.client.flush().await.unwrap();
        self.hears(&format!("Permissions Violation for Publish to \"{subject}\"")).await;
    }

    /// Subscribes, and waits for the server's permission error.
    ///
    /// # Panics
    /// If none arrives.
    pub async fn is_refused_to_subscribe(&mut self, subject: &str) {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.hears(&format!("Permissions Violation for Subscription to \"{subject}\"")).await;
    }

    /// Subscribes to a subject, publishes there, and waits for the message.
    ///
    /// # Panics
    /// If it does not arrive.
    pub async fn talks_to_itself_on(&self, subject: &str) {
        let mut inbox = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.client.publish(subject.to_owned(), "hello".into()).await.unwrap();
        let message = timeout(PATIENCE, inbox.next()).await.expect("a message in time");
        assert_eq!(message.expect("a message").payload, "hello");
    }

    /// Whether a message to itself comes back. A connection alone proves no admission: async-nats also takes the
    /// `PING` of a server that still waits for a decision for success.
    pub async fn is_admitted(&self, subject: &str) -> bool {
        let Ok(mut inbox) = self.client.subscribe(subject.to_owned()).await else { return false };
        let published = self.client.publish(subject.to_owned(), "hello".into()).await;
        published.is_ok() && matches!(timeout(PATIENCE, inbox.next()).await, Ok(Some(_)))
    }

    /// The server's user info, such as `account` and `permissions`. The client must be permitted to request it.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn user_info(&self) -> Value {
        let answer = self.client.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();
        let mut info: Value = serde_json::from_slice(&answer.payload).unwrap();
        info["data"].take()
    }

    /// The account of the connection.
    ///
    /// # Panics
    /// As [`Session::user_info`].
    pub async fn account(&self) -> String {
        self.user_info().await["account"].as_str().expect("an account").to_owned()
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::ServerError(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}
