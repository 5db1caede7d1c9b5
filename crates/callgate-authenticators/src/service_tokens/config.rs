//! The table `service_tokens` of an authenticator.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use callgate::{
    authn::{Origin, Proposal},
    keys::{KeyError, KeyKind, VerifyingKey, parse_public},
    subject::is_invisible,
};

use crate::kind::BuildContext;
use callgate_config::{Item, Key, Table, Type, permissions, schema::TEXTS};

/// The keys of the table.
pub(super) const KEYS: &[Key] = &[
    Key::required("services", Type::List(&Type::Table(SERVICE)), "the services, see below"),
    Key::optional(
        "audience",
        TEXTS,
        "names of this NATS system; one of them must be in the token's `aud`",
    )
    .or_else("none, with a warning"),
    Key::optional("max_token_lifetime", Type::Duration, "longest `exp` − `iat`").or("\"1h\""),
];

const SERVICE: &[Key] = &[
    Key::optional(
        "public_key",
        Type::Text,
        "the service's public key: a user nkey (`U…`) or an account nkey (`A…`)",
    ),
    Key::optional("public_keys", TEXTS, "several of them"),
    Key::required("user", Type::Text, "the user that these keys may sign for"),
    Key::optional("account", Type::Text, "the account in which to place the user"),
    Key::optional("roles", TEXTS, "names of roles; this or `permissions` is required"),
    Key::optional(
        "permissions",
        Type::Named("table", &Type::Table(permissions::KEYS)),
        "permissions of its own",
    ),
];

/// The default of `max_token_lifetime`.
pub const DEFAULT_MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The settings of a `service_tokens` authenticator.
#[derive(Debug)]
pub struct Settings {
    /// Maximum time from `iat` to `exp`.
    pub max_lifetime: Duration,
    /// Accepted values of `aud`.
    pub audience: Option<Vec<String>>,
    /// The services, by public key.
    pub services: HashMap<String, (VerifyingKey, Arc<Service>)>,
}

/// A service that signs its own tokens.
#[derive(Debug)]
pub struct Service {
    /// The only user that its keys may sign for.
    pub user: String,
    /// Its account, roles and permissions.
    pub proposal: Proposal,
}

impl Settings {
    /// Reads the table and reports its errors.
    pub fn read(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let max_lifetime =
            table.duration("max_token_lifetime").unwrap_or(DEFAULT_MAX_TOKEN_LIFETIME);
        if max_lifetime.is_zero() {
            table.fault("max_token_lifetime", "must be greater than zero");
        }
        let audience = audience(&mut table);
        let mut services = HashMap::new();
        let tables = table.tables("services");
        if tables.is_empty() {
            table.fault_here("`services` is missing or empty: no token would be accepted");
        }
        for service in tables {
            read_service(context, service, &mut services);
        }
        table.finish().then_some(Self { max_lifetime, audience, services })
    }
}

fn audience(table: &mut Table<'_>) -> Option<Vec<String>> {
    if !table.has("audience") {
        table.warn(
            "audience",
            "is recommended: without it, a token that a service issued for another system, but \
             without `aud`, is valid here too",
        );
        return None;
    }
    table.filled_strings("audience")
}

fn read_service(
    context: &BuildContext,
    mut table: Table<'_>,
    services: &mut HashMap<String, (VerifyingKey, Arc<Service>)>,
) {
    let keys = keys(&mut table);
    let user = table.required_string("user");
    if user.as_deref().is_some_and(|user| user.chars().any(is_invisible)) {
        table.fault("user", "must not contain control or invisible characters");
    }
    permissions::refuse_limits(&mut table);
    let proposal = proposal(context, &mut table);
    for mistake in user.iter().flat_map(|user| (context.policy.scope_errors)(user, &proposal)) {
        table.warn_here(mistake);
    }
    let service = user.map(|user| Arc::new(Service { user, proposal }));
    for (item, key) in keys {
        let Some(service) = &service else { continue };
        match services.entry(key.as_str().to_owned()) {
            Entry::Occupied(entry) => {
                let id = entry.key();
                item.fault(format!("duplicate key `{id}`: it must belong to a single service"));
            }
            Entry::Vacant(entry) => {
                entry.insert((key, Arc::clone(service)));
            }
        }
    }
    table.finish();
}

fn keys<'a>(table: &mut Table<'a>) -> Vec<(Item<'a>, VerifyingKey)> {
    let mut items: Vec<Item<'a>> = Vec::new();
    items.extend(table.raw("public_key"));
    items.extend(table.raw("public_keys").iter().flat_map(Item::items));
    if items.is_empty() && !table.has("public_key") {
        table.fault_here("`public_key` or `public_keys` is missing: it verifies the tokens");
    }
    let mut keys = Vec::new();
    for item in items {
        match item.string().map(parse_key) {
            Some(Ok(key)) => keys.push((item, key)),
            Some(Err(error)) => item.fault(error),
            None => {}
        }
    }
    keys
}

pub(super) fn parse_key(text: &str) -> Result<VerifyingKey, KeyError> {
    parse_public(text, &[KeyKind::User, KeyKind::Account])
}

fn proposal(context: &BuildContext, table: &mut Table<'_>) -> Proposal {
    let account = table.filled_string("account");
    if let Some(doubt) = account.as_deref().and_then(|name| context.policy.account_warning(name)) {
        table.warn("account", doubt);
    }
    let roles = context.policy.read_roles(table);
    if !table.has("roles") && !table.has("permissions") {
        table.fault_here(
            "needs `roles` or `permissions`: a service token never grants a whole account",
        );
    }
    let permissions = permissions::of_entry(table);
    for doubt in permissions.iter().flat_map(|own| own.plain.warnings(own.templates.as_deref())) {
        table.warn("permissions", doubt);
    }
    Proposal {
        origin: Origin::Operator,
        account,
        roles,
        templates: permissions.as_ref().and_then(|own| own.templates.clone()),
        permissions: permissions.map(|own| own.plain),
        ..Proposal::default()
    }
}
