//! `[[expected]]`.

use callgate_config::{Key, Table, Type, schema::NETWORKS};

use crate::expected::ExpectedSources;

pub(super) const KEYS: &[Key] = &[
    Key::required("account", Type::Text, "the name of an account"),
    Key::required("sources", NETWORKS, "the networks that its users are expected to connect from"),
];

/// The networks of each account.
pub(super) fn read(root: &mut Table<'_>) -> ExpectedSources {
    let mut expected = ExpectedSources::new();
    for mut table in root.tables("expected") {
        let account = table.required_string("account");
        if !table.has("sources") {
            table.fault_here("`sources` is missing");
        }
        let sources = table.networks("sources");
        if let (Some(account), Some(sources)) = (account, sources) {
            expected.entry(account).or_default().extend(sources);
        }
        table.finish();
    }
    expected
}
