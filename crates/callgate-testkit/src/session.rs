//! A client that is in, and what its server tells it.

use std::time::Duration;

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
pub struct Session {
    /// The client.
    pub client: Client,
    events: UnboundedReceiver<String>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// What kept the client out.
    pub async fn connect(url: &str, options: ConnectOptions) -> Result<Self, ConnectError> {
        let (sender, events) = unbounded_channel();
        let options = options.event_callback(move |event| {
            let _nobody_listens_any_more = sender.send(describe(&event));
            std::future::ready(())
        });
        Ok(Self { client: options.connect(url).await?, events })
    }

    /// Waits for an event whose text has this, in capital letters or small ones.
    ///
    /// # Panics
    /// If none comes.
    pub async fn hears(&mut self, text: &str) {
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

    /// Publishes, and waits for the server to say no.
    ///
    /// # Panics
    /// If it does not.
    pub async fn is_refused_to_publish(&mut self, subject: &str) {
        self.client.publish(subject.to_owned(), "x".into()).await.unwrap();
        self.client.flush().await.unwrap();
        self.hears(&format!("Permissions Violation for Publish to \"{subject}\"")).await;
    }

    /// Subscribes, and waits for the server to say no.
    ///
    /// # Panics
    /// If it does not.
    pub async fn is_refused_to_subscribe(&mut self, subject: &str) {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.hears(&format!("Permissions Violation for Subscription to \"{subject}\"")).await;
    }

    /// Subscribes to a subject, publishes there, and waits for the message.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn talks_to_itself_on(&self, subject: &str) {
        let mut inbox = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.client.publish(subject.to_owned(), "hello".into()).await.unwrap();
        let message = timeout(PATIENCE, inbox.next()).await.expect("a message in time");
        assert_eq!(message.expect("a message").payload, "hello");
    }

    /// What the server says of the client: its `account`, its `permissions`. It must be allowed to ask.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn user_info(&self) -> Value {
        let answer = self.client.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();
        let mut info: Value = serde_json::from_slice(&answer.payload).unwrap();
        info["data"].take()
    }

    /// The account that the server placed it in.
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
