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
        binding::{AuthenticatorBindings, Binding},
        binding_index::{BindingIndex, ClaimIndex},
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
            policy.bindings.of(authenticator).iter().collect()
        } else {
            let bindings = policy.bindings.indexed(authenticator);
            bindings.map(|bindings| bindings.candidates(self.inputs)).unwrap_or_default()
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

impl AuthenticatorBindings {
    /// The bindings that can match, in order: the conditions of all others are false.
    fn candidates(&self, inputs: &Inputs<'_>) -> Vec<&Arc<Binding>> {
        let Self { list, index } = self;
        match index.candidates(inputs) {
            Some(positions) => {
                positions.into_iter().filter_map(|position| list.get(position)).collect()
            }
            None => list.iter().collect(),
        }
    }
}

impl BindingIndex {
    /// The positions of bindings that can match, in order. `None` means all of them: an input exceeds
    /// its limit, and every condition that uses it must report that.
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
        for (name, ClaimIndex { by_value, all }) in &self.claims {
            match identity.claims.get(name) {
                Some(Json::String(value)) => {
                    positions.extend(by_value.get(value).into_iter().flatten());
                }
                // Absent, or of another type: only the interpreter knows the result.
                Some(_) | None => positions.extend(all),
            }
        }
        Some(positions)
    }
}
