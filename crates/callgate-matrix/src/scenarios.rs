//! What runs once for each server line. Modelled on nats-server's own tests of its callout.

mod accounts;
mod answers;
mod certificate;
mod cluster;
mod control_line;
mod events;
mod ignored;
mod init;
mod library;
mod lifetime;
mod manual_callout;
mod proxy;
mod scopes;
mod sentinel;
mod service;
mod start;
mod without;

use callgate_testkit::{NatsServer, nats_server::Version};
use futures_util::future::LocalBoxFuture;

use crate::{mode::Mode, report::Outcome, site::Site};

/// One scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// A short sentence.
    pub name: &'static str,
    /// The environments that it runs in.
    pub modes: &'static [Mode],
    /// Runs it; a panic fails it.
    pub run: fn(Mode, Version) -> LocalBoxFuture<'static, Outcome>,
}

const CONFIGURATION: &[Mode] = &[Mode::Configuration];
const OPERATOR: &[Mode] = &[Mode::Operator];
const BOTH: &[Mode] = &[Mode::Configuration, Mode::Operator];
const ENCRYPTED: &[Mode] = &[Mode::ConfigurationXkey, Mode::OperatorXkey];
const SEVERAL: &[Mode] = &[Mode::OperatorSigningKeys];
const SCOPED: &[Mode] = &[Mode::OperatorScopedKeys];
/// The most complete setup of each mode.
const COMPLETE: &[Mode] = &[Mode::ConfigurationXkey, Mode::OperatorScopedKeys];

macro_rules! scenarios {
    ($($name:literal: $modes:ident, $module:ident :: $run:ident;)*) => {
        /// All of them.
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: $name,
            modes: $modes,
            run: |mode, version| Box::pin($module::$run(mode, version)),
        },)*];
    };
}

scenarios! {
    "files written by `callgate init` work unchanged": BOTH, init::works;
    "`auth_users` are authenticated by nats-server without the callout":
        BOTH, without::auth_users;
    "users outside `allowed_accounts` are authenticated by nats-server": CONFIGURATION, without::allowed_accounts;
    "a client without a credential reaches Callgate despite `no_auth_user`":
        CONFIGURATION, without::no_auth_user;
    "it does not if `no_auth_user` is outside `allowed_accounts`":
        CONFIGURATION, without::no_auth_user_elsewhere;
    "it does even if its first command is not CONNECT": CONFIGURATION, without::no_auth_user_before_connect;
    "a verified client certificate alone is a credential": BOTH, certificate::alone;
    "a client certificate or a password over TLS WebSocket is a credential": BOTH, certificate::over_websocket;
    "a CONNECT line longer than `max_control_line` never reaches Callgate": BOTH, control_line::too_long;
    "the request names the server, its version, its tags and its cluster": BOTH, library::server_facts;
    "the server log shows one of two refusal texts": BOTH, library::refusal_texts;
    "nats-server accepts a plaintext response to an encrypted request": ENCRYPTED, answers::in_clear;
    "a request for another xkey is dropped and logged": ENCRYPTED, service::wrong_xkey;
    "the service is not ready in an account other than `callout_account`":
        OPERATOR, service::stated_account;
    "nats-server refuses misdirected, stale and foreign responses": BOTH, answers::misdirected;
    "logins and refusals are published in the system account": BOTH, events::published;
    "a session ends when its user JWT expires": BOTH, lifetime::session_ends;
    "a session ends as `expires_after` of its users entry says": BOTH, lifetime::entry_ends;
    "a session that started without CONNECT also ends": CONFIGURATION, lifetime::ends_without_connect;
    "a decision past the deadline is not sent": BOTH, lifetime::late_decision;
    "an unknown or disallowed account is refused and named in the server log":
        BOTH, accounts::not_allowed;
    "a signing key missing from the account JWT is refused and named in both logs":
        OPERATOR, accounts::unknown_key;
    "nats-server grants everything to a scoped role whose key has no scope in the account JWT":
        SCOPED, scopes::swapped;
    "a tag fills a scoped key's template; a tag that would widen it is refused":
        SCOPED, scopes::tags;
    "a callout for any account places users in each account": SEVERAL, accounts::any;
    "a sentinel alone is refused": OPERATOR, sentinel::alone;
    "a sentinel with the wrong key is refused, and the server survives":
        OPERATOR, sentinel::mismatched;
    "the same over a leaf node connection": OPERATOR, sentinel::mismatched_leaf;
    "clients without credentials get the default sentinel": OPERATOR, sentinel::by_default;
    "operator mode refuses an `auth_callout` block": OPERATOR, start::no_block_in_operator_mode;
    "configuration mode refuses JWT cookies": CONFIGURATION, start::no_jwt_cookie;
    "a user with `proxy_required` is refused without a proxy": CONFIGURATION, proxy::in_configuration;
    "a user JWT that requires a proxy is refused without one": BOTH, proxy::in_answer;
    "nats-server ignores a user's allowed networks": BOTH, ignored::source;
    "nats-server ignores a user's connection types": BOTH, ignored::connection_types;
    "nats-server ignores a user's limits": BOTH, ignored::limits;
    "a cluster with a leaf node survives the loss of one of three replicas": COMPLETE, cluster::survives;
}

/// A server with the site's accounts and more configuration, without JetStream.
async fn server(site: &Site, version: Version, more: &str) -> NatsServer {
    NatsServer::builder().version(&version.to_string()).config(&config(site, more)).start().await
}

fn config(site: &Site, more: &str) -> String {
    format!("server_name: scenario\n{}\n{more}\n", plain(site))
}

/// The site's accounts for a server without JetStream.
fn plain(site: &Site) -> String {
    site.server.replace("jetstream: enabled, ", "")
}
