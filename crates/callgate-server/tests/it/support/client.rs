//! Clients that want in.

use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};
use callgate_testkit::Nkey;
use futures_util::StreamExt;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// How a client says who it is.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    Nothing,
    Password(String, String),
    Token(String),
    /// The seed.
    Nkey(String),
}

impl Credential {
    pub(crate) fn password(user: &str, password: &str) -> Self {
        Self::Password(user.to_owned(), password.to_owned())
    }

    pub(crate) fn token(token: &str) -> Self {
        Self::Token(token.to_owned())
    }

    pub(crate) fn nkey(key: &Nkey) -> Self {
        Self::Nkey(key.seed())
    }

    fn options(&self) -> ConnectOptions {
        match self.clone() {
            Self::Nothing => ConnectOptions::new(),
            Self::Password(user, password) => {
                ConnectOptions::with_user_and_password(user, password)
            }
            Self::Token(token) => ConnectOptions::with_token(token),
            Self::Nkey(seed) => ConnectOptions::with_nkey(seed),
        }
    }
}

/// A client that is in, and what its server tells it besides messages.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    events: UnboundedReceiver<String>,
}

/// Connects with a user name and a password.
pub(crate) async fn connect(
    url: &str,
    user: &str,
    password: &str,
) -> Result<Session, ConnectError> {
    connect_to(url, &Credential::password(user, password)).await
}

/// Connects with any credential.
pub(crate) async fn connect_to(
    url: &str,
    credential: &Credential,
) -> Result<Session, ConnectError> {
    let (sender, events) = unbounded_channel();
    let options = credential.options().name("tester").event_callback(move |event| {
        let _ = sender.send(describe(&event));
        std::future::ready(())
    });
    Ok(Session { client: options.connect(url).await?, events })
}

/// The kind of the error that kept a client out.
#[track_caller]
pub(crate) fn refusal(outcome: Result<Session, ConnectError>) -> ConnectErrorKind {
    match outcome {
        Ok(_) => panic!("the client was let in"),
        Err(error) => error.kind(),
    }
}

/// Connects in vain, where nobody answers the server.
///
/// A server that waits long enough sends a `PING` meanwhile, which async-nats takes for success: then
/// the connection must end.
pub(crate) async fn stays_out(url: &str, user: &str, password: &str) {
    if let Ok(mut session) = connect(url, user, password).await {
        session.hears("disconnected").await;
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::ServerError(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

impl Session {
    /// Waits for an event whose text has this.
    pub(crate) async fn hears(&mut self, text: &str) {
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
    pub(crate) async fn is_refused_to_publish(&mut self, subject: &str) {
        self.client.publish(subject.to_owned(), "x".into()).await.unwrap();
        self.client.flush().await.unwrap();
        self.hears(&format!("Permissions Violation for Publish to \"{subject}\"")).await;
    }

    /// Subscribes, and waits for the server to say no.
    pub(crate) async fn is_refused_to_subscribe(&mut self, subject: &str) {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.hears(&format!("Permissions Violation for Subscription to \"{subject}\"")).await;
    }

    /// Subscribes to a subject, publishes there, and waits for the message.
    pub(crate) async fn talks_to_itself_on(&self, subject: &str) {
        let mut inbox = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.client.publish(subject.to_owned(), "hello".into()).await.unwrap();
        let message = timeout(PATIENCE, inbox.next()).await.expect("a message in time");
        assert_eq!(message.expect("a message").payload, "hello");
    }

    /// The account that the server placed it in.
    pub(crate) async fn account(&self) -> String {
        let answer = self.client.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();
        let info: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        info["data"]["account"].as_str().expect("an account").to_owned()
    }
}
