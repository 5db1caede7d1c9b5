//! Finds combinations of roles with a scope that are always refused.

use super::role::Role;
use crate::{
    authn::Proposal,
    connection::ConnectionKinds,
    policy::{Policy, accounts::Accounts, scope::literal_name},
    sanitize::excerpt,
};

impl Policy {
    /// Why an entry of an operator's own file never gets its role with a scope; empty if it may.
    /// Loaders warn about it. `user` is without the authenticator's prefix.
    pub fn scope_mistakes(
        &self,
        authenticator: &str,
        user: &str,
        proposal: &Proposal,
    ) -> Vec<String> {
        let names = proposal.roles.iter().flatten();
        let rules = self.authenticators.get(authenticator);
        let prefix = rules.map_or("", |rules| rules.user_prefix.as_str());
        let permissions = proposal.permissions.as_ref();
        RoleCombination {
            roles: names
                .filter_map(|name| self.roles.get(name.as_str()))
                .map(AsRef::as_ref)
                .collect(),
            account: proposal.account.as_deref(),
            user: Some(format!("{prefix}{user}")),
            permissions: permissions.map(|_| proposal.connection_types.unwrap_or_default()),
        }
        .mistakes(&self.accounts)
    }
}

/// What an entry or a binding gives together.
pub(super) struct RoleCombination<'a> {
    pub(super) roles: Vec<&'a Role>,
    pub(super) account: Option<&'a str>,
    pub(super) user: Option<String>,
    /// The connection types for which permissions besides the roles apply, if there are any.
    pub(super) permissions: Option<ConnectionKinds>,
}

impl RoleCombination<'_> {
    /// Why the combination is always refused, as far as this is certain.
    pub(super) fn mistakes(&self, accounts: &Accounts) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (role, scope) in self.roles.iter().filter_map(|role| Some((role, role.scope.as_ref()?)))
        {
            let found = [self.bad_name(), self.no_key(scope, accounts), self.conflict(role)];
            let refused =
                |why| format!("role `{}` has a scope, and {why}: always refused", role.name);
            mistakes.extend(found.into_iter().flatten().map(refused));
        }
        mistakes
    }

    fn bad_name(&self) -> Option<String> {
        let user = self.user.as_deref()?;
        let why = literal_name(user).err()?;
        Some(format!("the user name `{}` {why}", excerpt(user)))
    }

    /// Unknown accounts have a warning of their own.
    fn no_key(&self, scope: &str, accounts: &Accounts) -> Option<String> {
        let account = self.account.filter(|account| accounts.knows(account))?;
        let missing = !accounts.has_scope(account, scope);
        let account = excerpt(account);
        missing.then(|| format!("account `{account}` has no scoped signing key `{scope}`"))
    }

    /// Another role, or permissions, that apply whenever the scoped role applies.
    fn conflict(&self, scoped: &Role) -> Option<String> {
        let other = self.roles.iter().find(|other| {
            other.name != scoped.name
                && other.source.is_none()
                && other.times.is_none()
                && scoped.connection_types.is_within(other.connection_types)
        });
        let other = other.map(|other| format!("role `{}`", other.name));
        let permissions =
            self.permissions.filter(|kinds| scoped.connection_types.is_within(*kinds));
        let what = other.or_else(|| permissions.map(|_| "`permissions`".to_owned()))?;
        Some(format!("cannot be combined with {what}"))
    }
}
