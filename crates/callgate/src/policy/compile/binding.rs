//! Bindings: which identities get which roles and account.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{binding_index::BindingIndex, role::Role};
use crate::template::{Template, expression::Expression};

/// A compiled binding.
#[derive(Debug)]
pub(in crate::policy) struct Binding {
    /// Its position in the configuration.
    pub(in crate::policy) index: usize,
    /// True for `authenticator = "*"`, which names no authenticator.
    pub(in crate::policy) every: bool,
    pub(in crate::policy) when: Option<Expression>,
    pub(in crate::policy) account: Option<BindingAccount>,
    pub(in crate::policy) roles: Vec<BindingRole>,
    pub(in crate::policy) otherwise: bool,
    pub(in crate::policy) expires_after: Option<Duration>,
}

/// The account of a binding.
#[derive(Debug)]
pub(in crate::policy) enum BindingAccount {
    /// Chosen by the operator.
    Literal(String),
    /// Chosen by outside data.
    Template(Template),
}

/// A role of a binding.
#[derive(Debug)]
pub(in crate::policy) enum BindingRole {
    /// Chosen by the operator.
    Literal(Arc<Role>),
    /// Chosen by outside data.
    Template(Template),
}

impl Binding {
    /// The roles that the operator chose.
    pub(super) fn literal_roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.iter().filter_map(|role| match role {
            BindingRole::Literal(role) => Some(&**role),
            BindingRole::Template(_) => None,
        })
    }

    pub(super) fn has_template_role(&self) -> bool {
        self.roles.iter().any(|role| matches!(role, BindingRole::Template(_)))
    }

    pub(super) fn has_template_account(&self) -> bool {
        matches!(self.account, Some(BindingAccount::Template(_)))
    }
}

/// All bindings, by authenticator.
#[derive(Debug, Default)]
pub(in crate::policy) struct Bindings {
    all: Vec<Arc<Binding>>,
    by_authenticator: BTreeMap<Arc<str>, AuthenticatorBindings>,
}

/// The bindings that can match an identity of one authenticator, in order.
#[derive(Debug, Default)]
pub(in crate::policy) struct AuthenticatorBindings {
    pub(in crate::policy) list: Vec<Arc<Binding>>,
    pub(in crate::policy) index: BindingIndex,
}

impl Bindings {
    /// Adds a binding for these authenticators.
    pub(super) fn add(&mut self, binding: Arc<Binding>, authenticators: Vec<Arc<str>>) {
        for name in authenticators {
            let AuthenticatorBindings { list, index } =
                self.by_authenticator.entry(name).or_default();
            index.add(list.len(), binding.when.as_ref());
            list.push(Arc::clone(&binding));
        }
        self.all.push(binding);
    }

    /// All bindings.
    pub(in crate::policy) fn all(&self) -> impl Iterator<Item = &Binding> {
        self.all.iter().map(|binding| &**binding)
    }

    /// The bindings for `authenticator` with their index.
    pub(in crate::policy) fn indexed(&self, authenticator: &str) -> Option<&AuthenticatorBindings> {
        self.by_authenticator.get(authenticator)
    }

    /// The bindings for `authenticator`, in order.
    pub(in crate::policy) fn of(&self, authenticator: &str) -> &[Arc<Binding>] {
        self.indexed(authenticator).map_or(&[], |bindings| bindings.list.as_slice())
    }

    /// The bindings for other authenticators, which only `explain` shows.
    pub(in crate::policy) fn others(
        &self,
        authenticator: &str,
    ) -> impl Iterator<Item = &Arc<Binding>> {
        let own = self.of(authenticator);
        self.all.iter().filter(move |one| !own.iter().any(|other| Arc::ptr_eq(other, one)))
    }
}
