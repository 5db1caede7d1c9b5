//! Builds the chain of authenticators.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use callgate::{
    authn::{Authenticator, Chain, Link},
    policy::{
        Policy,
        settings::{PolicySettings, SideSettings},
    },
};
use callgate_authenticators::{
    kind::{
        BuildContext, Bus, CacheSettings, ChainPosition, PolicyView, SecondFactorSettings,
        Services, SharedResources,
    },
    passwords::DummyKey,
    second_factor::RequireCertificate,
    state_dir::StateDir,
};
use callgate_config::Sources;
use ipnet::IpNet;
use serde_json::Value;

use super::{
    BuildEnv,
    policy::{AuthenticatorEntry, Make},
    shadowing::{Position, Shadowing},
};

/// The kind that a second factor may name.
const CERTIFICATE: &str = "certificate";

/// How an authenticator of the chain was built.
#[derive(Debug)]
pub(crate) struct BuiltAuthenticator {
    pub(crate) context: BuildContext,
    pub(crate) kind: &'static str,
    /// Whether it needs the service's connection to NATS, itself or for used one-time codes.
    pub(crate) uses_bus: bool,
    /// The kind's own table.
    pub(crate) raw: Value,
}

/// The chain and how its authenticators were built.
pub(super) struct Built {
    /// `None` if there is an error.
    pub(super) chain: Option<Chain>,
    pub(super) authenticators: Vec<BuiltAuthenticator>,
}

/// What all authenticators are built with.
pub(super) struct ChainBuilder<'a> {
    pub(super) background: bool,
    pub(super) env: &'a BuildEnv,
    pub(super) sources: &'a Sources,
    pub(super) known: Known,
    pub(super) shared: &'a Arc<SharedResources>,
    pub(super) cache: CacheSettings,
    pub(super) trusted_proxies: Arc<[IpNet]>,
    pub(super) dummy_key: DummyKey,
    pub(super) state_dir: Option<StateDir>,
}

impl ChainBuilder<'_> {
    /// Builds the chain, or reports the errors of every authenticator that cannot be built.
    pub(super) fn build(&self, entries: Vec<AuthenticatorEntry<'_>>) -> Built {
        let overview = Overview::of(&entries);
        let mut parts = Parts::default();
        let mut complete = true;
        for (index, AuthenticatorEntry { policy, make }) in entries.into_iter().enumerate() {
            let is_built = make.is_some_and(|make| {
                let names_certificate = overview.check_second_factor(&make);
                let chain = overview.position(index, &make, parts.passwords_stop_at.clone());
                let context = BuildContext {
                    name: policy.name.as_str().into(),
                    timeout: make.timeout,
                    required: make.required,
                    second_factor: make.second_factor.clone(),
                    policy: PolicyView {
                        has_ceiling: make.has_ceiling,
                        ..self.known.view(&policy.name)
                    },
                    chain,
                    services: self.services(),
                };
                parts.add(make, context) && names_certificate
            });
            complete &= is_built;
        }
        parts.require_certificates();
        let chain = complete.then(|| Chain::new(parts.links));
        Built { chain, authenticators: parts.authenticators }
    }

    fn services(&self) -> Services {
        Services {
            sources: self.sources.clone(),
            shared: Arc::clone(self.shared),
            cache: self.cache,
            trusted_proxies: Arc::clone(&self.trusted_proxies),
            dummy_key: self.dummy_key.clone(),
            state_dir: self.state_dir.clone(),
            generation: self.env.generation,
            background: self.background,
            observer: Arc::clone(&self.env.observer),
            bus: self.env.bus.clone().map(|bus| bus as Arc<dyn Bus>),
        }
    }
}

/// What an authenticator may know about the others.
struct Overview {
    /// By position. An unknown kind counts as taking passwords, to avoid follow-up errors.
    takes_passwords: Vec<bool>,
    kinds: Vec<Option<&'static str>>,
    token_keys: Arc<BTreeSet<String>>,
    certificate_names: BTreeSet<String>,
}

impl Overview {
    fn of(entries: &[AuthenticatorEntry<'_>]) -> Self {
        let makes = || entries.iter().map(|entry| entry.make.as_ref());
        let takes_passwords =
            |make: Option<&Make<'_>>| make.is_none_or(|make| make.kind.takes_passwords(&make.raw));
        let kind = |make: Option<&Make<'_>>| make.map(|make| make.kind.name());
        let is_certificate =
            |entry: &&AuthenticatorEntry<'_>| kind(entry.make.as_ref()) == Some(CERTIFICATE);
        let token_keys = makes().flatten().flat_map(|make| make.kind.token_keys(&make.raw));
        let certificates = entries.iter().filter(is_certificate);
        Self {
            takes_passwords: makes().map(takes_passwords).collect(),
            kinds: makes().map(kind).collect(),
            token_keys: Arc::new(token_keys.collect()),
            certificate_names: certificates.map(|entry| entry.policy.name.clone()).collect(),
        }
    }

    fn position(
        &self,
        index: usize,
        make: &Make<'_>,
        passwords_stop_at: Option<Arc<str>>,
    ) -> ChainPosition {
        let later = self.takes_passwords.get(index + 1..).unwrap_or_default();
        let later_kinds = self.kinds.get(index + 1..).unwrap_or_default();
        ChainPosition {
            is_followed: !later.is_empty(),
            same_kind_follows: later_kinds.contains(&Some(make.kind.name())),
            passwords_taken_later: later.contains(&true),
            passwords_stop_at,
            token_keys: Arc::clone(&self.token_keys),
        }
    }

    /// Reports a second factor that names a certificate authenticator that does not exist.
    fn check_second_factor(&self, make: &Make<'_>) -> bool {
        let Some(name) = &make.second_factor.certificate else { return true };
        let exists = self.certificate_names.contains(name);
        if !exists {
            let shown = name.escape_debug();
            let message = format!("there is no `certificate` authenticator `{shown}`");
            let path = format!("{}.certificate", make.second_factor_path);
            make.table.report().fault(path, message);
        }
        exists
    }
}

/// The authenticators built so far.
#[derive(Default)]
struct Parts {
    links: Vec<Link>,
    authenticators: Vec<BuiltAuthenticator>,
    shadowing: Shadowing,
    /// The first authenticator that refuses unknown user names.
    passwords_stop_at: Option<Arc<str>>,
    certificates: BTreeMap<String, Arc<dyn Authenticator>>,
}

impl Parts {
    /// Builds an authenticator. Returns false if it has errors, which are in the report.
    fn add(&mut self, make: Make<'_>, context: BuildContext) -> bool {
        let Make { timeout, required, kind, table, raw, .. } = make;
        if kind.refuses_unknown_users(&raw) {
            self.passwords_stop_at.get_or_insert_with(|| Arc::clone(&context.name));
        }
        let report = table.report();
        let name = context.name.to_string();
        let position = Position { path: table.path().to_owned(), name, kind: kind.name() };
        self.shadowing.keys(kind.token_keys(&raw), &position, report);
        let Some(authenticator) = kind.build(&context, table) else { return false };
        if let Some(issuer) = authenticator.issuer() {
            self.shadowing.issuer(issuer, &position, report);
        }
        if kind.name() == CERTIFICATE {
            self.certificates.insert(position.name.clone(), Arc::clone(&authenticator));
        }
        let uses_bus = kind.uses_bus() || context.second_factor.replay_bucket.is_some();
        let link = Link { name: position.name.into(), authenticator, timeout, required };
        self.authenticators.push(BuiltAuthenticator { context, kind: kind.name(), uses_bus, raw });
        self.links.push(link);
        true
    }

    /// Adds the certificates that second factors require. Runs last, because a later authenticator may check
    /// them.
    fn require_certificates(&mut self) {
        for (link, built) in self.links.iter_mut().zip(&self.authenticators) {
            let SecondFactorSettings { certificate, same_user, .. } = &built.context.second_factor;
            let certificates = certificate.as_ref().and_then(|name| self.certificates.get(name));
            if let Some(certificates) = certificates {
                let inner = Arc::clone(&link.authenticator);
                let both = RequireCertificate::new(inner, Arc::clone(certificates), *same_user);
                link.authenticator = Arc::new(both);
            }
        }
    }
}

/// The part of the policy that authenticators see. The roles are known even if the policy has errors; then
/// there are no warnings about accounts and scopes.
pub(super) struct Known {
    pub(super) roles: KnownRoles,
    pub(super) policy: Option<Arc<Policy>>,
}

/// The names of the configured roles.
pub(super) struct KnownRoles {
    all: Arc<BTreeSet<String>>,
    /// Those that allow every subject.
    wide: Arc<BTreeSet<String>>,
}

impl KnownRoles {
    pub(super) fn of(settings: &PolicySettings) -> Self {
        let is_wide = |side: &SideSettings| side.allow.iter().any(|subject| subject == ">");
        let wide = settings
            .roles
            .iter()
            .filter(|(_, role)| is_wide(&role.publish) || is_wide(&role.subscribe));
        let wide = wide.map(|(name, _)| name.clone()).collect();
        Self { all: Arc::new(settings.roles.keys().cloned().collect()), wide: Arc::new(wide) }
    }
}

impl Known {
    fn view(&self, authenticator: &str) -> PolicyView {
        let roles = Arc::clone(&self.roles.all);
        let wide_roles = Arc::clone(&self.roles.wide);
        let Some(policy) = &self.policy else {
            return PolicyView { roles, wide_roles, ..Default::default() };
        };
        let accounts = Arc::clone(policy);
        let closed = Arc::clone(policy);
        let scopes = Arc::clone(policy);
        let name = authenticator.to_owned();
        PolicyView {
            roles,
            knows_account: Arc::new(move |account| accounts.knows_account(account)),
            is_callout_account: Arc::new(move |account| closed.accounts().is_closed(account)),
            may_name_account: policy.may_name_account(authenticator),
            wide_roles,
            has_ceiling: true,
            scope_errors: Arc::new(move |user, entry| scopes.scope_mistakes(&name, user, entry)),
        }
    }
}
