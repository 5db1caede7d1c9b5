//! Which parts of a policy the tests reach.

use std::collections::{BTreeMap, BTreeSet};

use callgate::{
    clock::UnixTime,
    policy::{BindingVerdict, RoleVerdict, Step},
};
use serde_json::{Value, json};

use crate::rehearsal::Rehearsal;

/// Parts of a policy, and whether a test reached them.
#[derive(Debug)]
pub(super) struct Coverage {
    parts: BTreeMap<Part, bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The binding matched.
    Binding(usize),
    /// The condition of the binding was true, or false.
    Condition(usize, bool),
    /// The role contributed.
    Role(String),
    /// The entry was the identity of a test: authenticator and user.
    Entry(String, String),
}

impl Part {
    fn text(&self) -> String {
        match self {
            Self::Binding(index) => format!("bindings[{index}]"),
            Self::Condition(index, value) => format!("bindings[{index}].when is never {value}"),
            Self::Role(name) => format!("role `{name}`"),
            Self::Entry(authenticator, user) => format!("entry `{authenticator}/{user}`"),
        }
    }
}

impl Coverage {
    /// All parts of the policy, none of them reached.
    pub(super) fn of(rehearsal: &Rehearsal, now: UnixTime) -> Self {
        let policy = rehearsal.policy();
        let bindings = policy.binding_views().into_iter().flat_map(|view| {
            let conditions = [true, false].map(|value| Part::Condition(view.index, value));
            let conditions = conditions.into_iter().filter(move |_| view.has_condition);
            [Part::Binding(view.index)].into_iter().chain(conditions)
        });
        let roles = policy.role_names().map(|name| Part::Role(name.to_owned()));
        let entries = rehearsal.entries(now).into_iter();
        let entries = entries.map(|(name, identity)| Part::Entry(name.to_string(), identity.user));
        let parts = bindings.chain(roles).chain(entries).map(|part| (part, false)).collect();
        Self { parts }
    }

    fn mark(&mut self, part: &Part) {
        if let Some(reached) = self.parts.get_mut(part) {
            *reached = true;
        }
    }

    pub(super) fn reached_entry(&mut self, authenticator: &str, user: &str) {
        self.mark(&Part::Entry(authenticator.to_owned(), user.to_owned()));
    }

    pub(super) fn reached(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Binding { index, verdict: BindingVerdict::Matched } => {
                    self.mark(&Part::Binding(*index));
                    self.mark(&Part::Condition(*index, true));
                }
                Step::Binding {
                    index,
                    verdict: BindingVerdict::ConditionFalse | BindingVerdict::ConditionAbsent { .. },
                } => self.mark(&Part::Condition(*index, false)),
                Step::Role { name, verdict: RoleVerdict::Contributes, .. } => {
                    self.mark(&Part::Role(name.clone()));
                }
                _ => {}
            }
        }
    }

    /// Parts reached, and parts in all.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.parts.values().filter(|reached| **reached).count(), self.parts.len())
    }

    /// In whole percent, rounded down; 100 for a policy without parts.
    pub(super) fn percent(&self) -> u64 {
        let (reached, all) = self.counts();
        (reached as u64 * 100).checked_div(all as u64).unwrap_or(100)
    }

    /// What no test reached, in words.
    pub(super) fn missing(&self) -> Vec<String> {
        let missing = self.parts.iter().filter(|(_, reached)| !**reached);
        missing.map(|(part, _)| part.text()).collect()
    }

    pub(super) fn to_json(&self) -> Value {
        let mut missing: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (part, _) in self.parts.iter().filter(|(_, reached)| !**reached) {
            let (kind, name) = match part {
                Part::Binding(index) => ("bindings", index.to_string()),
                Part::Condition(index, value) => {
                    ("conditions", format!("bindings[{index}].when: {value}"))
                }
                Part::Role(name) => ("roles", name.clone()),
                Part::Entry(authenticator, user) => ("entries", format!("{authenticator}/{user}")),
            };
            missing.entry(kind).or_default().insert(name);
        }
        let (reached, all) = self.counts();
        json!({ "reached": reached, "all": all, "percent": self.percent(), "missing": missing })
    }
}
