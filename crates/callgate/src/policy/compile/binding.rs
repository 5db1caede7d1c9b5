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
    /// Those for every authenticator, once for all of them.
    every: IndexedBindings,
    by_authenticator: BTreeMap<Arc<str>, IndexedBindings>,
}

/// Bindings in order, and their index.
#[derive(Debug, Default)]
pub(in crate::policy) struct IndexedBindings {
    pub(in crate::policy) list: Vec<Arc<Binding>>,
    pub(in crate::policy) index: BindingIndex,
}

impl Bindings {
    /// No bindings for these authenticators.
    pub(super) fn for_authenticators(names: &[Arc<str>]) -> Self {
        let none = names.iter().map(|name| (Arc::clone(name), IndexedBindings::default()));
        Self { by_authenticator: none.collect(), ..Self::default() }
    }

    /// Adds a binding for every authenticator.
    pub(super) fn add_for_every(&mut self, binding: Arc<Binding>) {
        self.every.list.push(Arc::clone(&binding));
        self.all.push(binding);
    }

    /// Adds a binding for these authenticators.
    pub(super) fn add(&mut self, binding: Arc<Binding>, authenticators: Vec<Arc<str>>) {
        for name in authenticators {
            self.by_authenticator.entry(name).or_default().list.push(Arc::clone(&binding));
        }
        self.all.push(binding);
    }

    /// Indexes all bindings, after the last one was added.
    pub(super) fn index(mut self) -> Self {
        for bindings in self.by_authenticator.values_mut().chain([&mut self.every]) {
            bindings.index = BindingIndex::new(&bindings.list);
        }
        self
    }

    /// All bindings.
    pub(in crate::policy) fn all(&self) -> impl Iterator<Item = &Binding> {
        self.all.iter().map(|binding| &**binding)
    }

    /// The bindings that can apply to an identity of `authenticator`: its own, and those of every one.
    pub(in crate::policy) fn indexed(
        &self,
        authenticator: &str,
    ) -> impl Iterator<Item = &IndexedBindings> {
        let own = self.by_authenticator.get(authenticator);
        own.into_iter().flat_map(|own| [own, &self.every])
    }

    /// The bindings for `authenticator`, in order.
    pub(in crate::policy) fn of(&self, authenticator: &str) -> Vec<&Arc<Binding>> {
        let mut bindings: Vec<_> =
            self.indexed(authenticator).flat_map(|bindings| &bindings.list).collect();
        bindings.sort_by_key(|binding| binding.index);
        bindings
    }

    /// The bindings for other authenticators, which only `explain` shows.
    pub(in crate::policy) fn others(
        &self,
        authenticator: &str,
    ) -> impl Iterator<Item = &Arc<Binding>> {
        let own = self.of(authenticator);
        let is_own =
            move |one: &Binding| own.binary_search_by_key(&one.index, |own| own.index).is_ok();
        self.all.iter().filter(move |one| !is_own(one))
    }
}
