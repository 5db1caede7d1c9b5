//! Identities that are described instead of authenticated.

use std::{collections::BTreeMap, sync::Arc};

use callgate::{
    authn::{Decline, Identity, Origin},
    clock::UnixTime,
    record::{Denial, Reason},
    suggest::did_you_mean,
};
use callgate_config::{Key, Table, Type, schema::TEXTS};
use serde_json::{Map, Value};

use super::Rehearsal;

/// The keys of an identity in a test or a list.
pub(crate) const IDENTITY_KEYS: &[Key] = &[
    Key::optional("authenticator", Type::Text, "its authenticator; required if there are several"),
    Key::required("user", Type::Text, "its user name, without `user_prefix`"),
    Key::optional("groups", TEXTS, "its groups"),
    Key::optional("claims", Type::Map(&Type::Any), "its claims"),
    Key::optional("roles", TEXTS, "its roles, instead of those of its entry"),
    Key::optional("unknown", Type::Boolean, "whether the user may be missing in its file")
        .or("false"),
];

/// The names that an identity may use.
#[derive(Debug)]
pub(crate) struct SpecContext {
    pub(crate) authenticators: Vec<Arc<str>>,
    pub(crate) roles: Vec<String>,
}

/// The description of an identity.
#[derive(Debug, Clone)]
pub(crate) struct IdentitySpec {
    pub(crate) authenticator: Arc<str>,
    pub(crate) user: String,
    pub(crate) groups: Option<Vec<String>>,
    pub(crate) claims: Option<Map<String, Value>>,
    pub(crate) roles: Option<Vec<String>>,
    pub(crate) unknown: bool,
}

/// Why a described identity cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("there is no authenticator `{0}`")]
    NoAuthenticator(String),
    #[error(
        "`{authenticator}` does not know the user `{user}`: correct the name, or set `unknown = true`"
    )]
    UnknownUser { authenticator: String, user: String },
    #[error("these claims are those of the user `{found}`, not of `{named}`")]
    OtherUser { found: String, named: String },
}

impl SpecContext {
    /// The names of a configuration.
    pub(crate) fn of(rehearsal: &Rehearsal) -> Self {
        Self {
            authenticators: rehearsal.authenticators().cloned().collect(),
            roles: rehearsal.policy().role_names().map(str::to_owned).collect(),
        }
    }

    /// Roles that exist; others are reported.
    pub(crate) fn roles(&self, table: &mut Table<'_>, key: &str) -> Option<Vec<String>> {
        let item = table.raw(key)?;
        let path = item.path().to_owned();
        let roles = item.strings()?;
        for (index, role) in roles.iter().enumerate() {
            if !self.roles.contains(role) {
                let hint = did_you_mean(role, self.roles.iter().map(String::as_str));
                let path =
                    if item.value().is_array() { format!("{path}[{index}]") } else { path.clone() };
                table.report().fault(path, format!("unknown role `{}`{hint}", role.escape_debug()));
            }
        }
        Some(roles)
    }

    /// An authenticator that exists.
    fn authenticator(&self, table: &mut Table<'_>) -> Option<Arc<str>> {
        match (table.filled_string("authenticator"), self.authenticators.as_slice()) {
            (Some(name), known) => {
                let found = known.iter().find(|known| ***known == *name).cloned();
                if found.is_none() {
                    let hint = did_you_mean(&name, known.iter().map(|known| &**known));
                    let message = format!("unknown authenticator `{}`{hint}", name.escape_debug());
                    table.fault("authenticator", message);
                }
                found
            }
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => {
                if !table.has("authenticator") {
                    table.fault_here("`authenticator` is missing: the configuration has several");
                }
                None
            }
        }
    }
}

impl IdentitySpec {
    /// Reads an identity, and reports what is wrong with it.
    pub(crate) fn read(mut table: Table<'_>, context: &SpecContext) -> Option<Self> {
        let authenticator = context.authenticator(&mut table);
        let user = table.required_string("user");
        let groups = table.strings("groups");
        let claims = table.raw("claims").and_then(|item| Some(item.table()?.map().clone()));
        let roles = context.roles(&mut table, "roles");
        let unknown = table.boolean("unknown").unwrap_or_default();
        table.finish();
        Some(Self { authenticator: authenticator?, user: user?, groups, claims, roles, unknown })
    }

    /// A bare name, of which nothing else is known.
    pub(crate) fn named(authenticator: Arc<str>, user: String) -> Self {
        Self { authenticator, user, groups: None, claims: None, roles: None, unknown: false }
    }
}

impl Rehearsal {
    /// The described identity, or why its authenticator would refuse it.
    ///
    /// The entry of a users file or a service brings its own permissions. Tokens are read as their
    /// authenticator reads them. All others are taken as they are described.
    ///
    /// # Errors
    /// If the description contradicts the configuration.
    pub(crate) async fn identity(
        &self,
        spec: &IdentitySpec,
        now: UnixTime,
    ) -> Result<Result<Identity, Denial>, IdentityError> {
        let Some((link, kind)) = self.link(&spec.authenticator) else {
            return Err(IdentityError::NoAuthenticator(spec.authenticator.to_string()));
        };
        let lookup = link.authenticator.lookup();
        let found = match lookup {
            Some(lookup) if self.is_own_file(&link.name) => lookup.find(&spec.user, now).await,
            Some(lookup) => lookup.of_claims(&spec.as_token(), now),
            None => None,
        };
        let base = match found {
            Some(Ok(identity)) if identity.user != spec.user => {
                let named = spec.user.escape_debug().to_string();
                let found = identity.user.escape_debug().to_string();
                return Err(IdentityError::OtherUser { found, named });
            }
            Some(Ok(identity)) => identity,
            Some(Err(Decline::Rejected(rejection))) if self.is_own_file(&link.name) => {
                match (rejection.reason, spec.unknown) {
                    (Reason::UnknownUser, true) => {
                        let mut identity = spec.bare(kind);
                        identity.proposal.origin = Origin::Operator;
                        identity
                    }
                    (Reason::UnknownUser, false) => return Err(spec.unknown_user()),
                    _ => return Ok(Err(rejection.into())),
                }
            }
            Some(Err(Decline::Rejected(_) | Decline::NotMine | Decline::Unavailable(_))) | None => {
                spec.bare(kind)
            }
        };
        Ok(Ok(spec.complete(base)))
    }
}

impl IdentitySpec {
    fn unknown_user(&self) -> IdentityError {
        IdentityError::UnknownUser {
            authenticator: self.authenticator.to_string(),
            user: self.user.escape_debug().to_string(),
        }
    }

    /// The claims as in a token of this user.
    fn as_token(&self) -> Map<String, Value> {
        let mut claims = self.claims.clone().unwrap_or_default();
        claims.entry("sub").or_insert_with(|| self.user.clone().into());
        claims
    }

    /// The identity as described, without anything that its source would add.
    fn bare(&self, kind: &str) -> Identity {
        let mut identity = Identity::of_user(&self.user);
        if let ("kubernetes", Some((namespace, account))) = (kind, self.user.split_once('/')) {
            identity.variables = BTreeMap::from([
                ("namespace", namespace.to_owned()),
                ("service_account", account.replace('.', "_")),
            ]);
            for (name, value) in [("namespace", namespace), ("service_account", account)] {
                identity.claims.insert(name.to_owned(), value.into());
            }
        }
        identity
    }

    /// What is described takes precedence over what the source says.
    fn complete(&self, mut identity: Identity) -> Identity {
        if let Some(groups) = &self.groups {
            identity.groups.clone_from(groups);
        }
        if let Some(claims) = &self.claims {
            identity.claims.extend(claims.clone());
        }
        if let Some(roles) = &self.roles {
            identity.proposal.roles = Some(roles.clone());
            identity.proposal.permissions = None;
            identity.proposal.templates = None;
        }
        identity
    }
}
