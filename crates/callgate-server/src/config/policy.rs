//! The policy keys of `[[authenticators]]`, and `[[bindings]]`.

use std::{sync::Arc, time::Duration};

use callgate::policy::{
    Policy,
    settings::{
        AuthenticatorPolicy, AuthenticatorSelector, BindingSettings, CeilingSettings,
        PolicySettings, RoleSettings,
    },
};
use callgate_authenticators::kind::{Kind, Registry, SECOND_FACTOR_KEYS, SecondFactorSettings};
use callgate_config::{
    Key, Report, Table, Type,
    permissions::{self, RawPermissions, RawRules, refuse_limits},
    roles,
    schema::TEXTS,
};

pub(super) const AUTHENTICATOR_KEYS: &[Key] = &[
    Key::optional(
        "name",
        Type::Text,
        "its name in policy, logs and metrics; unique; not `*`, `none` or empty",
    )
    .or_else("the kind"),
    Key::optional(
        "timeout",
        Type::Duration,
        "time limit for one decision; never beyond the request's own deadline",
    )
    .or("\"1s\""),
    Key::optional(
        "required",
        Type::Boolean,
        "Callgate is not ready until the source has loaded once. If `false`, the authenticator refuses its own \
         credentials with `backend_unavailable` until then, and a missing `jwks_file` is a warning instead of \
         an error",
    )
    .or("true"),
    Key::optional("account", Type::Text, "account for its identities to which nothing else assigns an account"),
    Key::optional("expires_after", Type::Duration, "longest session of its identities"),
    Key::optional("user_prefix", Type::Text, "prefix for every user name it returns").or("\"\""),
    Key::optional("ceiling", Type::Table(CEILING_KEYS), "upper bound for outside data")
        .or_else("permits nothing"),
    Key::optional(
        "second_factor",
        Type::Table(SECOND_FACTOR_KEYS),
        "what password logins need besides the password, see [second factors](second-factors.md)",
    )
    .or_else("one-time codes for entries with `totp`"),
];

const CEILING_KEYS: &[Key] = &[
    Key::optional(
        "accounts",
        TEXTS,
        "names, patterns or templates of accounts that outside data may choose",
    )
    .or_else("nothing"),
    Key::optional("roles", TEXTS, "names of roles that outside data may choose").or_else("nothing"),
    Key::optional(
        "publish",
        permissions::SIDE,
        "bound of permissions from outside; templates work",
    )
    .also(&["pub"])
    .or_else("nothing"),
    Key::optional("subscribe", permissions::SIDE, "the same").also(&["sub"]).or_else("nothing"),
    Key::optional("responses", permissions::RESPONSES_TYPE, "bound of `responses` from outside")
        .also(&["resp", "allow_responses"])
        .or_else("nothing"),
];

pub(super) const BINDING_KEYS: &[Key] = &[
    Key::optional(
        "authenticator",
        Type::Named("string, list or `\"*\"`", &TEXTS),
        "authenticators whose identities it applies to. Required if there are several",
    )
    .or_else("the only one"),
    Key::optional("when", Type::Named("CEL", &Type::Text), "condition").or_else("always"),
    Key::optional(
        "account",
        Type::Named("string or template", &Type::Text),
        "the account; a template is outside data",
    ),
    Key::optional("roles", TEXTS, "names or templates; templates are outside data").or("[]"),
    Key::optional(
        "otherwise",
        Type::Boolean,
        "applies only if no binding without `otherwise` matched",
    )
    .or("false"),
    Key::optional("expires_after", Type::Duration, "longest session of identities it matches"),
];

/// One of `[[authenticators]]`: its policy settings, and how to build it unless its kind is unknown.
pub(super) struct AuthenticatorEntry<'a> {
    pub(super) policy: AuthenticatorPolicy,
    pub(super) make: Option<Make<'a>>,
}

/// The inputs for building an authenticator.
pub(super) struct Make<'a> {
    pub(super) timeout: Duration,
    pub(super) required: bool,
    pub(super) kind: Arc<dyn Kind>,
    /// The kind's own table.
    pub(super) table: Table<'a>,
    pub(super) raw: serde_json::Value,
    pub(super) has_ceiling: bool,
    pub(super) second_factor: SecondFactorSettings,
    /// The key path of its table.
    pub(super) second_factor_path: String,
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
            "is missing: without an authenticator, no client can connect (the simplest is a \
             users file, see --users)",
        );
    }
    tables.into_iter().map(|table| authenticator(table, registry)).collect()
}

fn authenticator<'a>(mut table: Table<'a>, registry: &Registry) -> AuthenticatorEntry<'a> {
    let name = table.string("name");
    let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(1));
    if timeout.is_zero() {
        table.fault("timeout", "must be greater than zero");
    }
    let required = table.boolean("required").unwrap_or(true);
    let account = table.string("account");
    if account.as_deref() == Some("") {
        table.fault("account", "must not be empty");
    }
    let expires_after = table.duration("expires_after");
    let user_prefix = table.string("user_prefix").unwrap_or_default();
    let has_ceiling = table.has("ceiling");
    let ceiling = table.table("ceiling").map(ceiling).unwrap_or_default();
    let second_factor = table.table("second_factor");
    refuse_limits(&mut table);
    let path = table.path().to_owned();
    let second_factor_path = table.path_of("second_factor");
    let kind = registry.kind_of(&mut table);
    let has_entries = kind.as_ref().is_none_or(|(kind, _)| kind.has_entries());
    let second_factor = second_factor.map(|table| SecondFactorSettings::read(table, has_entries));
    let second_factor = second_factor.unwrap_or_default();
    let make = kind.map(|(kind, own)| Make {
        timeout,
        required,
        kind: Arc::clone(kind),
        raw: serde_json::Value::Object(own.map().clone()),
        table: own,
        has_ceiling,
        second_factor,
        second_factor_path,
    });
    table.finish();
    let mut policy = AuthenticatorPolicy {
        name: name.unwrap_or_else(|| make.as_ref().map_or(path, |make| make.kind.name().into())),
        kind: make.as_ref().map_or("", |make| make.kind.name()),
        account,
        expires_after,
        user_prefix,
        variables: make.as_ref().map_or(&[], |make| make.kind.variables()),
        ceiling,
        defaults: None,
    };
    let make = make.map(|mut make| {
        policy.defaults = make.kind.defaults().map(|base| defaults(&mut make.table, base));
        if ["", "*", "none"].contains(&policy.name.as_str()) {
            make.table.fault_here("its authenticator's name must not be empty, `*` or `none`");
        }
        make
    });
    AuthenticatorEntry { policy, make }
}

fn ceiling(mut table: Table<'_>) -> CeilingSettings {
    let mut list = |key| table.strings(key).unwrap_or_default();
    let (accounts, roles) = (list("accounts"), list("roles"));
    let RawPermissions { publish, subscribe, responses } = RawPermissions::read(&mut table);
    let (publish, subscribe) =
        (bound("publish", publish, &table), bound("subscribe", subscribe, &table));
    table.finish();
    CeilingSettings { accounts, roles, publish, subscribe, responses }
}

/// Publish or subscribe subjects of a ceiling. It has no `deny`, because everything unlisted is dropped.
fn bound(key: &str, rules: Option<RawRules>, table: &Table<'_>) -> Vec<String> {
    let RawRules { allow, deny } = rules.unwrap_or_default();
    if let Some(denied) = deny.iter().flatten().next() {
        table.report().fault(&denied.path, "a ceiling has no `deny`: list only what is allowed");
    }
    for (index, text) in allow.iter().flatten().enumerate() {
        table.report().written_as(format!("{}[{index}]", table.path_of(key)), &text.path);
    }
    roles::texts(allow)
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
        Some(item) => match item.strings() {
            Some(names) if names != ["*"] => AuthenticatorSelector::Named(names),
            Some(_) | None => AuthenticatorSelector::Every,
        },
    };
    let settings = BindingSettings {
        authenticator,
        when: table.string("when"),
        account: table.string("account"),
        roles: table.strings("roles").unwrap_or_default(),
        otherwise: table.boolean("otherwise").unwrap_or_default(),
        expires_after: table.duration("expires_after"),
    };
    refuse_limits(&mut table);
    table.finish();
    settings
}

/// Builds the policy, and adds its errors and warnings to the report.
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

/// The role of every identity of a kind (`kubernetes.defaults`): each key that is present replaces that part
/// of `base`.
fn defaults(own: &mut Table<'_>, base: RoleSettings) -> RoleSettings {
    let Some(table) = own.table("defaults") else { return base };
    let written = table.map();
    let has = |spellings: &[&str]| spellings.iter().any(|key| written.contains_key(*key));
    let publish = has(&["publish", "pub"]);
    let subscribe = has(&["subscribe", "sub"]);
    let responses = has(&["responses", "resp", "allow_responses"]);
    let inbox = has(&["inbox"]);
    let usual = table.path().to_owned();
    let role = roles::role(table, &usual);
    RoleSettings {
        publish: if publish { role.publish } else { base.publish },
        subscribe: if subscribe { role.subscribe } else { base.subscribe },
        responses: if responses { role.responses } else { base.responses },
        // The shared inbox is part of the subscribe permissions.
        inbox: if inbox || subscribe { role.inbox } else { base.inbox },
        ..role
    }
}
