//! The steps of a decision, recorded by the same code that decides.

use serde::Serialize;

/// Receives the steps. [`NoTrace`] never even builds them.
pub(in crate::policy) trait Trace {
    /// False if the steps go nowhere, so that work done only for them can be skipped.
    const ENABLED: bool;

    fn record(&mut self, step: impl FnOnce() -> Step);
}

/// Discards all steps.
#[derive(Debug)]
pub(in crate::policy) struct NoTrace;

impl Trace for NoTrace {
    const ENABLED: bool = false;

    fn record(&mut self, _step: impl FnOnce() -> Step) {}
}

/// One step of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// A binding was checked.
    Binding {
        /// Its position in `[[bindings]]`, from 0.
        index: usize,
        /// The result.
        verdict: BindingVerdict,
    },
    /// A role was checked.
    Role {
        /// Its name.
        name: String,
        /// What assigned it.
        from: String,
        /// The result.
        verdict: RoleVerdict,
    },
    /// The permissions of the identity's own entry were checked.
    OwnPermissions {
        /// The result.
        verdict: RoleVerdict,
    },
    /// No role, no permissions and no binding: unrestricted inside the account.
    Unrestricted,
    /// An account was named.
    Account {
        /// The account.
        name: String,
        /// What named it.
        from: String,
    },
    /// A limit on the session's lifetime.
    Ends {
        /// When it ends, in seconds since 1970.
        at: i64,
        /// Which limit.
        because: String,
    },
    /// A permission was added.
    Permission {
        /// `publish`, `subscribe` or `responses`.
        side: &'static str,
        /// `allow` or `deny`.
        kind: &'static str,
        /// The rule.
        rule: String,
        /// The role, or the entry.
        from: String,
    },
    /// Outside data requested something that the ceiling does not allow.
    Dropped {
        /// `publish`, `subscribe`, `responses` or `role`.
        kind: &'static str,
        /// The subject, the role's name, or the limits of the responses.
        requested: String,
        /// The list that lacks an entry, such as `ceiling.publish`.
        key: &'static str,
        /// The narrowest entry that would allow it; `None` if no entry can.
        missing: Option<String>,
        /// Why it was dropped.
        because: &'static str,
    },
    /// A limit on the connection: its source, its type, or the time of day.
    Limit {
        /// `source`, `connection_types` or `times`.
        limit: &'static str,
        /// What is allowed.
        value: String,
        /// The role or the entry that sets the limit.
        from: String,
        /// What enforces it.
        enforced_by: Enforcer,
    },
    /// What enforces a part of the grant.
    Enforced {
        /// The part.
        what: &'static str,
        /// What enforces it.
        by: Enforcer,
    },
    /// A remark for the operator.
    Remark {
        /// The remark.
        text: String,
    },
}

/// What enforces a part of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcer {
    /// nats-server, for the whole session.
    NatsServer,
    /// Callgate, at login.
    Callgate,
}

/// The result for a binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum BindingVerdict {
    /// It matches.
    Matched,
    /// It is for other authenticators.
    OtherAuthenticator,
    /// The entry has an account, permissions or roles of its own, and the binding does not name
    /// the authenticator.
    NotNamed,
    /// The condition is false.
    ConditionFalse,
    /// The condition uses something that the identity does not have.
    ConditionAbsent {
        /// The claim or variable.
        name: String,
    },
    /// It has `otherwise`, and another binding matches.
    OtherMatched,
}

/// The result for a role, or for an entry's own permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum RoleVerdict {
    /// It applies.
    Contributes,
    /// One of its conditions fails.
    Fails {
        /// The reason code.
        reason: &'static str,
        /// Why.
        detail: String,
    },
    /// Outside data requested it, and the ceiling allows nothing of it.
    Dropped,
}
