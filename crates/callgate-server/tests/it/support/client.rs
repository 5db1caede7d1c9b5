//! Clients.

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions};
use callgate_testkit::{Nkey, Session};

/// A client's credential.
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

    /// Adds it to options, for example those of a sentinel.
    pub(crate) fn add_to(&self, options: ConnectOptions) -> ConnectOptions {
        match self.clone() {
            Self::Nothing => options,
            Self::Password(user, password) => options.user_and_password(user, password),
            Self::Token(token) => options.token(token),
            Self::Nkey(seed) => options.nkey(seed),
        }
    }
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
    Session::connect(url, credential.add_to(ConnectOptions::new()).name("tester")).await
}

/// The kind of the error with which a client was refused.
#[track_caller]
pub(crate) fn refusal(outcome: Result<Session, ConnectError>) -> ConnectErrorKind {
    match outcome {
        Ok(_) => panic!("the client was let in"),
        Err(error) => error.kind(),
    }
}

/// Connects where the server gets no answer, so the client must not be admitted.
///
/// A server that waits long enough sends a `PING`, which async-nats takes for success; then the connection must
/// end.
pub(crate) async fn expect_no_admission(url: &str, user: &str, password: &str) {
    if let Ok(mut session) = connect(url, user, password).await {
        session.hears("disconnected").await;
    }
}
