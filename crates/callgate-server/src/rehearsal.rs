//! A configuration in which identities are resolved without a login and without a server: for policy tests,
//! for comparing configurations, and for a candidate beside the live one.

mod connection;
pub(crate) mod difference;
mod identity;
pub(crate) mod preview;
pub(crate) mod roles;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use callgate::{
    authn::{Chain, Identity, Link},
    clock::UnixTime,
    policy::{
        BindingVerdict, ClaimNames, ConnectionInfo, Explanation, Grant, Policy, ResolveRequest,
        Step,
    },
    record::{Denial, Reason},
    request::AuthRequest,
};

pub(crate) use self::{
    connection::Connection,
    identity::{IDENTITY_KEYS, IdentityError, IdentitySpec, SpecContext},
};
use crate::config::Config;

/// The policy of a configuration, with the identities that its own files contain.
#[derive(Debug, Clone)]
pub(crate) struct Rehearsal {
    policy: Arc<Policy>,
    chain: Chain,
    kinds: BTreeMap<Arc<str>, &'static str>,
    /// The bindings whose conditions test claims.
    tests_claims: BTreeSet<usize>,
    callout_account: Option<String>,
    /// What expressions read of a connection, such as `client.name`.
    connection_fields: BTreeSet<String>,
    used_claims: ClaimNames,
}

impl Rehearsal {
    pub(crate) fn of(config: &Config) -> Self {
        let kinds = config.authenticators.iter();
        let bindings = config.policy.binding_views().into_iter();
        Self {
            tests_claims: bindings
                .filter(|view| view.tests_claims)
                .map(|view| view.index)
                .collect(),
            policy: Arc::clone(&config.policy),
            chain: config.chain.clone(),
            kinds: kinds.map(|built| (Arc::clone(&built.context.name), built.kind)).collect(),
            callout_account: config.issuer.callout_account.clone(),
            connection_fields: config.policy.used_connection_fields(),
            used_claims: config.policy.used_claims(),
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The claims that the policy uses.
    pub(crate) fn used_claims(&self) -> &ClaimNames {
        &self.used_claims
    }

    /// The names of the authenticators, in order.
    pub(crate) fn authenticators(&self) -> impl Iterator<Item = &Arc<str>> {
        self.chain.links().iter().map(|link| &link.name)
    }

    fn link(&self, name: &str) -> Option<(&Link, &'static str)> {
        let link = self.chain.links().iter().find(|link| *link.name == *name)?;
        Some((link, self.kinds.get(name).copied()?))
    }

    /// Decides what an identity may do.
    pub(crate) fn resolve(
        &self,
        authenticator: &str,
        identity: &Identity,
        connection: &Connection,
        now: UnixTime,
    ) -> Result<Grant, Denial> {
        self.policy.resolve(&self.question(authenticator, identity, connection.info(), now))
    }

    /// The same with the steps of the decision.
    pub(crate) fn explain(
        &self,
        authenticator: &str,
        identity: &Identity,
        connection: &Connection,
        now: UnixTime,
    ) -> (Result<Grant, Denial>, Explanation) {
        self.policy.explain(&self.question(authenticator, identity, connection.info(), now))
    }

    /// Whether a condition was evaluated whose value depends on claims that the identity does not have.
    pub(crate) fn depends_on_claims(&self, steps: &[Step]) -> bool {
        steps.iter().any(|step| match step {
            Step::Binding { verdict: BindingVerdict::ConditionAbsent { .. }, .. } => true,
            Step::Binding {
                index,
                verdict: BindingVerdict::Matched | BindingVerdict::ConditionFalse,
            } => self.tests_claims.contains(index),
            _ => false,
        })
    }

    /// Whether an expression reads one of these parts of a connection, such as `client.name`.
    pub(crate) fn reads_connection(&self, mut fields: impl Iterator<Item = &'static str>) -> bool {
        fields.any(|field| self.connection_fields.contains(field))
    }

    /// Decides about an identity that another configuration has authenticated, whose policy uses the claims
    /// `known`. `None` if it depends on a claim that this configuration uses first and the identity does not have:
    /// perhaps nothing asked for it.
    pub(crate) fn resolve_request(
        &self,
        authenticator: &str,
        identity: &Identity,
        request: &AuthRequest,
        known: &ClaimNames,
    ) -> Option<Result<Grant, Denial>> {
        let connection = ConnectionInfo::of(request);
        let question = self.question(authenticator, identity, connection, request.received());
        if !self.lacks_claims(identity, known) {
            return Some(self.policy.resolve(&question));
        }
        let (result, Explanation { steps, .. }) = self.policy.explain(&question);
        let is_unsafe =
            matches!(&result, Err(denial) if denial.reason == Reason::UnsafeTemplateValue);
        // Entries of the operator's files have no claims under any configuration.
        let depends = !self.is_own_file(authenticator) && self.depends_on_claims(&steps);
        (!is_unsafe && !depends).then_some(result)
    }

    fn lacks_claims(&self, identity: &Identity, known: &ClaimNames) -> bool {
        if self.used_claims.is_within(known) {
            return false;
        }
        let known = known.names().unwrap_or_default();
        let used = self.used_claims.names().unwrap_or_default();
        used.iter().any(|name| !identity.claims.contains_key(*name) && !known.contains(name))
    }

    /// Whether identities of an authenticator can bring permissions or roles that only its backend knows.
    pub(crate) fn proposes(&self, authenticator: &str) -> bool {
        let without = ["users", "service_tokens", "oidc", "introspection", "certificate", "ldap"];
        self.kinds.get(authenticator).is_some_and(|kind| !without.contains(kind))
    }

    pub(crate) fn has_authenticator(&self, name: &str) -> bool {
        self.kinds.contains_key(name)
    }

    fn question<'a>(
        &'a self,
        authenticator: &'a str,
        identity: &'a Identity,
        connection: ConnectionInfo<'a>,
        now: UnixTime,
    ) -> ResolveRequest<'a> {
        ResolveRequest {
            authenticator,
            identity,
            connection,
            callout_account: self.callout_account.as_deref(),
            now,
        }
    }

    /// Every identity in the operator's own files: users entries and services, by authenticator.
    pub(crate) fn entries(&self, now: UnixTime) -> Vec<(Arc<str>, Identity)> {
        let mut entries = Vec::new();
        for link in self.chain.links().iter().filter(|link| self.is_own_file(&link.name)) {
            let mut visit = |identity| entries.push((Arc::clone(&link.name), identity));
            link.authenticator.lookup().and_then(|lookup| lookup.for_each(now, &mut visit));
        }
        entries.sort_by(|one, other| (&one.0, &one.1.user).cmp(&(&other.0, &other.1.user)));
        entries
    }

    /// Whether all identities of an authenticator are in files of the operator, so that an identity which is
    /// not there does not exist.
    pub(crate) fn is_own_file(&self, authenticator: &str) -> bool {
        matches!(self.kinds.get(authenticator), Some(&"users" | &"service_tokens"))
    }
}
