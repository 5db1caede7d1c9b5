//! The ceiling of an authenticator: the most that outside data may request.

use crate::{
    permissions::Responses,
    policy::accounts::AccountPattern,
    subject::{SubjectPattern, SubscribePattern},
    template::{Pattern, Template},
};

/// A compiled ceiling. The default allows nothing.
#[derive(Debug, Default)]
pub(in crate::policy) struct Ceiling {
    pub(in crate::policy) accounts: Vec<CeilingAccount>,
    pub(in crate::policy) roles: Vec<String>,
    pub(in crate::policy) publish: Vec<Pattern<SubjectPattern>>,
    pub(in crate::policy) subscribe: Vec<Pattern<SubscribePattern>>,
    pub(in crate::policy) responses: Option<Responses>,
}

/// An account that outside data may name.
#[derive(Debug)]
pub(in crate::policy) enum CeilingAccount {
    /// A name or a pattern.
    Pattern(AccountPattern),
    /// A name with placeholders.
    Template(Template),
}

impl Ceiling {
    /// True if nothing that outside data requests is granted.
    pub(super) fn allows_nothing(&self) -> bool {
        let Self { accounts, roles, publish, subscribe, responses } = self;
        accounts.is_empty()
            && roles.is_empty()
            && publish.is_empty()
            && subscribe.is_empty()
            && responses.is_none()
    }
}
