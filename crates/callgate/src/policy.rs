//! Who may do what: an immutable snapshot that turns an identity into a grant.
//!
//! Pure and synchronous: no I/O, no logging, and the time is an argument. [`Policy::build`]
//! checks and precompiles everything that the operator wrote, so that [`Policy::resolve`] has only
//! the identity left to look at.

pub mod settings;

mod access;
mod accounts;
mod binding;
mod build;
mod ceiling;
mod condition;
mod expiry;
mod explain;
mod fault;
mod grant;
mod index;
mod inputs;
mod jetstream;
mod lint;
mod permission_templates;
mod permission_warnings;
mod request;
mod resolve;
mod role;
pub(crate) mod scope;
mod template;
pub(crate) mod times;

use std::{collections::BTreeMap, sync::Arc};

pub use access::AccessVerdict;
pub use accounts::{AccountPattern, Accounts};
pub use explain::{BindingVerdict, Enforcer, Explanation, RoleVerdict, Step};
pub use fault::{PolicyFault, PolicyWarning};
pub use grant::Grant;
pub use permission_templates::{PermissionList, PermissionTemplates, TemplateError};
pub use permission_warnings::PermissionWarning;
pub use request::{ConnectionInfo, ResolveRequest};
pub use template::encode;

use binding::Bindings;
use ceiling::Ceiling;
use role::Role;

use crate::{permissions, record::Denial};

/// The operator's rules, checked and precompiled. Never changes: a new configuration is a new one.
#[derive(Debug)]
pub struct Policy {
    roles: BTreeMap<Arc<str>, Arc<Role>>,
    bindings: Bindings,
    authenticators: BTreeMap<Arc<str>, AuthenticatorRules>,
    accounts: Accounts,
    session: settings::SessionSettings,
    warnings: Vec<PolicyWarning>,
}

/// What one authenticator's table says about its identities.
#[derive(Debug, Default)]
struct AuthenticatorRules {
    account: Option<String>,
    expires_after: Option<std::time::Duration>,
    user_prefix: String,
    ceiling: Ceiling,
    defaults: Option<Arc<Role>>,
}

impl Policy {
    /// Checks and precompiles what the operator wrote.
    ///
    /// # Errors
    /// Every fault at once, each with the path of its key.
    pub fn build(settings: settings::PolicySettings) -> Result<Self, Vec<PolicyFault>> {
        build::build(settings)
    }

    /// What works, but probably not as its writer thinks.
    pub fn warnings(&self) -> &[PolicyWarning] {
        &self.warnings
    }

    /// The accounts, and who may be placed where.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// True if an operator's own file may name this account; loaders warn about others.
    pub fn knows_account(&self, name: &str) -> bool {
        self.accounts.knows(name)
    }

    /// True if something beside the identity's own source may say in which account this
    /// authenticator's identities are placed. Without it whoever has none is refused.
    pub fn may_name_account(&self, authenticator: &str) -> bool {
        let rules = self.authenticators.get(authenticator);
        self.accounts.default_account().is_some()
            || rules.is_some_and(|rules| rules.account.is_some())
            || self.bindings.of(authenticator).iter().any(|binding| binding.account.is_some())
    }

    /// The names of all roles, in order.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(|name| &**name)
    }

    /// Decides what the identity in `request` may do.
    ///
    /// # Errors
    /// If it may not come in, says why; the detail is for the operator only.
    pub fn resolve(&self, request: &ResolveRequest<'_>) -> Result<Grant, Denial> {
        resolve::resolve(self, request, &mut explain::Silent)
    }

    /// The same decision by the same code, and how it came about.
    pub fn explain(&self, request: &ResolveRequest<'_>) -> (Result<Grant, Denial>, Explanation) {
        let mut explanation = Explanation::default();
        let result = resolve::resolve(self, request, &mut explanation);
        (result, explanation)
    }
}

#[cfg(test)]
mod tests;
