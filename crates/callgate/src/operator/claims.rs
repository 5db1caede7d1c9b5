//! JWTs of operators, accounts and fixed users (nats-io/jwt v2 `operator_claims.go`,
//! `account_claims.go`, `user_claims.go`).

use serde::Serialize;

use super::{Account, AllowedAccounts, ExternalAuthorization, FixedUser, Rights, Scope};
use crate::{clock::UnixTime, jwt::NO_LIMIT, keys::AccountKey, permissions::Rules};

const VERSION: u8 = 2;

/// The outer claims of any JWT.
#[derive(Serialize)]
pub(crate) struct Claims<'a, T> {
    jti: String,
    iat: i64,
    iss: &'a str,
    name: &'a str,
    sub: &'a str,
    nats: T,
}

impl<'a, T: Serialize> Claims<'a, T> {
    pub(crate) fn new(name: &'a str, sub: &'a str, iss: &'a str, now: UnixTime, nats: T) -> Self {
        Self { jti: identifier(sub, now), iat: now.seconds(), iss, name, sub, nats }
    }
}

/// Servers and tools only compare IDs, so one per subject and time is enough.
fn identifier(sub: &str, now: UnixTime) -> String {
    let text = format!("{sub} {}", now.seconds());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    data_encoding::BASE32_NOPAD.encode(digest.as_ref())
}

#[derive(Serialize)]
pub(crate) struct OperatorBody<'a> {
    system_account: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

pub(crate) fn operator(system_account: &AccountKey) -> OperatorBody<'_> {
    OperatorBody { system_account: system_account.as_str(), kind: "operator", version: VERSION }
}

#[derive(Serialize)]
pub(crate) struct AccountBody<'a> {
    limits: Limits,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signing_keys: Vec<SigningKey<'a>>,
    default_permissions: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<Authorization<'a>>,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

#[derive(Serialize)]
struct Empty {}

/// An omitted limit counts as zero, not as unlimited (`OperatorLimits`).
#[derive(Serialize)]
struct Limits {
    subs: i64,
    data: i64,
    payload: i64,
    imports: i64,
    exports: i64,
    wildcards: bool,
    conn: i64,
    leaf: i64,
    // If these are omitted, the account has no JetStream.
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_storage: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_storage: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<i64>,
}

impl Limits {
    fn none(jetstream: bool) -> Self {
        let jetstream = jetstream.then_some(NO_LIMIT);
        Self {
            subs: NO_LIMIT,
            data: NO_LIMIT,
            payload: NO_LIMIT,
            imports: NO_LIMIT,
            exports: NO_LIMIT,
            wildcards: true,
            conn: NO_LIMIT,
            leaf: NO_LIMIT,
            mem_storage: jetstream,
            disk_storage: jetstream,
            streams: jetstream,
            consumer: jetstream,
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum SigningKey<'a> {
    Plain(&'a str),
    Scoped(UserScope<'a>),
}

#[derive(Serialize)]
struct UserScope<'a> {
    kind: &'static str,
    key: &'a str,
    role: &'a str,
    template: UserRights,
    description: &'static str,
}

/// The rights and limits of a user. Omitted limits count as zero.
#[derive(Serialize)]
struct UserRights {
    r#pub: Side,
    sub: Side,
    subs: i64,
    data: i64,
    payload: i64,
}

#[derive(Serialize)]
struct Side {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

impl UserRights {
    fn new(rights: Option<&Rights>) -> Self {
        let open = || Side { allow: Vec::new(), deny: Vec::new() };
        Self {
            r#pub: rights.map_or_else(open, |rights| side(&rights.publish)),
            sub: rights.map_or_else(open, |rights| side(&rights.subscribe)),
            subs: NO_LIMIT,
            data: NO_LIMIT,
            payload: NO_LIMIT,
        }
    }
}

fn side(rules: &Rules<String>) -> Side {
    match rules.allow.is_empty() {
        // nats-server reads an absent allow list as "everything" (client.go, pubAllowedFullCheck).
        true => Side { allow: Vec::new(), deny: vec![">".to_owned()] },
        false => Side { allow: rules.allow.clone(), deny: rules.deny.clone() },
    }
}

#[derive(Serialize)]
struct Authorization<'a> {
    auth_users: Vec<&'a str>,
    allowed_accounts: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xkey: Option<&'a str>,
}

pub(crate) fn account(account: &Account) -> AccountBody<'_> {
    let Account { name: _, key: _, signing_keys, scopes, external_authorization, jetstream } =
        account;
    let plain = signing_keys.iter().map(|key| SigningKey::Plain(key.as_str()));
    let scoped = scopes.iter().map(|scope| SigningKey::Scoped(user_scope(scope)));
    AccountBody {
        limits: Limits::none(*jetstream),
        signing_keys: plain.chain(scoped).collect(),
        default_permissions: Empty {},
        authorization: external_authorization.as_ref().map(authorization),
        kind: "account",
        version: VERSION,
    }
}

fn user_scope(scope: &Scope) -> UserScope<'_> {
    let Scope { role, key, template } = scope;
    UserScope {
        kind: "user_scope",
        key: key.as_str(),
        role,
        template: UserRights::new(Some(template)),
        description: "",
    }
}

fn authorization(authorization: &ExternalAuthorization) -> Authorization<'_> {
    let ExternalAuthorization { auth_users, allowed_accounts, xkey } = authorization;
    Authorization {
        auth_users: auth_users.iter().map(|key| key.as_str()).collect(),
        allowed_accounts: match allowed_accounts {
            AllowedAccounts::Any => vec!["*"],
            AllowedAccounts::Only(keys) => keys.iter().map(AccountKey::as_str).collect(),
        },
        xkey: xkey.as_ref().map(|key| key.as_str()),
    }
}

#[derive(Serialize)]
pub(crate) struct UserBody<'a> {
    #[serde(flatten)]
    rights: UserRights,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bearer_token: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_account: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

pub(crate) fn user(user: &FixedUser) -> UserBody<'_> {
    let FixedUser { name: _, key: _, rights, bearer, issuer_account } = user;
    UserBody {
        rights: UserRights::new(rights.as_ref()),
        bearer_token: *bearer,
        issuer_account: issuer_account.as_ref().map(AccountKey::as_str),
        kind: "user",
        version: VERSION,
    }
}
