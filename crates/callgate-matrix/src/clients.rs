//! Clients that somebody else wrote, each driven to do the same: log in, send to a shut and to an
//! open subject, leave.

mod command_line;
pub(crate) mod leaf;
mod native;
mod scripted;

use serde::Serialize;

use crate::{environment::Environment, observers::Arrived, service::Logged, transport::Transport};

pub use native::{Info, options, user_info};
pub use scripted::{Outcome, Script, Task, run as run_script};

/// What a client presents.
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

/// What came of one login.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whether the client was let in, and where its messages arrived then.
    pub arrived: Option<Arrived>,
    /// What the server says of the client, from clients that can ask.
    pub info: Option<Info>,
    /// What the client was told otherwise.
    pub error: String,
    /// What the service logged of it; absent if it was not asked.
    pub decision: Option<Logged>,
}

/// Lets one client after the other log in.
pub async fn attempt(
    environment: &mut Environment,
    transport: Transport,
    logins: &[Login],
) -> Vec<Seen> {
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
