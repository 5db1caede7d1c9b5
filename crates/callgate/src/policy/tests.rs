//! Tests of whole decisions: settings and an identity in, a grant or a denial out.

mod accounts;
mod bindings;
mod ceilings;
mod conditions;
mod explain;
mod findings;
mod golden;
mod jetstream;
mod properties;
mod roles;
mod templates;
mod used_claims;

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{
    ConnectionInfo, Policy, ResolveRequest,
    grant::Grant,
    settings::{
        AccountSettings, AuthenticatorPolicy, AuthenticatorSelector, BindingSettings,
        CeilingSettings, Inbox, PolicySettings, RoleSettings, SessionSettings, SideSettings,
    },
};
use crate::{
    authn::{Identity, Origin, Proposal},
    clock::UnixTime,
    connection::ConnectionKind,
    permissions::{Access, Permissions, Responses, Rules},
    reason::{Denial, Reason},
    request::{Client, Server},
};

/// 2026-03-02, a Monday, at noon UTC.
const NOON: UnixTime = UnixTime::from_seconds(1_772_452_800);

/// The variables that the authenticators of these tests declare.
const VARIABLES: &[&str] = &["namespace", "service_account"];

/// A connection.
struct Scene {
    client: Client,
    server: Server,
    user_nkey: [u8; 32],
    callout_account: Option<String>,
    now: UnixTime,
}

impl Scene {
    fn new() -> Self {
        let id = nkeys::KeyPair::new_server().public_key().parse().unwrap();
        let client = Client {
            host: "10.1.2.3".to_owned(),
            ip: Some([10, 1, 2, 3].into()),
            id: 7,
            connection: ConnectionKind::Nats,
            kind: "Client".to_owned(),
            kind_of_client: "nats".to_owned(),
            name: "app".to_owned(),
            lang: "rust".to_owned(),
            version: "1.0".to_owned(),
            mqtt_id: String::new(),
        };
        let server = Server {
            id,
            name: "n1".to_owned(),
            host: "0.0.0.0".to_owned(),
            version: "2.12.8".to_owned(),
            cluster: "east".to_owned(),
            tags: vec!["edge".to_owned()],
        };
        Self { client, server, user_nkey: [7; 32], callout_account: Some("AUTH".into()), now: NOON }
    }

    fn over(kind: ConnectionKind) -> Self {
        let mut scene = Self::new();
        scene.client.connection = kind;
        scene
    }

    fn from(ip: &str) -> Self {
        let mut scene = Self::new();
        scene.client.host = ip.to_owned();
        scene.client.ip = ip.parse().ok();
        scene
    }

    fn request<'a>(&'a self, authenticator: &'a str, identity: &'a Identity) -> ResolveRequest<'a> {
        let connection = ConnectionInfo {
            client: &self.client,
            server: &self.server,
            user_nkey: &self.user_nkey,
        };
        let callout_account = self.callout_account.as_deref();
        ResolveRequest { authenticator, identity, connection, callout_account, now: self.now }
    }

    fn resolve(&self, policy: &Policy, identity: &Identity) -> Result<Grant, Denial> {
        policy.resolve(&self.request("idp", identity))
    }
}

/// A policy with one authenticator, `idp`, and the default account `APP`.
fn policy(change: impl FnOnce(&mut PolicySettings)) -> Policy {
    Policy::build(settings(change)).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn settings(change: impl FnOnce(&mut PolicySettings)) -> PolicySettings {
    let mut settings = PolicySettings::default();
    settings.authenticators.push(authenticator("idp"));
    settings.accounts.default_account = Some("APP".to_owned());
    settings.session = SessionSettings { max_lifetime: None, jitter: 0.0 };
    change(&mut settings);
    settings
}

fn authenticator(name: &str) -> AuthenticatorPolicy {
    AuthenticatorPolicy {
        name: name.to_owned(),
        kind: "directory",
        variables: VARIABLES,
        ..AuthenticatorPolicy::default()
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn allow(list: &[&str]) -> SideSettings {
    SideSettings { allow: texts(list), deny: Vec::new() }
}

/// A role that may publish to these subjects.
fn publisher(list: &[&str]) -> RoleSettings {
    RoleSettings { publish: allow(list), ..RoleSettings::default() }
}

/// An unconditional binding to these roles.
fn bind(roles: &[&str]) -> BindingSettings {
    BindingSettings { roles: texts(roles), ..BindingSettings::default() }
}

fn when(condition: &str, roles: &[&str]) -> BindingSettings {
    BindingSettings { when: Some(condition.to_owned()), ..bind(roles) }
}

fn user(name: &str) -> Identity {
    Identity::of_user(name)
}

fn claims(name: &str, claims: Json) -> Identity {
    let Json::Object(claims) = claims else { panic!("claims are an object") };
    Identity { claims, ..user(name) }
}

/// An entry of an operator's own file.
fn entry(name: &str, change: impl FnOnce(&mut Proposal)) -> Identity {
    let mut identity = user(name);
    identity.proposal.origin = Origin::Operator;
    identity.proposal.unrestricted_if_alone = true;
    change(&mut identity.proposal);
    identity
}

fn permissions(publish: &[&str], subscribe: &[&str]) -> Permissions {
    let publish = publish.iter().map(|text| text.parse().unwrap()).collect();
    let subscribe = subscribe.iter().map(|text| text.parse().unwrap()).collect();
    Permissions {
        publish: Rules { allow: publish, deny: Vec::new() },
        subscribe: Rules { allow: subscribe, deny: Vec::new() },
        responses: None,
    }
}

fn limited(grant: &Grant) -> &Permissions {
    match grant.access() {
        Access::Limited(permissions) => permissions,
        other => panic!("not limited: {other:?}"),
    }
}

fn publishes(grant: &Grant) -> Vec<String> {
    limited(grant).publish.allow.iter().map(ToString::to_string).collect()
}

fn subscribes(grant: &Grant) -> Vec<String> {
    limited(grant).subscribe.allow.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_refused(result: Result<Grant, Denial>, reason: Reason) {
    match result {
        Err(denial) => assert_eq!(denial.reason, reason, "{denial}"),
        Ok(grant) => panic!("expected {reason}, got {grant:?}"),
    }
}

fn ends_in(grant: &Grant) -> Option<i64> {
    grant.expires_at().map(|end| end.seconds_since(NOON))
}

fn minutes(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(60 * count))
}
