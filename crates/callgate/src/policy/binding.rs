//! Which identities get which roles and account.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{condition::Expression, index::Index, inputs::Inputs, role::Role, template::Template};

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

impl BindingRole {
    /// The role, if it is the operator's own word.
    pub(super) fn literal(&self) -> Option<&Role> {
        match self {
            Self::Literal(role) => Some(role),
            Self::Template(_) => None,
        }
    }
}

/// All bindings, to be found by authenticator.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    all: Vec<Arc<Binding>>,
    by_authenticator: BTreeMap<Arc<str>, OfOne>,
}

/// The bindings that can match an identity of one authenticator, in order.
#[derive(Debug, Default)]
struct OfOne {
    list: Vec<Arc<Binding>>,
    index: Index,
}

impl Bindings {
    /// Adds a binding for these authenticators.
    pub(super) fn add(&mut self, binding: Arc<Binding>, authenticators: Vec<Arc<str>>) {
        for name in authenticators {
            let OfOne { list, index } = self.by_authenticator.entry(name).or_default();
            index.add(list.len(), binding.when.as_ref());
            list.push(Arc::clone(&binding));
        }
        self.all.push(binding);
    }

    /// Those that are for `authenticator`, in order.
    pub(super) fn of(&self, authenticator: &str) -> &[Arc<Binding>] {
        self.by_authenticator.get(authenticator).map_or(&[], |of_one| of_one.list.as_slice())
    }

    /// Those of them that have to be looked at, in order: the conditions of the others are false.
    pub(super) fn candidates(
        &self,
        authenticator: &str,
        inputs: &Inputs<'_>,
    ) -> Vec<&Arc<Binding>> {
        let Some(OfOne { list, index }) = self.by_authenticator.get(authenticator) else {
            return Vec::new();
        };
        match index.candidates(inputs) {
            Some(places) => places.into_iter().filter_map(|place| list.get(place)).collect(),
            None => list.iter().collect(),
        }
    }

    /// The others: looked up only to be told.
    pub(super) fn others(&self, authenticator: &str) -> impl Iterator<Item = &Arc<Binding>> {
        let mine = self.of(authenticator);
        self.all.iter().filter(move |one| !mine.iter().any(|own| Arc::ptr_eq(own, one)))
    }
}
