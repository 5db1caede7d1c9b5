//! The `service_tokens` table of an authenticator.

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
use callgate_config::{Item, Table, permissions};

/// `max_token_lifetime`, where nothing else is written.
pub const DEFAULT_MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// What a `service_tokens` authenticator is told.
#[derive(Debug)]
pub struct Settings {
    /// Longest time from `iat` to `exp`.
    pub max_lifetime: Duration,
    /// What tokens must say in `aud`.
    pub audience: Option<Vec<String>>,
    /// The services, by each of their keys.
    pub services: HashMap<String, (VerifyingKey, Arc<Service>)>,
}

/// A service that signs its own tokens.
#[derive(Debug)]
pub struct Service {
    /// The one user that its keys speak for.
    pub user: String,
    /// What it may do.
    pub proposal: Proposal,
}

impl Settings {
    /// Reads the table, and reports what is wrong with it.
    pub fn read(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let max_lifetime =
            table.duration("max_token_lifetime").unwrap_or(DEFAULT_MAX_TOKEN_LIFETIME);
        if max_lifetime.is_zero() {
            table.fault("max_token_lifetime", "no token lives that short");
        }
        let audience = audience(&mut table);
        let mut services = HashMap::new();
        let tables = table.tables("services");
        if tables.is_empty() {
            table.fault_here("`services` is missing or empty: nobody could log in");
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
            "is recommended: without it a token that a service made for another \
             system, and without naming that system, is good here too",
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
        table.fault("user", "must not have control or invisible characters");
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
            Entry::Occupied(there) => {
                let id = there.key();
                item.fault(format!(
                    "`{id}` is listed twice: which service is meant would be a guess"
                ));
            }
            Entry::Vacant(place) => {
                place.insert((key, Arc::clone(service)));
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
        table.fault_here("`public_key` or `public_keys` is missing: with it tokens are verified");
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
        table.fault_here("needs `roles` or `permissions`: a token never opens a whole account");
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
