//! Third-party clients that all do the same: log in, publish to a closed and an open subject, disconnect.

mod command_line;
pub(crate) mod leaf;
mod native;
mod scripted;

use serde::Serialize;

use crate::{
    environment::Environment, observers::Arrived, service::LoggedDecision, transport::Transport,
};

pub use native::{Info, options, user_info};
pub use scripted::{Outcome, Script, Task, run as run_script};

/// The credential of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Login {
    /// `user`.
    pub user: Option<String>,
    /// `pass`.
    pub password: Option<String>,
    /// `auth_token`.
    pub token: Option<String>,
    /// The seed of an nkey.
    pub nkey: Option<String>,
}

impl Login {
    /// A user and a password.
    pub fn password(user: &str, password: &str) -> Self {
        Self { user: Some(user.to_owned()), password: Some(password.to_owned()), ..Self::default() }
    }

    /// A token.
    pub fn token(token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::default() }
    }
}

/// The outcome of one login.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Where the client's messages arrived, if it was admitted.
    pub arrived: Option<Arrived>,
    /// The server's user info, from clients that can request it.
    pub info: Option<Info>,
    /// The error that the client received.
    pub error: String,
    /// The logged decision; absent if Callgate received no request.
    pub decision: Option<LoggedDecision>,
}

/// Logs in one client after the other.
pub async fn attempt(
    environment: &mut Environment,
    transport: Transport,
    logins: &[Login],
) -> Vec<Observed> {
    match transport {
        Transport::Tcp | Transport::Tls | Transport::WebSocket => {
            native::attempt(environment, transport, logins).await
        }
        Transport::TcpPython
        | Transport::WebSocketJavaScript
        | Transport::UserCookie
        | Transport::TokenCookie
        | Transport::JwtCookie
        | Transport::Mqtt => scripted::attempt(environment, transport, logins).await,
        Transport::TcpCommandLine => command_line::attempt(environment, logins).await,
        Transport::LeafNode => leaf::attempt(environment, logins).await,
    }
}
