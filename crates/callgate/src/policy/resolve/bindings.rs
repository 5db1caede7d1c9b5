//! The bindings that match an identity.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value as Json;

use super::{
    Resolver,
    evaluate::EvalError,
    inputs::Inputs,
    trace::{BindingVerdict, Step, Trace},
};
use crate::{
    policy::compile::{
        binding::{Binding, IndexedBindings},
        binding_index::{BindingIndex, ClaimIndex, ClaimTest},
    },
    reason::{Denial, Reason},
};

impl<T: Trace> Resolver<'_, '_, '_, T> {
    pub(super) fn matching_bindings(&mut self) -> Result<Vec<Arc<Binding>>, Denial> {
        let policy = self.policy;
        let authenticator = self.request.authenticator;
        let candidates: Vec<&Arc<Binding>> = if T::ENABLED {
            for other in policy.bindings.others(authenticator) {
                self.record_binding(other, BindingVerdict::OtherAuthenticator);
            }
            // Without the index, so that each binding has a verdict.
            policy.bindings.of(authenticator)
        } else {
            candidates(policy.bindings.indexed(authenticator), self.inputs)
        };
        let mut matched = Vec::new();
        for binding in candidates.iter().filter(|binding| !binding.otherwise) {
            if self.matches(binding)? {
                matched.push(Arc::clone(binding));
            }
        }
        let use_otherwise = matched.is_empty();
        for binding in candidates.iter().filter(|binding| binding.otherwise) {
            if !use_otherwise {
                self.record_binding(binding, BindingVerdict::OtherMatched);
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

    fn matches(&mut self, binding: &Binding) -> Result<bool, Denial> {
        if binding.every && self.has_own() {
            self.record_binding(binding, BindingVerdict::NotNamed);
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
        self.record_binding(binding, verdict);
        Ok(matched)
    }

    fn record_binding(&mut self, binding: &Binding, verdict: BindingVerdict) {
        self.trace.record(|| Step::Binding { index: binding.index, verdict });
    }
}

/// The bindings that can match, in order: the conditions of all others are false.
fn candidates<'a>(
    bindings: impl Iterator<Item = &'a IndexedBindings>,
    inputs: &Inputs<'_>,
) -> Vec<&'a Arc<Binding>> {
    let mut candidates = Vec::new();
    for IndexedBindings { list, index } in bindings {
        match index.candidates(inputs) {
            Some(positions) => {
                candidates.extend(positions.into_iter().filter_map(|position| list.get(position)));
            }
            None => candidates.extend(list),
        }
    }
    candidates.sort_by_key(|binding| binding.index);
    candidates
}

impl BindingIndex {
    /// The positions of bindings that can match. `None` means all of them: an input exceeds its limit,
    /// and every condition that uses it must report that.
    fn candidates(&self, inputs: &Inputs<'_>) -> Option<BTreeSet<usize>> {
        if self.uses_groups {
            inputs.groups().ok()?;
        }
        inputs.variables_for(&self.used_claims).ok()?;
        let identity = inputs.request.identity;
        let mut positions: BTreeSet<usize> = self.unindexed.iter().copied().collect();
        positions.extend(self.users.get(inputs.user).into_iter().flatten());
        if !self.groups.is_empty() {
            positions.extend(
                identity.groups.iter().filter_map(|group| self.groups.get(group)).flatten(),
            );
        }
        if self.claims.is_empty() {
            return Some(positions);
        }
        for (name, value) in &identity.claims {
            for index in self.claims.get(name).into_iter().flatten() {
                index.add_candidates(value, &mut positions);
            }
        }
        let absent =
            self.absence_matters.iter().filter(|name| !identity.claims.contains_key(*name));
        for index in absent.filter_map(|name| self.claims.get(name)).flatten() {
            positions.extend(&index.if_absent);
        }
        Some(positions)
    }
}

impl ClaimIndex {
    /// Adds the bindings that can match an identity whose claim has this value.
    fn add_candidates(&self, claim: &Json, positions: &mut BTreeSet<usize>) {
        let mut value = claim;
        for member in &self.members {
            // Without members, only the interpreter knows the result.
            let Json::Object(members) = value else { return positions.extend(&self.all) };
            let Some(member) = members.get(member) else {
                return positions.extend(&self.if_absent);
            };
            value = member;
        }
        let of = |text: &str| self.by_value.get(text).into_iter().flatten();
        match (self.test, value) {
            (ClaimTest::Equals, Json::String(text)) => positions.extend(of(text)),
            (ClaimTest::Contains, Json::Array(list)) if list.iter().all(Json::is_string) => {
                positions.extend(list.iter().filter_map(Json::as_str).flat_map(of));
            }
            // Of another type: only the interpreter knows the result.
            (ClaimTest::Equals | ClaimTest::Contains, _) => positions.extend(&self.all),
        }
    }
}
