//! Which identities get which roles and account.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{condition::Expression, role::Role, template::Template};

/// A checked binding.
#[derive(Debug)]
pub(super) struct Binding {
    /// Its place in the configuration.
    pub(super) index: usize,
    /// True for `"*"`, which names nobody.
    pub(super) every: bool,
    pub(super) when: Option<Expression>,
    pub(super) account: Option<BindingAccount>,
    pub(super) roles: Vec<BindingRole>,
    pub(super) otherwise: bool,
    pub(super) expires_after: Option<Duration>,
}

/// The account of a binding.
#[derive(Debug)]
pub(super) enum BindingAccount {
    /// The operator's own word.
    Literal(String),
    /// Outside data.
    Template(Template),
}

/// A role of a binding.
#[derive(Debug)]
pub(super) enum BindingRole {
    /// The operator's own word.
    Literal(Arc<Role>),
    /// Outside data.
    Template(Template),
}

/// All bindings, to be found by authenticator.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) all: Vec<Arc<Binding>>,
    pub(super) by_authenticator: BTreeMap<Arc<str>, Vec<Arc<Binding>>>,
}

impl Bindings {
    /// Those that can match an identity of `authenticator`, in order.
    pub(super) fn of(&self, authenticator: &str) -> &[Arc<Binding>] {
        self.by_authenticator.get(authenticator).map_or(&[], Vec::as_slice)
    }

    /// The others: looked up only to be told.
    pub(super) fn others(&self, authenticator: &str) -> impl Iterator<Item = &Arc<Binding>> {
        let mine = self.of(authenticator);
        self.all.iter().filter(move |one| !mine.iter().any(|own| Arc::ptr_eq(own, one)))
    }
}
