//! async-nats, over TCP, TLS and WebSocket.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::{Login, Observed};
use crate::{
    environment::Environment,
    observers::{OPEN, SHUT},
    site::Site,
    transport::Transport,
};

/// The answer of `$SYS.REQ.USER.INFO`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Info {
    /// The user's name.
    pub user: String,
    /// The account, as the server calls it.
    pub account: String,
    /// The raw permissions.
    #[serde(default)]
    pub permissions: Value,
}

impl Info {
    /// What it may subscribe to, in order; nothing if it is not held to anything.
    pub fn hears(&self) -> Vec<&str> {
        let allow = self.permissions["subscribe"]["allow"].as_array();
        let mut allow: Vec<&str> = allow.into_iter().flatten().filter_map(Value::as_str).collect();
        allow.sort_unstable();
        allow
    }
}

pub(super) async fn attempt(
    environment: &mut Environment,
    transport: Transport,
    logins: &[Login],
) -> Vec<Observed> {
    let mut all = Vec::new();
    for login in logins {
        all.push(one(environment, transport, login).await);
    }
    all
}

async fn one(environment: &mut Environment, transport: Transport, login: &Login) -> Observed {
    let seen = environment.service.decisions().len();
    let number = environment.number();
    let (url, mut options) = (url(environment, transport), options(&environment.site, login));
    if transport == Transport::Tls {
        let folder = environment.server.folder();
        options = options
            .require_tls(true)
            .add_root_certificates(folder.join("ca.pem"))
            .add_client_certificate(folder.join("client.pem"), folder.join("client.key"));
    }
    let connected = options.connect(url).await;
    let decision = environment.decisions_after(seen, 1).await.pop();
    let client = match connected {
        Ok(client) => client,
        Err(error) => {
            return Observed { arrived: None, info: None, error: error.to_string(), decision };
        }
    };
    let info = user_info(&client).await;
    for subject in [SHUT, OPEN] {
        let subject = format!("{subject}.{number}");
        client.publish(subject, "".into()).await.expect("a connection");
    }
    client.flush().await.expect("a connection");
    let arrived = Some(environment.observers.arrived(number).await);
    Observed { arrived, info, error: String::new(), decision }
}

fn url(environment: &Environment, transport: Transport) -> String {
    match transport {
        Transport::WebSocket => environment.server.websocket_url(),
        Transport::Tls => environment.server.url().replace("nats://", "tls://"),
        _ => environment.server.url(),
    }
}

/// Presents a login, and in operator mode also the sentinel. Never retries.
pub fn options(site: &Site, login: &Login) -> ConnectOptions {
    let mut options = ConnectOptions::new();
    if let Some(sentinel) = &site.sentinel {
        options = options.credentials(&sentinel.credentials).expect("credentials");
    }
    if let Some(user) = &login.user {
        options =
            options.user_and_password(user.clone(), login.password.clone().unwrap_or_default());
    }
    if let Some(token) = &login.token {
        options = options.token(token.clone());
    }
    if let Some(seed) = &login.nkey {
        options = options.nkey(seed.clone());
    }
    options
        .max_reconnects(1)
        .connection_timeout(Duration::from_secs(10))
        .request_timeout(Some(Duration::from_secs(5)))
}

/// Requests the user info; `None` if that is not permitted.
pub async fn user_info(client: &Client) -> Option<Info> {
    let question = client.request("$SYS.REQ.USER.INFO", "".into());
    let answer = timeout(Duration::from_secs(2), question).await.ok()?.ok()?;
    let mut answer: Value = serde_json::from_slice(&answer.payload).ok()?;
    serde_json::from_value(answer["data"].take()).ok()
}
