//! One connection attempt of a client, and its outcome.

use std::{
    future::ready,
    time::{Duration, Instant},
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use serde_json::Value;
use tokio::sync::mpsc;

/// Longer than a server waits for an answer (2 s), so that the server times out first.
const PATIENCE: Duration = Duration::from_secs(5);
/// A refusal that took this long was the server's timeout, not an answer.
const UNANSWERED: Duration = Duration::from_millis(1900);

/// The credential of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Password(String, String),
    /// A token.
    Token(String),
}

impl Credential {
    /// A name and a password.
    pub fn password(user: &str, password: &str) -> Self {
        Self::Password(user.to_owned(), password.to_owned())
    }

    fn options(&self) -> ConnectOptions {
        match self.clone() {
            Self::Password(user, password) => {
                ConnectOptions::with_user_and_password(user, password)
            }
            Self::Token(token) => ConnectOptions::with_token(token),
        }
    }
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Admitted to this account, according to the server.
    Admitted(String),
    /// Refused by an answer.
    Refused,
    /// Refused by the server when it stopped waiting for an answer.
    Unanswered,
    /// Not connected, or disconnected.
    NoServer,
}

/// An attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: AttemptOutcome,
}

impl Attempt {
    /// When it ended.
    pub fn ended(&self) -> Instant {
        self.began + self.took
    }

    /// Whether the client was admitted.
    pub fn is_admitted(&self) -> bool {
        matches!(self.outcome, AttemptOutcome::Admitted(_))
    }
}

/// Connects a client to one of these servers.
pub async fn attempt(urls: &[String], credential: &Credential) -> Attempt {
    let began = Instant::now();
    let outcome = connect(urls, credential, began).await;
    Attempt { began, took: began.elapsed(), outcome }
}

async fn connect(urls: &[String], credential: &Credential, began: Instant) -> AttemptOutcome {
    let (lost, mut losses) = mpsc::unbounded_channel();
    let options = credential.options().name("probe").max_reconnects(1);
    let options = options.connection_timeout(PATIENCE).request_timeout(Some(PATIENCE));
    let options = options.event_callback(move |event| {
        if matches!(event, Event::Disconnected) {
            let _receiver_is_gone = lost.send(());
        }
        ready(())
    });
    let kind = match options.connect(urls).await {
        // A waiting server sends a PING, which the client mistakes for success: only the server's user
        // info proves the admission.
        Ok(client) => tokio::select! {
            account = account(&client) => match account {
                Some(account) => return AttemptOutcome::Admitted(account),
                None => ConnectErrorKind::AuthorizationViolation,
            },
            _ = losses.recv() => ConnectErrorKind::AuthorizationViolation,
        },
        Err(error) => error.kind(),
    };
    match kind {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            if began.elapsed() < UNANSWERED {
                AttemptOutcome::Refused
            } else {
                AttemptOutcome::Unanswered
            }
        }
        _ => AttemptOutcome::NoServer,
    }
}

async fn account(client: &Client) -> Option<String> {
    let answer = client.request("$SYS.REQ.USER.INFO", "".into()).await.ok()?;
    let info: Value = serde_json::from_slice(&answer.payload).ok()?;
    info["data"]["account"].as_str().map(str::to_owned)
}
