//! One client that wants in, and what became of it.

use std::{
    future::ready,
    time::{Duration, Instant},
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use serde_json::Value;
use tokio::sync::mpsc;

/// Longer than a server waits for an answer (2 s), so that the server speaks first.
const PATIENCE: Duration = Duration::from_secs(5);
/// A refusal that took this long was the server's patience, not an answer.
const UNANSWERED: Duration = Duration::from_millis(1900);

/// How a client says who it is.
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

/// What became of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// In, and into this account, as the server itself says.
    In(String),
    /// Refused by an answer.
    Refused,
    /// Refused when the server had waited long enough.
    Unanswered,
    /// There was no server, or it went away.
    NoServer,
}

/// An attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// What became of it.
    pub came: Came,
}

impl Attempt {
    /// When it ended.
    pub fn ended(&self) -> Instant {
        self.began + self.took
    }

    /// Whether the client came in.
    pub fn is_in(&self) -> bool {
        matches!(self.came, Came::In(_))
    }
}

/// Lets a client try at one of these servers.
pub async fn attempt(urls: &[String], credential: &Credential) -> Attempt {
    let began = Instant::now();
    let came = outcome(urls, credential, began).await;
    Attempt { began, took: began.elapsed(), came }
}

async fn outcome(urls: &[String], credential: &Credential, began: Instant) -> Came {
    let (lost, mut losses) = mpsc::unbounded_channel();
    let options = credential.options().name("probe").max_reconnects(1);
    let options = options.connection_timeout(PATIENCE).request_timeout(Some(PATIENCE));
    let options = options.event_callback(move |event| {
        if matches!(event, Event::Disconnected) {
            let _nobody_asks_any_more = lost.send(());
        }
        ready(())
    });
    let kind = match options.connect(urls).await {
        // A server that waits long sends a PING meanwhile, which the client takes for success: only
        // what the server then says about us proves it.
        Ok(client) => tokio::select! {
            account = account(&client) => match account {
                Some(account) => return Came::In(account),
                None => ConnectErrorKind::AuthorizationViolation,
            },
            _ = losses.recv() => ConnectErrorKind::AuthorizationViolation,
        },
        Err(error) => error.kind(),
    };
    match kind {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            if began.elapsed() < UNANSWERED { Came::Refused } else { Came::Unanswered }
        }
        _ => Came::NoServer,
    }
}

async fn account(client: &Client) -> Option<String> {
    let answer = client.request("$SYS.REQ.USER.INFO", "".into()).await.ok()?;
    let info: Value = serde_json::from_slice(&answer.payload).ok()?;
    info["data"]["account"].as_str().map(str::to_owned)
}
