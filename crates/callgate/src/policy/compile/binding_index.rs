//! An index of bindings by what their conditions require, so that not every condition is evaluated.
//!
//! A conjunction is false if one of its operands is false, even if another one fails: CEL's `&&` is
//! commutative. So a condition such as `has(claims.tenant) && claims.tenant == "a"` is false for every
//! identity of another tenant. Conditions of any other form are always evaluated: the index changes only the
//! cost of a decision, never its outcome.

mod comparison;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

pub(in crate::policy) use self::comparison::ClaimTest;
use self::comparison::{ClaimComparison, Comparison, Requirements};
use super::binding::Binding;
use crate::template::check::UsedClaims;

/// Positions of bindings, by what their conditions require.
#[derive(Debug, Default)]
pub(in crate::policy) struct BindingIndex {
    pub(in crate::policy) groups: HashMap<String, Vec<usize>>,
    pub(in crate::policy) users: HashMap<String, Vec<usize>>,
    /// By the name of the claim.
    pub(in crate::policy) claims: HashMap<String, Vec<ClaimIndex>>,
    /// Claims without which some indexed condition is not simply false.
    pub(in crate::policy) absence_matters: BTreeSet<String>,
    /// Always evaluated.
    pub(in crate::policy) unindexed: Vec<usize>,
    /// Whether an indexed condition uses the groups.
    pub(in crate::policy) uses_groups: bool,
    /// The claims that indexed conditions use.
    pub(in crate::policy) used_claims: UsedClaims,
}

/// Positions of bindings that compare one value in the claims in one way.
#[derive(Debug)]
pub(in crate::policy) struct ClaimIndex {
    /// The members below the claim.
    pub(in crate::policy) members: Vec<String>,
    pub(in crate::policy) test: ClaimTest,
    pub(in crate::policy) by_value: HashMap<String, Vec<usize>>,
    /// Evaluated if the value has another type.
    pub(in crate::policy) all: Vec<usize>,
    /// Evaluated if the value is absent, because the rest of the condition may fail.
    pub(in crate::policy) if_absent: Vec<usize>,
}

impl BindingIndex {
    pub(super) fn new(bindings: &[Arc<Binding>]) -> Self {
        let mut index = Self::default();
        let requirements: Vec<Option<Requirements>> = bindings
            .iter()
            .map(|binding| binding.when.as_ref().and_then(|when| Requirements::of(&when.root)))
            .collect();
        let frequencies = frequencies(&requirements);
        let frequency = |comparison: &Comparison| frequencies.get(comparison).copied().unwrap_or(0);
        // A condition may require several things: the one that the fewest bindings require is the most selective.
        let selective = |either: &&Vec<Comparison>| either.iter().map(frequency).sum::<usize>();
        for (position, (binding, requirements)) in bindings.iter().zip(&requirements).enumerate() {
            let chosen = requirements.as_ref().and_then(|requirements| {
                Some((requirements, requirements.alternatives.iter().min_by_key(selective)?))
            });
            let Some((requirements, either)) = chosen else {
                index.unindexed.push(position);
                continue;
            };
            if let Some(when) = &binding.when {
                index.uses_groups |= when.uses_groups;
                index.used_claims.add(when.used_claims.clone());
            }
            for comparison in either {
                index.add(position, comparison, requirements);
            }
        }
        index
    }

    fn add(&mut self, position: usize, comparison: &Comparison, requirements: &Requirements) {
        match comparison {
            Comparison::Group(name) => {
                self.groups.entry(name.clone()).or_default().push(position);
            }
            Comparison::User(name) => {
                self.users.entry(name.clone()).or_default().push(position);
            }
            Comparison::Claim(ClaimComparison { name, members, test, value }) => {
                let indexes = self.claims.entry(name.clone()).or_default();
                let index = ClaimIndex::find_or_add(indexes, members, *test);
                let Some(index) = index else { return };
                index.by_value.entry(value.clone()).or_default().push(position);
                index.all.push(position);
                if !requirements.is_false_without(name, members) {
                    index.if_absent.push(position);
                    self.absence_matters.insert(name.clone());
                }
            }
        }
    }
}

/// How many conditions require each comparison.
fn frequencies(requirements: &[Option<Requirements>]) -> HashMap<&Comparison, usize> {
    let mut frequencies = HashMap::new();
    let alternatives = requirements.iter().flatten().flat_map(|one| &one.alternatives);
    for comparison in alternatives.flatten() {
        *frequencies.entry(comparison).or_insert(0) += 1;
    }
    frequencies
}

impl ClaimIndex {
    fn find_or_add<'a>(
        indexes: &'a mut Vec<Self>,
        members: &[String],
        test: ClaimTest,
    ) -> Option<&'a mut Self> {
        let found = indexes.iter().position(|index| index.members == members && index.test == test);
        let position = found.unwrap_or(indexes.len());
        if found.is_none() {
            indexes.push(Self {
                members: members.to_vec(),
                test,
                by_value: HashMap::new(),
                all: Vec::new(),
                if_absent: Vec::new(),
            });
        }
        indexes.get_mut(position)
    }
}
