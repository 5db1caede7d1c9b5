//! Tags, and grants under a scoped signing key.

use std::collections::BTreeSet;

use super::{Entitlements, Resolver, fill::ValueRule, fill_denial, trace::Trace, unsafe_value};
use crate::{
    policy::scope::{literal_name, literal_tag},
    reason::{Denial, Reason},
    sanitize::excerpt,
};

impl<T: Trace> Resolver<'_, '_, '_, T> {
    pub(super) fn tags(&mut self, entitlements: &Entitlements) -> Result<Vec<String>, Denial> {
        let mut tags = BTreeSet::new();
        for role in &entitlements.roles {
            for template in &role.tags {
                let filled = template
                    .fill(self.inputs, ValueRule::Text)
                    .map_err(|error| fill_denial(format!("tags of role `{}`", role.name), error))?;
                tags.extend(filled);
            }
        }
        Ok(tags.into_iter().collect())
    }

    /// Checks the account, the user name and the tags of a grant under a scoped signing key.
    /// nats-server inserts name and tags into the key's template and checks only the syntax.
    pub(super) fn check_scoped(
        &self,
        scope: &str,
        account: &str,
        tags: &[String],
    ) -> Result<(), Denial> {
        if !self.policy.accounts.has_scope(account, scope) {
            let detail = format!("account `{account}` has no scoped signing key `{scope}`");
            return Err(Denial::new(Reason::PolicyError, detail));
        }
        let literal = |what: &str, text: &str, checked: Result<(), &'static str>| {
            checked.map_err(|why| {
                unsafe_value(format!("scope `{scope}`: the {what} `{}` {why}", excerpt(text)))
            })
        };
        literal("user name", self.inputs.user, literal_name(self.inputs.user))?;
        tags.iter().try_for_each(|tag| literal("tag", tag, literal_tag(tag)))
    }
}
