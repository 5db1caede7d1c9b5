//! Roles with a scope: what the server may put into the templates of their keys, and which entries can never
//! have what such a role promises.
//!
//! The server fills a template after no more than a syntax check, and a value `>` would be a wildcard
//! (nats-server auth.go, `processUserPermissionsTemplate`).

use super::{Policy, accounts::Accounts, grant::shown, role::Role};
use crate::{
    authn::Proposal,
    connection::ConnectionKinds,
    subject::{SubjectToken, is_reserved_first_token},
};

/// The user's name fills `{{name()}}`.
///
/// # Errors
/// Says what is wrong with it, to follow the name.
pub(crate) fn literal_name(name: &str) -> Result<(), &'static str> {
    literal_token(name)?;
    literal_value(name)
}

/// Of a tag `team:red`, `{{tag(team)}}` is filled with what follows the colon; which colon, the template
/// says.
///
/// # Errors
/// As [`literal_name`].
pub(crate) fn literal_tag(tag: &str) -> Result<(), &'static str> {
    literal_token(tag)?;
    for (_, value) in tag.match_indices(':').map(|(colon, _)| tag.split_at(colon + 1)) {
        literal_value(value)?;
    }
    // nats-io/jwt `TagList` lower-cases: `Red` would have what is meant for `red`.
    match tag.to_lowercase() == tag {
        true => Ok(()),
        false => Err("has capitals, which the server would lower"),
    }
}

impl Policy {
    /// Why an entry of the operator's own files never has what a role with a scope promises; nothing if it
    /// may. Loaders warn about it. `user` is as the entry has it, without the authenticator's prefix.
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
            own: permissions.map(|_| proposal.connection_types.unwrap_or_default()),
        }
        .mistakes(&self.accounts)
    }
}

/// What somebody is given at once, by an entry or a binding.
pub(super) struct RoleCombination<'a> {
    pub(super) roles: Vec<&'a Role>,
    pub(super) account: Option<&'a str>,
    pub(super) user: Option<String>,
    /// The kinds of connection in which permissions without a role count, if there are any.
    pub(super) own: Option<ConnectionKinds>,
}

impl RoleCombination<'_> {
    /// Why whoever is given this is refused, as far as it is certain.
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
        Some(format!("the user name `{}` {why}", shown(user)))
    }

    /// An account that is not known at all is told of by itself.
    fn no_key(&self, scope: &str, accounts: &Accounts) -> Option<String> {
        let account = self.account.filter(|account| accounts.knows(account))?;
        let missing = !accounts.has_scope(account, scope);
        let account = shown(account);
        missing.then(|| format!("account `{account}` has no scoped signing key `{scope}`"))
    }

    /// What counts whenever the scoped role does.
    fn conflict(&self, scoped: &Role) -> Option<String> {
        let other = self.roles.iter().find(|other| {
            other.name != scoped.name
                && other.source.is_none()
                && other.times.is_none()
                && scoped.kinds.is_within(other.kinds)
        });
        let other = other.map(|other| format!("role `{}`", other.name));
        let own = self.own.filter(|kinds| scoped.kinds.is_within(*kinds));
        let what = other.or_else(|| own.map(|_| "`permissions`".to_owned()))?;
        Some(format!("combines with nothing, but here with {what}"))
    }
}

fn literal_token(text: &str) -> Result<(), &'static str> {
    if text.parse::<SubjectToken>().is_err() || text.contains(['{', '}']) {
        return Err("is not one literal subject token");
    }
    match is_reserved_first_token(text) {
        true => Err("would open subjects that are reserved"),
        false => Ok(()),
    }
}

/// Where in a subject the template has it only the account's JWT says, so it may be the beginning: `$js`
/// would open `$js.>`, and servers and clients have their replies below `_`.
fn literal_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("has nothing after a colon, where a template would have one token");
    }
    match value.starts_with(['$', '_']) {
        true => Err("would fill a template with `$…` or `_…`, and could open what is reserved"),
        false => Ok(()),
    }
}
