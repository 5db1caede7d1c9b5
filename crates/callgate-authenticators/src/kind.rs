//! Kinds of authenticators: how each is built from its own table of the configuration.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use callgate::{
    authn::{Authenticator, Proposal},
    policy::settings::RoleSettings,
};
use ipnet::IpNet;

use crate::settings::{Item, Sources, Table, nearest, suggestion};

mod shared;

pub use shared::Shared;

/// A kind of authenticator: `users`, `oidc`, …
///
/// To add one of your own to the stock service, implement this and hand it to
/// [`Registry::with`]; its name is then the name of its table in `[[authenticators]]`.
pub trait Kind: fmt::Debug + Send + Sync {
    /// The name of its table in the configuration.
    fn name(&self) -> &'static str;

    /// Whether it answers for user names with passwords.
    fn takes_passwords(&self) -> bool {
        false
    }

    /// Whether, by this table, a password that it does not know is refused, so that nobody after it
    /// is ever asked for one.
    fn ends_passwords(&self, _table: &serde_json::Value) -> bool {
        false
    }

    /// Public nkeys that sign tokens by this table. A key that does must not be one to log in
    /// with, because logging in signs whatever the server chooses. Malformed ones are left out:
    /// [`Kind::build`] reports them.
    fn token_keys(&self, _table: &serde_json::Value) -> Vec<String> {
        Vec::new()
    }

    /// The role that each of its identities has, where its table has a key `defaults`; the keys
    /// written there replace those of this role.
    fn defaults(&self) -> Option<RoleSettings> {
        None
    }

    /// Builds the authenticator. What is wrong goes into the table's report; `None` says that
    /// something was. It calls [`Table::finish`] itself.
    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>>;
}

/// Looks at one entry: its user and what it proposes.
pub type ScopeMistakes = Arc<dyn Fn(&str, &Proposal) -> Vec<String> + Send + Sync>;

/// Everything that building an authenticator may depend on, beside its own table.
///
/// It may be kept: a source that is read again later is judged by the same context.
#[derive(Clone)]
pub struct BuildContext {
    /// The authenticator's name.
    pub name: Arc<str>,
    /// How long it may take to answer; never past the request's own deadline.
    pub timeout: Duration,
    /// Whether the service waits for its source; otherwise the source may come later.
    pub required: bool,
    /// Files and environment.
    pub sources: Sources,
    /// The roles that exist.
    pub roles: Arc<BTreeSet<String>>,
    /// Whether users may be placed in an account of this name.
    pub knows_account: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Why an entry of the operator's would always be refused because of a role with a scope.
    pub scope_mistakes: ScopeMistakes,
    /// Whether this is the callout account, in which nobody is placed.
    pub is_callout_account: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Whether the configuration may say in which account an identity is placed that brings none.
    pub may_name_account: bool,
    /// What lives longer than one configuration: pools, caches, key stores.
    pub shared: Arc<Shared>,
    /// `[cache]`.
    pub cache: CacheSettings,
    /// `[admission].trusted_proxies`: addresses that many users share.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Counts configurations, so that what was remembered under one never serves another.
    pub generation: u64,
    /// Whether another authenticator follows in the list.
    pub is_followed: bool,
    /// Whether an authenticator further down the list takes passwords.
    pub passwords_taken_later: bool,
    /// The name of an authenticator before this one that lets no password through
    /// ([`Kind::ends_passwords`]).
    pub passwords_end_at: Option<Arc<str>>,
    /// Keys that sign tokens ([`Kind::token_keys`] of all authenticators).
    pub token_keys: Arc<BTreeSet<String>>,
    /// Whether to watch files and fetch keys in the background; `check` and `explain` do not.
    pub background: bool,
    /// Is told what happens in the background.
    pub observer: Arc<dyn Observer>,
}

impl BuildContext {
    /// A context with nothing around it: no roles, every account known, nothing in the background.
    pub fn new(name: &str, sources: Sources, shared: Arc<Shared>) -> Self {
        Self {
            name: name.into(),
            timeout: Duration::from_secs(1),
            required: true,
            sources,
            roles: Arc::default(),
            knows_account: Arc::new(|_| true),
            scope_mistakes: Arc::new(|_, _| Vec::new()),
            is_callout_account: Arc::new(|_| false),
            may_name_account: true,
            shared,
            cache: CacheSettings::default(),
            trusted_proxies: Arc::from([]),
            generation: 0,
            is_followed: false,
            passwords_taken_later: false,
            passwords_end_at: None,
            token_keys: Arc::default(),
            background: false,
            observer: Arc::new(Nobody),
        }
    }

    /// The roles that an entry names under `roles`; one that does not exist is a fault.
    pub(crate) fn roles_in(&self, table: &mut Table<'_>) -> Option<Vec<String>> {
        let item = table.raw("roles")?;
        let known = |item: &Item<'_>| {
            let role = item.string()?;
            if !self.roles.contains(role) {
                let near = suggestion(role, self.roles.iter().map(String::as_str), &[]);
                item.fault(format!("there is no role `{}`{near}", role.escape_debug()));
            }
            Some(role.to_owned())
        };
        Some(item.items().iter().filter_map(known).collect())
    }

    /// Why whoever is to be placed in this account will be refused, for a warning.
    pub(crate) fn doubt_about_account(&self, account: &str) -> Option<String> {
        let shown = account.escape_debug();
        if (self.is_callout_account)(account) {
            return Some(format!(
                "`{shown}` is the callout account: nobody is placed there, so the login will be refused"
            ));
        }
        let known = (self.knows_account)(account);
        (!known)
            .then(|| format!("the account `{shown}` is not known here: the login will be refused"))
    }
}

impl fmt::Debug for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildContext")
            .field("name", &self.name)
            .field("generation", &self.generation)
            .field("background", &self.background)
            .finish_non_exhaustive()
    }
}

/// `[cache]`: what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// How many verified tokens.
    pub tokens: usize,
    /// For how long a verified password; zero is off.
    pub passwords: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { tokens: 100_000, passwords: Duration::from_secs(60) }
    }
}

/// Is told what happens in the background, for metrics. `authenticator` is its name.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A changed file was read again; `loaded` if it took effect.
    fn file_reloaded(&self, _authenticator: &str, _loaded: bool) {}

    /// It judges bearer tokens by keys that it gets: what is counted of these begins at zero.
    fn has_signing_keys(&self, _authenticator: &str) {}

    /// Signing keys were fetched, or not.
    fn keys_refreshed(&self, _authenticator: &str, _fetched: bool) {}

    /// So many service accounts are known; `lost_for` says how old that knowledge is when the
    /// watch is lost.
    fn service_accounts(&self, _authenticator: &str, _known: usize, _lost_for: Option<Duration>) {}

    /// So many subjects in the annotations of a service account are malformed and were dropped.
    fn annotations_malformed(&self, _authenticator: &str, _subjects: usize) {}

    /// A bearer token's signature counted: checked now, or `remembered` from an earlier check.
    fn signature_counted(&self, _authenticator: &str, _remembered: bool) {}
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Observer for Nobody {}

/// The kinds that a configuration may name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: Vec<Arc<dyn Kind>>,
}

impl Registry {
    /// No kind at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The kinds of this build.
    pub fn builtin() -> Self {
        let kinds = Self::empty()
            .with(crate::users::Users)
            .with(crate::oidc::OidcKind)
            .with(crate::service_tokens::ServiceTokensKind);
        #[cfg(feature = "kubernetes")]
        let kinds = kinds.with(crate::kubernetes::KubernetesKind);
        kinds
    }

    /// And one more. One of the same name takes the older one's place.
    #[must_use]
    pub fn with(mut self, kind: impl Kind + 'static) -> Self {
        self.kinds.retain(|known| known.name() != kind.name());
        self.kinds.push(Arc::new(kind));
        self
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().map(|kind| kind.name())
    }

    /// The kind of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.kinds.iter().find(|kind| kind.name() == name)
    }

    /// The one kind that `entry` (a table of `[[authenticators]]`) has a table for, and that table.
    ///
    /// Call it after the common keys were read: what is left must be the kind. An unknown one is
    /// reported with the kinds there are and the nearest of them.
    pub fn kind_of<'a>(&self, entry: &mut Table<'a>) -> Option<(&Arc<dyn Kind>, Table<'a>)> {
        let there: Vec<_> = self.kinds.iter().filter(|kind| entry.has(kind.name())).collect();
        match there.as_slice() {
            [kind] => Some((kind, entry.table(kind.name())?)),
            [] => {
                self.report_missing(entry);
                None
            }
            [_, ..] => {
                let names: Vec<_> = there.iter().map(|kind| kind.name()).collect();
                let names = names.join("` and `");
                entry.fault_here(format!("has `{names}`: each entry is of exactly one kind"));
                None
            }
        }
    }

    fn report_missing(&self, entry: &mut Table<'_>) {
        let names = self.names().collect::<Vec<_>>().join(", ");
        let unknown = entry
            .rest()
            .into_iter()
            .find(|key| entry.map().get(*key).is_some_and(serde_json::Value::is_object));
        let Some(unknown) = unknown else {
            entry.fault_here(format!("has no table of its kind; this build has: {names}"));
            return;
        };
        let near = nearest(unknown, self.names());
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        entry.refuse(unknown, format!("unknown kind{near} (this build has: {names})"));
    }
}

#[cfg(test)]
mod tests;
