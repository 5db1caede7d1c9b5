//! From an identity to a grant: the order of the steps is the security argument.

mod limits;
mod roles;
mod union;

use std::{fmt, sync::Arc};

use super::{
    AuthenticatorRules, Policy,
    binding::{Binding, BindingAccount},
    condition::EvalError,
    expiry::Expiry,
    explain::{BindingVerdict, Enforcer, Step, Trace},
    grant::{Dropped, Grant, shown},
    inputs::Inputs,
    permissions::{Access, Permissions},
    request::ResolveRequest,
    role::{Role, check_kind, check_source},
    template::{FillError, MAX_SUBJECTS, Rule, Template},
};
use limits::{Limits, listed};

use crate::{
    authn::{Origin, Proposal},
    connection::ConnectionKind,
    record::{Denial, Reason},
};

const NO_RULES: &AuthenticatorRules = &AuthenticatorRules {
    account: None,
    expires_after: None,
    user_prefix: String::new(),
    ceiling: super::Ceiling {
        accounts: Vec::new(),
        roles: Vec::new(),
        publish: Vec::new(),
        subscribe: Vec::new(),
        responses: None,
    },
    defaults: None,
};

/// Decides what an identity may do.
pub(super) fn resolve<T: Trace>(
    policy: &Policy,
    request: &ResolveRequest<'_>,
    trace: &mut T,
) -> Result<Grant, Denial> {
    let mut dropped = Dropped::default();
    match granted(policy, request, trace, &mut dropped) {
        Ok(grant) => Ok(Grant { dropped, ..grant }),
        Err(denial) => Err(Denial { ceiling_dropped: dropped.into(), ..denial }),
    }
}

fn granted<T: Trace>(
    policy: &Policy,
    request: &ResolveRequest<'_>,
    trace: &mut T,
    dropped: &mut Dropped,
) -> Result<Grant, Denial> {
    let rules = policy.authenticators.get(request.authenticator).unwrap_or(NO_RULES);
    let user = format!("{}{}", rules.user_prefix, request.identity.user);
    let inputs = Inputs::new(&user, request);
    let (mut expiry, mut limits) = (Expiry::new(request.now), Limits::default());

    check_entry(request, &mut expiry, &mut limits, trace)?;
    let mut resolver = Resolver { policy, rules, request, inputs: &inputs, trace, expiry, limits };
    let bindings = resolver.matching_bindings()?;
    let named = resolver.named_account(&bindings)?;
    let found = resolver.contributions(&bindings, dropped)?;
    let access = resolver.access(&found)?;
    let (account, account_origin) = match named {
        Some(named) => named,
        None => resolver.default_account()?,
    };
    let tags = resolver.tags(&found)?;
    if let Access::Scoped(scope) = &access {
        resolver.check_scoped(scope, &account, &tags)?;
    }
    let Resolver { trace, mut expiry, limits, .. } = resolver;
    expiry.after(rules.expires_after, trace, || "the authenticator's expires_after".to_owned());
    expiry.after(policy.session.max_lifetime, trace, || "session.max_lifetime".to_owned());
    let expires_at = expiry.spread(policy.session.jitter, request.connection.user_nkey, trace);
    tell_enforcement(trace, &access, &limits);
    let roles = found.roles.iter().map(|role| role.name.to_string()).collect();
    Ok(Grant {
        account,
        account_origin,
        user: user.clone(),
        access,
        expires_at,
        tags,
        roles,
        dropped: Dropped::default(),
    })
}

/// What refuses by itself, before any rule is looked at.
fn check_entry<T: Trace>(
    request: &ResolveRequest<'_>,
    expiry: &mut Expiry,
    limits: &mut Limits,
    trace: &mut T,
) -> Result<(), Denial> {
    let ResolveRequest { identity, connection, now, .. } = request;
    if connection.client.connection == ConnectionKind::Unknown {
        let detail = format!(
            "unknown kind of connection `{}`, type `{}`",
            shown(&connection.client.kind),
            shown(&connection.client.kind_of_client)
        );
        return Err(Denial::new(Reason::ConnectionTypeNotAllowed, detail));
    }
    if let Some(end) = identity.expires_at
        && end <= *now
    {
        return Err(Denial::new(Reason::TokenExpired, format!("the credential ended at {end}")));
    }
    let Proposal { source, connection_types, expires_after, .. } = &identity.proposal;
    let from = || "the entry".to_owned();
    if let Some(networks) = source {
        limits.tell(trace, "source", || listed(networks), from);
    }
    if let Some(kinds) = connection_types {
        limits.tell(trace, "connection_types", || kinds.to_string(), from);
        check_kind(*kinds, connection, &identity.user)?;
    }
    check_source(source.as_deref(), connection, &identity.user)?;
    expiry.at(identity.expires_at, trace, || "the credential".to_owned());
    expiry.after(*expires_after, trace, || "the entry's expires_after".to_owned());
    Ok(())
}

struct Resolver<'p, 'q, 'i, T> {
    policy: &'p Policy,
    rules: &'p AuthenticatorRules,
    request: &'q ResolveRequest<'q>,
    inputs: &'i Inputs<'q>,
    trace: &'q mut T,
    expiry: Expiry,
    limits: Limits,
}

/// What an identity has.
#[derive(Default)]
struct Found {
    /// Roles whose conditions hold.
    roles: Vec<Arc<Role>>,
    /// The entry's own permissions.
    own: Option<Permissions>,
    /// Everything inside the account.
    unrestricted: bool,
    /// The first condition that failed.
    failed: Option<Denial>,
}

impl<T: Trace> Resolver<'_, '_, '_, T> {
    fn proposal(&self) -> &Proposal {
        &self.request.identity.proposal
    }

    /// An entry of the operator's with something of its own is touched only by bindings that name
    /// its authenticator.
    fn has_own(&self) -> bool {
        let Proposal { origin, account, roles, permissions, .. } = self.proposal();
        *origin == Origin::Operator
            && (account.is_some() || roles.is_some() || permissions.is_some())
    }

    fn matching_bindings(&mut self) -> Result<Vec<Arc<Binding>>, Denial> {
        let policy = self.policy;
        let authenticator = self.request.authenticator;
        let mine: Vec<&Arc<Binding>> = if T::LISTENS {
            for other in policy.bindings.others(authenticator) {
                self.tell_binding(other, BindingVerdict::OtherAuthenticator);
            }
            // All of them: each has its verdict told.
            policy.bindings.of(authenticator).iter().collect()
        } else {
            policy.bindings.candidates(authenticator, self.inputs)
        };
        let mut matched = Vec::new();
        for binding in mine.iter().filter(|binding| !binding.otherwise) {
            if self.matches(binding)? {
                matched.push(Arc::clone(binding));
            }
        }
        let nobody_else = matched.is_empty();
        for binding in mine.iter().filter(|binding| binding.otherwise) {
            if !nobody_else {
                self.tell_binding(binding, BindingVerdict::OtherMatched);
            } else if self.matches(binding)? {
                matched.push(Arc::clone(binding));
            }
        }
        for binding in &matched {
            self.expiry.after(binding.expires_after, self.trace, || {
                format!("bindings[{}].expires_after", binding.index)
            });
        }
        Ok(matched)
    }

    fn tell_binding(&mut self, binding: &Binding, verdict: BindingVerdict) {
        self.trace.note(|| Step::Binding { index: binding.index, verdict });
    }

    fn matches(&mut self, binding: &Binding) -> Result<bool, Denial> {
        if binding.every && self.has_own() {
            self.tell_binding(binding, BindingVerdict::NotNamed);
            return Ok(false);
        }
        let value = binding.when.as_ref().map_or(Ok(true), |when| when.is_true(self.inputs));
        let (matched, verdict) = match value {
            Ok(true) => (true, BindingVerdict::Matched),
            Ok(false) => (false, BindingVerdict::ConditionFalse),
            Err(EvalError::Absent(name)) => (false, BindingVerdict::ConditionAbsent { name }),
            Err(error) => {
                let detail = format!("bindings[{}].when: {error}", binding.index);
                return Err(Denial::new(Reason::PolicyError, detail));
            }
        };
        self.tell_binding(binding, verdict);
        Ok(matched)
    }

    /// The account that the entry or the bindings name; every one named must be allowed, and all
    /// must be the same.
    fn named_account(
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
                    named.push((self.account_of(template, from)?, Origin::Outside, from));
                }
            }
        }
        for (account, origin, from) in &named {
            self.check_account(account, *origin, *from)?;
        }
        let mut named = named.into_iter();
        let Some((account, origin, from)) = named.next() else { return Ok(None) };
        if let Some((other, _, other_from)) = named.find(|(other, ..)| *other != account) {
            let detail = format!("{from} says `{account}`, {other_from} says `{other}`");
            return Err(Denial::new(Reason::AccountConflict, detail));
        }
        Ok(Some((account, origin)))
    }

    fn account_of(&self, template: &Template, from: NamedBy) -> Result<String, Denial> {
        let filled =
            template.fill(self.inputs, Rule::Text).map_err(|error| refused(from, error))?;
        match <[String; 1]>::try_from(filled) {
            Ok([account]) => Ok(account),
            Err(several) => {
                let why = format!("{from}: {} accounts where one is needed", several.len());
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
        self.trace.note(|| Step::Account { name: account.to_owned(), from: from.to_string() });
        let in_ceiling = |name: &str| self.rules.ceiling.allows_account(name, self.inputs);
        self.policy
            .accounts
            .check(account, origin, self.request.callout_account, in_ceiling)
            .map_err(|denial| Denial { detail: format!("{from}: {}", denial.detail), ..denial })
    }

    fn default_account(&mut self) -> Result<(String, Origin), Denial> {
        let policy = self.policy;
        let of_authenticator =
            self.rules.account.as_deref().map(|name| (name, NamedBy::Authenticator));
        let default =
            || policy.accounts.default_account().map(|name| (name, NamedBy::DefaultAccount));
        let Some((account, from)) = of_authenticator.or_else(default) else {
            let detail = "nothing names an account: not the identity's source, no binding, not the \
                          authenticator, and there is no default_account";
            return Err(Denial::new(Reason::NoAccount, detail));
        };
        self.check_account(account, Origin::Operator, from)?;
        Ok((account.to_owned(), Origin::Operator))
    }
}

/// Who names an account or a role; written out only if somebody is told.
#[derive(Clone, Copy)]
enum NamedBy {
    Source,
    Entry,
    Authenticator,
    Defaults,
    DefaultAccount,
    Binding(usize),
    AccountOfBinding(usize),
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("the identity's source"),
            Self::Entry => f.write_str("the entry"),
            Self::Authenticator => f.write_str("the authenticator"),
            Self::Defaults => f.write_str("the authenticator's defaults"),
            Self::DefaultAccount => f.write_str("default_account"),
            Self::Binding(index) => write!(f, "bindings[{index}]"),
            Self::AccountOfBinding(index) => write!(f, "bindings[{index}].account"),
        }
    }
}

fn unsafe_value(why: String) -> Denial {
    Denial::new(Reason::UnsafeTemplateValue, why)
}

fn refused(whose: impl fmt::Display, error: FillError) -> Denial {
    match error {
        FillError::Unsafe(why) => unsafe_value(format!("{whose}: {why}")),
        FillError::Failed(why) => Denial::new(Reason::PolicyError, format!("{whose}: {why}")),
        FillError::TooMany => Denial::new(
            Reason::GrantTooLarge,
            format!("{whose}: more than {MAX_SUBJECTS} subjects, roles or tags"),
        ),
    }
}

/// Who sees to what (facts about nats-server 2.10 to 2.15).
fn tell_enforcement<T: Trace>(trace: &mut T, access: &Access, limits: &Limits) {
    let by_server: &[&'static str] = match access {
        Access::Unrestricted => &["account", "expiry"],
        Access::Limited(permissions) if permissions.responses.is_none() => {
            &["account", "expiry", "publish", "subscribe"]
        }
        Access::Limited(_) => &["account", "expiry", "publish", "subscribe", "responses"],
        Access::Scoped(_) => &["account", "expiry", "scope"],
    };
    for what in by_server {
        trace.note(|| Step::Enforced { what, by: Enforcer::NatsServer });
    }
    for what in limits.kinds() {
        trace.note(|| Step::Enforced { what, by: Enforcer::Callgate });
    }
}
