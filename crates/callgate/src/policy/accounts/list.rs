//! The accounts of `[[accounts]]`, found by name: there may be thousands.

use std::collections::BTreeMap;

use super::AccountPattern;
use crate::policy::settings::AccountSettings;

/// Accounts by exact name, and patterns.
#[derive(Debug, Default)]
pub(in crate::policy) struct AccountList {
    exact: BTreeMap<String, AccountSettings>,
    patterns: Vec<(AccountPattern, AccountSettings)>,
}

impl AccountList {
    /// Adds an account; false if the same name or pattern is in the list.
    pub(super) fn add(&mut self, pattern: AccountPattern, settings: AccountSettings) -> bool {
        if pattern.is_literal() {
            return self.exact.insert(pattern.prefix, settings).is_none();
        }
        let is_new = self.patterns.iter().all(|(known, _)| *known != pattern);
        if is_new {
            self.patterns.push((pattern, settings));
        }
        is_new
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.matching(name).next().is_some()
    }

    /// What is configured for an account, by its name and by every pattern that matches it.
    pub(super) fn matching(&self, name: &str) -> impl Iterator<Item = &AccountSettings> {
        let patterns = self.patterns.iter().filter(move |(pattern, _)| pattern.matches(name));
        self.exact.get(name).into_iter().chain(patterns.map(|(_, settings)| settings))
    }

    /// All of them.
    pub(in crate::policy) fn all(&self) -> impl Iterator<Item = &AccountSettings> {
        self.exact.values().chain(self.patterns.iter().map(|(_, settings)| settings))
    }
}
