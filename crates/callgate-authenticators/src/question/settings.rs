//! The keys that `http` and `nats` share.

use std::time::Duration;

use callgate::request::Credential;
use callgate_config::{Key, Table, Type};
use serde_json::Value;

use crate::kind::BuildContext;

pub(crate) const TAKES_KEY: Key = Key::optional(
    "takes",
    Type::List(&Type::Word(&["password", "token", "nkey", "certificate"])),
    "which credentials the service is asked about",
)
.or("[\"password\"]");
pub(crate) const REMEMBER_KEY: Key = Key::optional(
    "remember",
    Type::Duration,
    "the longest `cache` that an answer may ask for. A change in the service takes effect that much \
     later",
)
.or("\"0s\"");

/// A kind of credential that a service is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Password,
    Token,
    Nkey,
    Certificate,
}

/// What `http` and `nats` have in common.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(super) takes: Vec<Taken>,
    pub(super) remember: Duration,
    pub(super) fall_through: bool,
}

impl Settings {
    /// Reads the keys; errors are reported.
    pub(crate) fn read(context: &BuildContext, table: &mut Table<'_>) -> Option<Self> {
        let takes = match table.has("takes") {
            true => read_takes(table),
            false => Some(vec![Taken::Password]),
        };
        let remember = table.duration("remember").unwrap_or_default();
        let fall_through = context.chain.read_password_fall_through(table);
        let takes_passwords = |takes: &Vec<Taken>| takes.contains(&Taken::Password);
        if fall_through && !takes.as_ref().is_none_or(takes_passwords) {
            table.fault("fall_through", "has no effect unless `takes` contains `password`");
        }
        if let Some(warning) = context.policy.ceiling_warning("answers") {
            table.warn_here(warning);
        }
        Some(Self { takes: takes?, remember, fall_through })
    }

    /// Whether the service is asked about this credential.
    pub(super) fn takes(&self, credential: &Credential) -> bool {
        let kind = match credential {
            Credential::Password { .. } => Taken::Password,
            Credential::Token(_) => Taken::Token,
            Credential::Nkey(_) => Taken::Nkey,
            Credential::Certificate => Taken::Certificate,
            _ => return false,
        };
        self.takes.contains(&kind)
    }
}

/// Whether this table takes passwords.
pub(crate) fn takes_passwords(table: &Value) -> bool {
    match table.get("takes") {
        None => true,
        Some(Value::String(one)) => one == "password",
        Some(Value::Array(list)) => list.iter().any(|kind| kind == "password"),
        Some(_) => false,
    }
}

fn read_takes(table: &mut Table<'_>) -> Option<Vec<Taken>> {
    let item = table.raw("takes")?;
    let mut takes = Vec::new();
    for kind in item.items() {
        takes.push(match kind.string()? {
            "password" => Taken::Password,
            "token" => Taken::Token,
            "nkey" => Taken::Nkey,
            "certificate" => Taken::Certificate,
            other => {
                let other = other.escape_debug();
                kind.fault(format!(
                    "`{other}` is not a kind of credential: use password, token, nkey or certificate"
                ));
                return None;
            }
        });
    }
    if takes.is_empty() {
        item.fault("an empty list takes no credential: remove the key to take passwords");
        return None;
    }
    Some(takes)
}
