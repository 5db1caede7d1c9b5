//! The files for Callgate: its configuration and its users.

use callgate_authenticators::passwords::{HashError, hash};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    Imported, User,
    users::{Credential, UserGrant},
};

/// The port of nats-server for clients.
const DEFAULT_PORT: u16 = 4222;

/// A password cannot be hashed.
#[derive(Debug, thiserror::Error)]
#[error("user `{user}`: {error}")]
pub(crate) struct FilesError {
    user: String,
    error: HashError,
}

/// Texts of files.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) callgate: String,
    pub(crate) users: String,
}

impl Files {
    /// The files. Passwords in clear text are hashed, which takes a while each.
    ///
    /// # Errors
    /// If a password cannot be hashed.
    pub(crate) fn of(
        imported: &Imported,
        callout_account: &str,
        heading: &str,
    ) -> Result<Self, FilesError> {
        let mut users = Map::new();
        for (name, user) in &imported.users {
            let entry = entry(user)
                .map_err(|error| FilesError { user: name.escape_debug().to_string(), error })?;
            users.insert(name.clone(), Value::Object(entry));
        }
        Ok(Self {
            callgate: heading.to_owned() + &configuration(imported, callout_account),
            users: format!("{:#}\n", Value::Object(users)),
        })
    }
}

fn entry(user: &User) -> Result<Map<String, Value>, HashError> {
    let User { account, credential, grant, connection_types } = user;
    let mut entry = Map::new();
    let (key, value) = match credential {
        Credential::Password(password) => ("password", hash(password)?),
        Credential::Hash(hash) => ("password", hash.expose().to_owned()),
        Credential::Token(token) => {
            ("token_sha256", HEXLOWER.encode(&Sha256::digest(token.expose().as_bytes())))
        }
        Credential::Nkey(key) => ("nkey", key.clone()),
    };
    entry.insert(key.to_owned(), value.into());
    entry.insert("account".to_owned(), account.as_str().into());
    match grant {
        UserGrant::Role(role) => drop(entry.insert("roles".to_owned(), json!([role]))),
        UserGrant::Own(permissions) => {
            entry.insert("permissions".to_owned(), Value::Object(permissions.to_json()));
        }
        UserGrant::Unrestricted | UserGrant::Unsupported(_) => {}
    }
    if let Some(types) = connection_types {
        entry.insert("connection_types".to_owned(), json!(types));
    }
    Ok(entry)
}

fn configuration(imported: &Imported, callout_account: &str) -> String {
    let port = imported.port.filter(|port| *port > 0).unwrap_or(DEFAULT_PORT);
    let system = imported.system_account.as_deref().filter(|name| !["SYS", "$SYS"].contains(name));
    let system = system.map(|name| format!("system_accounts = [\"$SYS\", {}]\n", json!(name)));
    let mut text = format!(
        r#"
[nats]
servers = ["nats://127.0.0.1:{port}"]
nkey = {{ file = "auth.nk" }}

[issuer]
seed = {{ file = "issuer.nk" }}        # its public key is auth_callout.issuer in nats-server.conf
xkeys = [{{ file = "xkey.xk" }}]       # its public key is auth_callout.xkey in nats-server.conf
callout_account = "{callout_account}"
{}
[[authenticators]]
name = "users"
[authenticators.users]
file = "users.json"

[session]
max_lifetime = "1h"                  # nats-server ends no session; clients reconnect by themselves
"#,
        system.unwrap_or_default()
    );
    for (name, permissions) in &imported.roles {
        text.push_str(&format!("\n[roles.{}]\n", key(name)));
        for (key, value) in permissions.to_json() {
            text.push_str(&format!("{key} = {}\n", inline(&value)));
        }
    }
    text
}

/// A bare key where possible.
fn key(name: &str) -> String {
    let is_bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_bare { name.to_owned() } else { json!(name).to_string() }
}

/// The value in TOML, on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
