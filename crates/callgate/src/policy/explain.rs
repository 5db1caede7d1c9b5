//! How a decision came about, told by the same code that makes it.

use serde::Serialize;

/// Takes notes. Without a listener they are never even written.
pub(super) trait Trace {
    /// Whether somebody listens: for questions that are asked only to be told.
    const LISTENS: bool;

    fn note(&mut self, step: impl FnOnce() -> Step);
}

/// Nobody listens.
#[derive(Debug)]
pub(super) struct Silent;

impl Trace for Silent {
    const LISTENS: bool = false;

    fn note(&mut self, _step: impl FnOnce() -> Step) {}
}

/// The steps of one decision, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What was looked at, and what came of it.
    pub steps: Vec<Step>,
}

impl Trace for Explanation {
    const LISTENS: bool = true;

    fn note(&mut self, step: impl FnOnce() -> Step) {
        self.steps.push(step());
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// A binding.
    Binding {
        /// Its place in `[[bindings]]`, from 0.
        index: usize,
        /// What came of it.
        verdict: BindingVerdict,
    },
    /// A role.
    Role {
        /// Its name.
        name: String,
        /// Who gave it.
        from: String,
        /// What came of it.
        verdict: RoleVerdict,
    },
    /// Permissions of the identity's own entry.
    OwnPermissions {
        /// What came of them.
        verdict: RoleVerdict,
    },
    /// No role, no permissions and no binding: everything inside the account.
    Unrestricted,
    /// Somebody names an account.
    Account {
        /// The account.
        name: String,
        /// Who names it.
        from: String,
    },
    /// Something ends the session.
    Ends {
        /// When, in seconds since 1970.
        at: i64,
        /// What.
        because: String,
    },
    /// A permission.
    Permission {
        /// `publish`, `subscribe` or `responses`.
        side: &'static str,
        /// `allow` or `deny`.
        kind: &'static str,
        /// The rule.
        rule: String,
        /// Which role, or the entry.
        from: String,
    },
    /// What narrows the connection: from where, how, and when.
    Limit {
        /// `source`, `connection_types` or `times`.
        limit: &'static str,
        /// What is open.
        value: String,
        /// Whose limit it is.
        from: String,
        /// Who enforces it.
        enforced_by: Enforcer,
    },
    /// Who enforces what.
    Enforced {
        /// What.
        what: &'static str,
        /// Who.
        by: Enforcer,
    },
    /// Something that the operator should know.
    Remark {
        /// What.
        text: String,
    },
}

/// Who sees to it that a part of a grant is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcer {
    /// nats-server, for as long as the session lasts.
    NatsServer,
    /// Callgate, at the moment of the decision.
    Callgate,
}

/// What came of a binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum BindingVerdict {
    /// It matched and contributes.
    Matched,
    /// It is for other authenticators.
    OtherAuthenticator,
    /// The entry has an account, permissions or roles of its own, and the binding does not name
    /// the authenticator.
    NotNamed,
    /// The condition is false.
    ConditionFalse,
    /// The condition looks at something that the identity does not have.
    ConditionAbsent {
        /// What.
        name: String,
    },
    /// `otherwise`, and another one matched.
    OtherMatched,
}

/// What came of a role, or of an entry's own permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum RoleVerdict {
    /// It contributes.
    Contributes,
    /// One of its conditions fails.
    Fails {
        /// Which.
        reason: &'static str,
        /// Why.
        detail: String,
    },
    /// Outside data named it, and the ceiling does not allow it, or nothing was left of it.
    Dropped,
}
