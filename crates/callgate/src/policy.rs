//! What an identity may do: an immutable policy that resolves an identity to a grant.
//!
//! Pure and synchronous: no I/O, no logging, and the time is an argument. [`Policy::build`] checks
//! and compiles the configuration (`compile`), [`Policy::resolve`] makes one decision (`resolve`),
//! and [`Policy::explain`] makes the same decision and returns its steps (`explain`).

pub mod settings;

mod accounts;
mod compare;
mod compile;
mod explain;
mod grant;
mod request;
mod resolve;
mod role_view;
pub(crate) mod scope;
pub(crate) mod time_windows;
mod used_claims;

use std::{collections::BTreeMap, sync::Arc};

pub use self::{
    accounts::{AccountPattern, Accounts},
    compare::{
        GrantDifference, PastGrant, Replaced, ResponsesDifference, SideDifference, SubjectReach,
    },
    compile::{PolicyFault, PolicyWarning},
    explain::{AccessVerdict, Explanation},
    grant::Grant,
    request::{ConnectionInfo, ResolveRequest},
    resolve::trace::{BindingVerdict, Enforcer, RoleVerdict, Step},
    role_view::{BindingView, RoleView, SubjectTemplate, TemplatePiece},
    used_claims::ClaimNames,
};
pub use crate::template::{decode, encode};

use self::{
    compile::{AuthenticatorRules, binding::Bindings, role::Role},
    resolve::trace::NoTrace,
};
use crate::reason::Denial;

/// The operator's rules, checked and compiled. Immutable: a changed configuration is a new policy.
#[derive(Debug)]
pub struct Policy {
    roles: BTreeMap<Arc<str>, Arc<Role>>,
    bindings: Bindings,
    authenticators: BTreeMap<Arc<str>, AuthenticatorRules>,
    accounts: Accounts,
    session: settings::SessionSettings,
    warnings: Vec<PolicyWarning>,
}

impl Policy {
    /// Checks and compiles the settings.
    ///
    /// # Errors
    /// All errors, each with the path of its key.
    pub fn build(settings: settings::PolicySettings) -> Result<Self, Vec<PolicyFault>> {
        compile::compile(settings)
    }

    /// Parts of the policy that work, but probably not as intended.
    pub fn warnings(&self) -> &[PolicyWarning] {
        &self.warnings
    }

    /// The accounts, and the check of who may be placed in which.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// True if an operator's own file may name this account; loaders warn about others.
    pub fn knows_account(&self, name: &str) -> bool {
        self.accounts.knows(name)
    }

    /// True if the configuration can name an account for identities of this authenticator. Otherwise
    /// an identity without an account of its own is refused.
    pub fn may_name_account(&self, authenticator: &str) -> bool {
        let rules = self.authenticators.get(authenticator);
        self.accounts.default_account().is_some()
            || rules.is_some_and(|rules| rules.account.is_some())
            || self.bindings.of(authenticator).iter().any(|binding| binding.account.is_some())
    }

    /// What the authenticator prepends to every user.
    pub fn user_prefix(&self, authenticator: &str) -> &str {
        self.authenticators.get(authenticator).map_or("", |rules| &rules.user_prefix)
    }

    /// The names of all roles, sorted.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(|name| &**name)
    }

    /// Decides what the identity in `request` may do.
    ///
    /// # Errors
    /// The reason for a refusal; its detail is for the operator only.
    pub fn resolve(&self, request: &ResolveRequest<'_>) -> Result<Grant, Denial> {
        resolve::resolve(self, request, &mut NoTrace)
    }
}

#[cfg(test)]
mod tests;
