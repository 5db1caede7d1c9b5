//! The policy keys of `[[authenticators]]`, and `[[bindings]]`.

use std::{sync::Arc, time::Duration};

use callgate::policy::{
    Policy,
    settings::{
        AuthenticatorPolicy, AuthenticatorSelector, BindingSettings, CeilingSettings,
        PolicySettings, RoleSettings,
    },
};
use callgate_authenticators::{
    kind::{Kind, Registry},
    settings::{Report, Table, permissions},
};

use super::roles;

/// One of `[[authenticators]]`, read as far as all kinds are alike.
pub(super) struct AuthenticatorEntry<'a> {
    pub(super) policy: AuthenticatorPolicy,
    pub(super) timeout: Duration,
    pub(super) required: bool,
    pub(super) kind: Arc<dyn Kind>,
    /// The kind's own table.
    pub(super) table: Table<'a>,
    pub(super) raw: serde_json::Value,
}

pub(super) fn authenticators<'a>(
    root: &mut Table<'a>,
    registry: &Registry,
) -> Vec<AuthenticatorEntry<'a>> {
    let before = root.report().fault_count();
    let tables = root.tables("authenticators");
    if tables.is_empty() && root.report().fault_count() == before {
        root.fault(
            "authenticators",
            "is missing: without an authenticator nobody could come in (a users file is the \
             simplest, see --users)",
        );
    }
    let mut entries: Vec<AuthenticatorEntry<'a>> = Vec::new();
    for table in tables {
        let path = table.path_of("name");
        let report = table.report();
        let Some(entry) = authenticator(table, registry) else { continue };
        let name = &entry.policy.name;
        if entries.iter().any(|other| other.policy.name == *name) {
            let shown = name.escape_debug();
            report.fault(path, format!("the name `{shown}` is there twice: give each its own"));
        }
        entries.push(entry);
    }
    entries
}

fn authenticator<'a>(mut table: Table<'a>, registry: &Registry) -> Option<AuthenticatorEntry<'a>> {
    let name = table.string("name");
    let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(1));
    if timeout.is_zero() {
        table.fault("timeout", "must be longer than nothing");
    }
    let required = table.boolean("required").unwrap_or(true);
    let account = table.string("account");
    let expires_after = table.duration("expires_after");
    let user_prefix = table.string("user_prefix").unwrap_or_default();
    let ceiling = table.table("ceiling").map(ceiling).unwrap_or_default();
    let (kind, mut own) = registry.kind_of(&mut table)?;
    let kind = Arc::clone(kind);
    table.finish();
    let defaults = kind.defaults().map(|base| defaults(&mut own, base));
    let name = name.unwrap_or_else(|| kind.name().to_owned());
    if name.is_empty() || name == "*" || name == "none" {
        own.fault_here("its authenticator's name must not be empty, `*` or `none`");
    }
    let raw = serde_json::Value::Object(own.map().clone());
    let policy =
        AuthenticatorPolicy { name, account, expires_after, user_prefix, ceiling, defaults };
    Some(AuthenticatorEntry { policy, timeout, required, kind, table: own, raw })
}

fn ceiling(mut table: Table<'_>) -> CeilingSettings {
    let mut list = |key| table.strings(key).unwrap_or_default();
    let (accounts, roles) = (list("accounts"), list("roles"));
    let (publish, subscribe) = (list("publish"), list("subscribe"));
    let responses = table.raw("responses").as_ref().and_then(permissions::responses);
    table.finish();
    CeilingSettings { accounts, roles, publish, subscribe, responses }
}

pub(super) fn bindings(root: &mut Table<'_>, authenticators: usize) -> Vec<BindingSettings> {
    root.tables("bindings").into_iter().map(|table| binding(table, authenticators)).collect()
}

fn binding(mut table: Table<'_>, authenticators: usize) -> BindingSettings {
    let authenticator = match table.raw("authenticator") {
        None => {
            if authenticators > 1 {
                table.fault_here("`authenticator` is missing: name one, a list, or \"*\"");
            }
            AuthenticatorSelector::Only
        }
        Some(item) if item.value() == "*" => AuthenticatorSelector::Every,
        Some(item) => AuthenticatorSelector::Named(item.strings().unwrap_or_default()),
    };
    let settings = BindingSettings {
        authenticator,
        when: table.string("when"),
        account: table.string("account"),
        roles: table.strings("roles").unwrap_or_default(),
        otherwise: table.boolean("otherwise").unwrap_or_default(),
        expires_after: table.duration("expires_after"),
    };
    table.finish();
    settings
}

/// Builds the policy; its faults and warnings join the report.
pub(super) fn build(settings: PolicySettings, report: &Report) -> Option<Arc<Policy>> {
    match Policy::build(settings) {
        Ok(policy) => {
            for warning in policy.warnings() {
                report.warn(warning.path.clone(), &warning.message);
            }
            Some(Arc::new(policy))
        }
        Err(faults) => {
            for fault in faults {
                report.fault(fault.path, fault.message);
            }
            None
        }
    }
}

/// The role that each identity of a kind has (`kubernetes.defaults`): each key that is written takes
/// the place of that part of `base`.
fn defaults(own: &mut Table<'_>, base: RoleSettings) -> RoleSettings {
    let Some(table) = own.table("defaults") else { return base };
    let written = table.map();
    let has = |spellings: &[&str]| spellings.iter().any(|key| written.contains_key(*key));
    let publish = has(&["publish", "pub"]);
    let subscribe = has(&["subscribe", "sub"]);
    let responses = has(&["responses", "resp", "allow_responses"]);
    let inbox = has(&["inbox"]);
    let role = roles::role(table);
    RoleSettings {
        publish: if publish { role.publish } else { base.publish },
        subscribe: if subscribe { role.subscribe } else { base.subscribe },
        responses: if responses { role.responses } else { base.responses },
        // The shared inbox is part of what one may subscribe to.
        inbox: if inbox || subscribe { role.inbox } else { base.inbox },
        ..role
    }
}
