//! Names of accounts, which servers in operator mode call by their keys.

use std::{collections::HashMap, sync::Arc};

/// The accounts of a configuration. In configuration mode there are none, since a server uses the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccountNames {
    names: HashMap<String, Arc<str>>,
    ids: HashMap<Arc<str>, String>,
}

impl AccountNames {
    /// From names and public keys.
    pub(crate) fn new(accounts: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut names = Self::default();
        for (name, id) in accounts {
            let name: Arc<str> = name.into();
            names.ids.insert(Arc::clone(&name), id.clone());
            names.names.insert(id, name);
        }
        names
    }

    /// The name of the account that a server calls `id`; `id` itself if it is unknown.
    pub(crate) fn name(&self, id: &str) -> Arc<str> {
        self.names.get(id).map_or_else(|| id.into(), Arc::clone)
    }

    /// What a server calls this account.
    pub(crate) fn id<'a>(&'a self, name: &'a str) -> &'a str {
        self.ids.get(name).map_or(name, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_accounts_keep_what_the_server_calls_them() {
        let names = AccountNames::new([("APP".to_owned(), "AKEY".to_owned())]);
        assert_eq!([&*names.name("AKEY"), &*names.name("AOTHER")], ["APP", "AOTHER"]);
        assert_eq!(
            [names.id("APP"), names.id("OTHER"), names.id("AKEY")],
            ["AKEY", "OTHER", "AKEY"]
        );
    }
}
