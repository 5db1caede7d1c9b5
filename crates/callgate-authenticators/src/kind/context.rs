//! What building an authenticator may depend on, besides its own table.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use callgate::{authn::Proposal, suggest::did_you_mean};
use ipnet::IpNet;

use super::{Bus, NoObserver, Observer, SecondFactorSettings, SharedResources};
use crate::{passwords::DummyKey, state_dir::StateDir};
use callgate_config::{Item, Key, Sources, Table, Type};

/// What building an authenticator may depend on, besides its own table.
///
/// An authenticator may keep it: a file that is read again later is checked in the same context.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// The authenticator's name.
    pub name: Arc<str>,
    /// Maximum time for an answer; the request's own deadline applies as well.
    pub timeout: Duration,
    /// Whether the service is not ready before the authenticator has loaded its source.
    pub required: bool,
    /// `second_factor`.
    pub second_factor: SecondFactorSettings,
    /// Roles and accounts.
    pub policy: PolicyView,
    /// The authenticators before and after this one.
    pub chain: ChainPosition,
    /// Files, caches and everything else that the service provides.
    pub services: Services,
}

impl BuildContext {
    /// The context of a single authenticator without policy and without background work.
    pub fn new(name: &str, sources: Sources, shared: Arc<SharedResources>) -> Self {
        Self {
            name: name.into(),
            timeout: Duration::from_secs(1),
            required: true,
            second_factor: SecondFactorSettings::default(),
            policy: PolicyView::default(),
            chain: ChainPosition::default(),
            services: Services {
                sources,
                shared,
                cache: CacheSettings::default(),
                trusted_proxies: Arc::from([]),
                dummy_key: DummyKey::random(),
                generation: 0,
                background: false,
                state_dir: None,
                observer: Arc::new(NoObserver),
                bus: None,
            },
        }
    }
}

/// What an authenticator may know about the policy, to report errors in its entries early.
#[derive(Clone)]
pub struct PolicyView {
    /// The configured roles.
    pub roles: Arc<BTreeSet<String>>,
    /// Whether users may be placed in the account of this name.
    pub knows_account: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Whether this is the callout account, in which users are never placed.
    pub is_callout_account: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Whether the configuration names an account for identities without one.
    pub may_name_account: bool,
    /// The roles that allow every subject.
    pub wide_roles: Arc<BTreeSet<String>>,
    /// Whether the authenticator has a `ceiling`. Without one, outside data grants nothing.
    pub has_ceiling: bool,
    /// Why policy would refuse an entry because of a role's scope.
    pub scope_errors: ScopeErrors,
}

/// Checks one entry of the operator's: its user name and its proposal.
pub type ScopeErrors = Arc<dyn Fn(&str, &Proposal) -> Vec<String> + Send + Sync>;

impl PolicyView {
    /// Reads the key `roles`; reports roles that do not exist.
    pub(crate) fn read_roles(&self, table: &mut Table<'_>) -> Option<Vec<String>> {
        let item = table.raw("roles")?;
        let known = |item: &Item<'_>| {
            let role = item.string()?;
            if !self.roles.contains(role) {
                let near = did_you_mean(role, self.roles.iter().map(String::as_str));
                item.fault(format!("there is no role `{}`{near}", role.escape_debug()));
            }
            Some(role.to_owned())
        };
        Some(item.items().iter().filter_map(known).collect())
    }

    /// A warning if outside data can propose access, but nothing permits it. `what` holds the data.
    pub(crate) fn ceiling_warning(&self, what: &str) -> Option<String> {
        (!self.has_ceiling).then(|| {
            format!(
                "there is no `ceiling`, so accounts, roles and permissions in {what} are dropped or refused: \
                 add `[authenticators.ceiling]`, or assign roles by `[[bindings]]`"
            )
        })
    }

    /// A warning if users in this account will be refused.
    pub(crate) fn account_warning(&self, account: &str) -> Option<String> {
        let shown = account.escape_debug();
        if (self.is_callout_account)(account) {
            return Some(format!(
                "`{shown}` is the callout account: users are never placed there, so the login will be refused"
            ));
        }
        let known = (self.knows_account)(account);
        (!known).then(|| format!("unknown account `{shown}`: the login will be refused"))
    }
}

impl Default for PolicyView {
    /// No roles, and every account is known.
    fn default() -> Self {
        Self {
            roles: Arc::default(),
            knows_account: Arc::new(|_| true),
            is_callout_account: Arc::new(|_| false),
            may_name_account: true,
            wide_roles: Arc::default(),
            has_ceiling: true,
            scope_errors: Arc::new(|_, _| Vec::new()),
        }
    }
}

impl fmt::Debug for PolicyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyView").field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// `fall_through` of a kind that takes passwords.
pub(crate) const FALL_THROUGH_KEY: Key = Key::optional(
    "fall_through",
    Type::Boolean,
    "pass unknown user names to the next authenticator. Needs a later authenticator",
)
.or("false");

/// What comes before and after an authenticator in the chain. The default is to be the only one.
#[derive(Debug, Clone, Default)]
pub struct ChainPosition {
    /// Whether another authenticator follows.
    pub is_followed: bool,
    /// Whether another authenticator of the same kind follows.
    pub same_kind_follows: bool,
    /// Whether a later authenticator takes passwords.
    pub passwords_taken_later: bool,
    /// An earlier authenticator that refuses unknown user names
    /// ([`Kind::refuses_unknown_users`](super::Kind::refuses_unknown_users)), so that no password
    /// gets past it.
    pub passwords_stop_at: Option<Arc<str>>,
    /// Keys that sign tokens ([`Kind::token_keys`](super::Kind::token_keys) of all authenticators).
    pub token_keys: Arc<BTreeSet<String>>,
}

impl ChainPosition {
    /// Reads the key `fall_through`.
    pub(crate) fn read_fall_through(&self, table: &mut Table<'_>) -> bool {
        let fall_through = table.boolean("fall_through").unwrap_or(false);
        if fall_through && !self.is_followed {
            let message = "no authenticator follows, so there is nothing to fall through to";
            table.fault("fall_through", message);
        }
        fall_through
    }

    /// Reads the key `fall_through` of a kind that takes passwords.
    pub(crate) fn read_password_fall_through(&self, table: &mut Table<'_>) -> bool {
        let fall_through = self.read_fall_through(table);
        if fall_through && self.is_followed && !self.passwords_taken_later {
            table.warn(
                "fall_through",
                "no later authenticator takes passwords: unknown user names are refused anyway",
            );
        }
        fall_through
    }
}

/// What the service provides to its authenticators.
#[derive(Debug, Clone)]
pub struct Services {
    /// Files and environment variables.
    pub sources: Sources,
    /// Pools and caches that survive a reload.
    pub shared: Arc<SharedResources>,
    /// `[cache]`.
    pub cache: CacheSettings,
    /// `[admission].trusted_proxies`: addresses that many users share.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Selects what an unknown user name costs; the same on all replicas.
    pub dummy_key: DummyKey,
    /// Number of the configuration; what one configuration has verified never serves another.
    pub generation: u64,
    /// Whether to watch files and fetch keys in the background; `check` and `explain` do not.
    pub background: bool,
    /// Where key sets are kept for the next start.
    pub state_dir: Option<StateDir>,
    /// Receives background events.
    pub observer: Arc<dyn Observer>,
    /// The service's connection to NATS; `None` where nothing connects, such as in `check`.
    pub bus: Option<Arc<dyn Bus>>,
}

/// `[cache]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// Maximum number of verified tokens to remember.
    pub tokens: usize,
    /// How long a verified password is remembered; zero switches this off.
    pub passwords: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { tokens: 100_000, passwords: Duration::from_secs(60) }
    }
}
