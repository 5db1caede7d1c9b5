//! The account in which an identity is placed.

use std::sync::Arc;

use super::{
    NamedBy, Resolver,
    fill::ValueRule,
    fill_denial,
    trace::{Step, Trace},
};
use crate::{
    authn::Origin,
    policy::compile::binding::{Binding, BindingAccount},
    reason::{Denial, Reason},
    template::Template,
};

impl<T: Trace> Resolver<'_, '_, '_, T> {
    /// The account that the entry or the bindings name. Each named account must be allowed, and all
    /// must be the same.
    pub(super) fn named_account(
        &mut self,
        bindings: &[Arc<Binding>],
    ) -> Result<Option<(String, Origin)>, Denial> {
        let mut named: Vec<(String, Origin, NamedBy)> = Vec::new();
        if let Some(account) = &self.proposal().account {
            let origin = self.proposal().origin;
            named.push((account.clone(), origin, NamedBy::Source));
        }
        for binding in bindings {
            let from = NamedBy::AccountOfBinding(binding.index);
            match &binding.account {
                None => {}
                Some(BindingAccount::Literal(account)) => {
                    named.push((account.clone(), Origin::Operator, from));
                }
                Some(BindingAccount::Template(template)) => {
                    named.push((self.fill_account(template, from)?, Origin::Outside, from));
                }
            }
        }
        for (account, origin, from) in &named {
            self.check_account(account, *origin, *from)?;
        }
        let mut named = named.into_iter();
        let Some((account, origin, from)) = named.next() else { return Ok(None) };
        if let Some((other, _, other_from)) = named.find(|(other, ..)| *other != account) {
            let detail = format!("{from} names `{account}`, {other_from} names `{other}`");
            return Err(Denial::new(Reason::AccountConflict, detail));
        }
        Ok(Some((account, origin)))
    }

    /// The account of the authenticator, or else `default_account`.
    pub(super) fn default_account(&mut self) -> Result<(String, Origin), Denial> {
        let policy = self.policy;
        let of_authenticator =
            self.rules.account.as_deref().map(|name| (name, NamedBy::Authenticator));
        let default =
            || policy.accounts.default_account().map(|name| (name, NamedBy::DefaultAccount));
        let Some((account, from)) = of_authenticator.or_else(default) else {
            let detail = "no account: neither the identity's source, nor a binding, nor the \
                          authenticator names one, and there is no default_account";
            return Err(Denial::new(Reason::NoAccount, detail));
        };
        self.check_account(account, Origin::Operator, from)?;
        Ok((account.to_owned(), Origin::Operator))
    }

    fn fill_account(&self, template: &Template, from: NamedBy) -> Result<String, Denial> {
        let filled = template
            .fill(self.inputs, ValueRule::Text)
            .map_err(|error| fill_denial(from, error))?;
        match <[String; 1]>::try_from(filled) {
            Ok([account]) => Ok(account),
            Err(several) => {
                let why = format!("{from}: {} accounts instead of one", several.len());
                Err(Denial::new(Reason::UnsafeTemplateValue, why))
            }
        }
    }

    fn check_account(
        &mut self,
        account: &str,
        origin: Origin,
        from: NamedBy,
    ) -> Result<(), Denial> {
        self.trace.record(|| Step::Account { name: account.to_owned(), from: from.to_string() });
        let in_ceiling = |name: &str| self.rules.ceiling.allows_account(name, self.inputs);
        self.policy
            .accounts
            .check(account, origin, self.request.callout_account, in_ceiling)
            .map_err(|denial| Denial { detail: format!("{from}: {}", denial.detail), ..denial })
    }
}
