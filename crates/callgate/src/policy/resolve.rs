//! One decision: from an identity to a grant. The order of the steps is the security argument.
//!
//! Two rules that readers look for:
//! - `conditions::check_source` enforces the network (`source`) of a role or an entry.
//! - A grant may have an empty allow list, which allows nothing. The user JWT then denies `>`
//!   (`reply::user_claims::deny_all_unless_allowed`).

mod account;
mod bindings;
mod budget;
mod ceiling;
mod conditions;
mod evaluate;
mod expiry;
mod fill;
mod inputs;
mod permissions;
mod roles;
mod scoped;
pub(super) mod trace;

use std::{fmt, sync::Arc};

use self::{
    conditions::{LimitTrace, check_connection_type, check_source, joined},
    expiry::Expiry,
    fill::{FillError, MAX_FILLED_BYTES, MAX_SUBJECTS},
    inputs::Inputs,
    trace::{Enforcer, Step, Trace},
};
use super::{
    Policy,
    compile::{AuthenticatorRules, ceiling::Ceiling, role::Role},
    grant::{CeilingDrops, Grant},
    request::ResolveRequest,
};
use crate::{
    authn::{Origin, Proposal},
    connection::ConnectionKind,
    permissions::{Access, Permissions},
    reason::{Denial, Reason},
    sanitize::excerpt,
};

const NO_RULES: &AuthenticatorRules = &AuthenticatorRules {
    account: None,
    expires_after: None,
    user_prefix: String::new(),
    variables: &[],
    ceiling: Ceiling {
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
    let mut dropped = CeilingDrops::default();
    match grant(policy, request, trace, &mut dropped) {
        Ok(grant) => Ok(Grant { dropped, ..grant }),
        Err(denial) => Err(Denial { ceiling_dropped: dropped.into(), ..denial }),
    }
}

fn grant<T: Trace>(
    policy: &Policy,
    request: &ResolveRequest<'_>,
    trace: &mut T,
    dropped: &mut CeilingDrops,
) -> Result<Grant, Denial> {
    let rules = policy.authenticators.get(request.authenticator).unwrap_or(NO_RULES);
    let user = format!("{}{}", rules.user_prefix, request.identity.user);
    let inputs = Inputs::new(&user, request);
    let mut expiry = Expiry::new(request.now);
    let mut limits = LimitTrace::default();

    for note in &request.identity.notes {
        trace.record(|| Step::Remark { text: note.clone() });
    }
    check_identity(request, &mut expiry, &mut limits, trace)?;
    let mut resolver = Resolver { policy, rules, request, inputs: &inputs, trace, expiry, limits };
    let bindings = resolver.matching_bindings()?;
    let named_account = resolver.named_account(&bindings)?;
    let entitlements = resolver.entitlements(&bindings, dropped)?;
    let access = resolver.access(&entitlements)?;
    let (account, account_origin) = match named_account {
        Some(named) => named,
        None => resolver.default_account()?,
    };
    let tags = resolver.tags(&entitlements)?;
    if let Access::Scoped(scope) = &access {
        resolver.check_scoped(scope, &account, &tags)?;
    }
    let Resolver { trace, mut expiry, limits, .. } = resolver;
    expiry.after(rules.expires_after, trace, || "the authenticator's expires_after".to_owned());
    expiry.after(policy.session.max_lifetime, trace, || "session.max_lifetime".to_owned());
    let expires_at = expiry.spread(policy.session.jitter, request.connection.user_nkey, trace);
    record_enforcers(trace, &access, &limits);
    let roles = entitlements.roles.iter().map(|role| role.name.to_string()).collect();
    Ok(Grant {
        account,
        account_origin,
        user: user.clone(),
        access,
        expires_at,
        tags,
        roles,
        bindings: bindings.iter().map(|binding| binding.index).collect(),
        dropped: CeilingDrops::default(),
        notes: request.identity.notes.clone(),
    })
}

/// Refuses unknown connection types, expired credentials, and connections outside the limits of the
/// entry, before any rule applies.
fn check_identity<T: Trace>(
    request: &ResolveRequest<'_>,
    expiry: &mut Expiry,
    limits: &mut LimitTrace,
    trace: &mut T,
) -> Result<(), Denial> {
    let ResolveRequest { identity, connection, now, .. } = request;
    if connection.client.connection == ConnectionKind::Unknown {
        let detail = format!(
            "unknown connection kind `{}`, type `{}`",
            excerpt(&connection.client.kind),
            excerpt(&connection.client.kind_of_client)
        );
        return Err(Denial::new(Reason::ConnectionTypeNotAllowed, detail));
    }
    if let Some(end) = identity.expires_at
        && end <= *now
    {
        return Err(Denial::new(Reason::TokenExpired, format!("the credential expired at {end}")));
    }
    let Proposal { source, connection_types, expires_after, .. } = &identity.proposal;
    let from = || "the entry".to_owned();
    if let Some(networks) = source {
        limits.record(trace, "source", || joined(networks), from);
    }
    if let Some(kinds) = connection_types {
        limits.record(trace, "connection_types", || kinds.to_string(), from);
        check_connection_type(*kinds, connection, &identity.user)?;
    }
    check_source(source.as_deref(), connection, &identity.user)?;
    expiry.at(identity.expires_at, trace, || "the credential".to_owned());
    expiry.after(*expires_after, trace, || "the entry's expires_after".to_owned());
    Ok(())
}

/// The state of one decision.
struct Resolver<'p, 'q, 'i, T> {
    policy: &'p Policy,
    rules: &'p AuthenticatorRules,
    request: &'q ResolveRequest<'q>,
    inputs: &'i Inputs<'q>,
    trace: &'q mut T,
    expiry: Expiry,
    limits: LimitTrace,
}

/// Everything that an identity is entitled to.
#[derive(Default)]
struct Entitlements {
    /// Roles that apply.
    roles: Vec<Arc<Role>>,
    /// The entry's own permissions.
    own: Option<Permissions>,
    /// Everything inside the account.
    unrestricted: bool,
    /// The denial of the first condition that failed.
    failed: Option<Denial>,
}

impl<T: Trace> Resolver<'_, '_, '_, T> {
    fn proposal(&self) -> &Proposal {
        &self.request.identity.proposal
    }

    /// True for an operator's entry with an account, roles or permissions. Only bindings that name its
    /// authenticator apply to it.
    fn has_own(&self) -> bool {
        let Proposal { origin, account, roles, permissions, .. } = self.proposal();
        *origin == Origin::Operator
            && (account.is_some() || roles.is_some() || permissions.is_some())
    }
}

/// What names an account or a role. Formatted only for a trace or an error.
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

fn fill_denial(owner: impl fmt::Display, error: FillError) -> Denial {
    match error {
        FillError::Unsafe(why) => unsafe_value(format!("{owner}: {why}")),
        FillError::Failed(why) => Denial::new(Reason::PolicyError, format!("{owner}: {why}")),
        FillError::TooLarge => Denial::new(
            Reason::GrantTooLarge,
            format!(
                "{owner}: more than {MAX_SUBJECTS} subjects, roles or tags, or {MAX_FILLED_BYTES} \
                 bytes of them"
            ),
        ),
    }
}

/// Records what enforces each part of the grant (as in nats-server 2.10 to 2.15).
fn record_enforcers<T: Trace>(trace: &mut T, access: &Access, limits: &LimitTrace) {
    let by_server: &[&'static str] = match access {
        Access::Unrestricted => &["account", "expiry"],
        Access::Limited(permissions) if permissions.responses.is_none() => {
            &["account", "expiry", "publish", "subscribe"]
        }
        Access::Limited(_) => &["account", "expiry", "publish", "subscribe", "responses"],
        Access::Scoped(_) => &["account", "expiry", "scope"],
    };
    for what in by_server {
        trace.record(|| Step::Enforced { what, by: Enforcer::NatsServer });
    }
    for what in limits.kinds() {
        trace.record(|| Step::Enforced { what, by: Enforcer::Callgate });
    }
}
