//! What a server line does, shown once for each line: from nats-server's own tests of its callout,
//! each written anew from what it must show.

mod accounts;
mod answers;
mod certificate;
mod cluster;
mod control_line;
mod events;
mod hand;
mod ignored;
mod init;
mod library;
mod lifetime;
mod proxy;
mod scopes;
mod sentinel;
mod service;
mod start;
mod without;

use callgate_testkit::{NatsServer, nats_server::Version};
use futures_util::future::LocalBoxFuture;

use crate::{mode::Mode, report::Outcome, site::Site};

/// One scenario: what it shows, where, and how.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// A sentence.
    pub says: &'static str,
    /// The environments that it is shown in.
    pub modes: &'static [Mode],
    /// Shows it; a panic is a failure.
    pub run: fn(Mode, Version) -> LocalBoxFuture<'static, Outcome>,
}

/// In configuration mode.
const CONFIGURATION: &[Mode] = &[Mode::Configuration];
/// In operator mode.
const OPERATOR: &[Mode] = &[Mode::Operator];
/// In both.
const BOTH: &[Mode] = &[Mode::Configuration, Mode::Operator];
/// In both, encrypted.
const ENCRYPTED: &[Mode] = &[Mode::ConfigurationXkey, Mode::OperatorXkey];
/// With users in several accounts.
const SEVERAL: &[Mode] = &[Mode::OperatorSigningKeys];
/// With scoped keys.
const SCOPED: &[Mode] = &[Mode::OperatorScopedKeys];
/// In both, as they are meant to be used.
const COMPLETE: &[Mode] = &[Mode::ConfigurationXkey, Mode::OperatorScopedKeys];

macro_rules! scenarios {
    ($($says:literal: $modes:ident, $module:ident :: $run:ident;)*) => {
        /// All of them.
        pub const ALL: &[Scenario] = &[$(Scenario {
            says: $says,
            modes: $modes,
            run: |mode, version| Box::pin($module::$run(mode, version)),
        },)*];
    };
}

scenarios! {
    "what `callgate init` writes works as it is": BOTH, init::works;
    "users that the server does not ask about pass and fail without the callout":
        BOTH, without::auth_users;
    "`allowed_accounts` leaves other accounts to the server": CONFIGURATION, without::allowed_accounts;
    "a client without a credential is asked about in spite of `no_auth_user`":
        CONFIGURATION, without::no_auth_user;
    "one whose `no_auth_user` is in an account outside `allowed_accounts` is not":
        CONFIGURATION, without::no_auth_user_elsewhere;
    "it is asked about if it does not begin with CONNECT": CONFIGURATION, without::no_auth_user_before_connect;
    "a verified certificate alone is a credential": BOTH, certificate::alone;
    "the same over WebSocket, where a password over TLS is one, too": BOTH, certificate::over_websocket;
    "a CONNECT line beyond `max_control_line` never reaches Callgate": BOTH, control_line::too_long;
    "the request names the server, its version, its tags and its cluster": BOTH, library::server_facts;
    "the server's log learns one of two texts": BOTH, library::refusal_texts;
    "an answer in clear to an encrypted request is taken": ENCRYPTED, answers::in_clear;
    "a wrong xkey drops the request, and the service says so": ENCRYPTED, service::wrong_xkey;
    "the service is not ready in another account than the one that is stated":
        OPERATOR, service::stated_account;
    "answers for others, from the past or by strangers are refused": BOTH, answers::misdirected;
    "logins and refusals are told in the system account": BOTH, events::told;
    "a session ends with its user JWT": BOTH, lifetime::session_ends;
    "the service's own sessions end as their entry says": BOTH, lifetime::entry_ends;
    "a session that began without CONNECT ends as well": CONFIGURATION, lifetime::ends_without_connect;
    "a decision that comes too late is not answered": BOTH, lifetime::late_decision;
    "an unknown or not allowed account is refused, and the server's log names it":
        BOTH, accounts::not_allowed;
    "a key that the account's JWT does not name is refused, and both logs name it":
        OPERATOR, accounts::unknown_key;
    "nats-server grants everything to a scoped role whose key has no scope in the account's JWT":
        SCOPED, scopes::swapped;
    "a tag fills the template of a scoped key, and one that would widen it is refused":
        SCOPED, scopes::tags;
    "a callout for any account places users in each": SEVERAL, accounts::any;
    "nobody gets in with a sentinel alone": OPERATOR, sentinel::alone;
    "a sentinel whose key is another's gets nobody in, and the server survives":
        OPERATOR, sentinel::mismatched;
    "the same over a leaf node": OPERATOR, sentinel::mismatched_leaf;
    "clients without credentials get the default sentinel": OPERATOR, sentinel::by_default;
    "operator mode refuses an `auth_callout` block": OPERATOR, start::no_block_in_operator_mode;
    "configuration mode refuses JWT cookies": CONFIGURATION, start::no_jwt_cookie;
    "a user that must come through a proxy is refused otherwise": CONFIGURATION, proxy::in_configuration;
    "a user JWT that asks for a proxy is refused without one": BOTH, proxy::in_answer;
    "nats-server ignores a user's networks": BOTH, ignored::source;
    "nats-server ignores a user's kinds of connection": BOTH, ignored::connection_types;
    "nats-server ignores a user's limits": BOTH, ignored::limits;
    "three servers, a leaf node and three replicas, one of which dies": COMPLETE, cluster::survives;
}

/// A plain server with the site's accounts and more configuration.
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
