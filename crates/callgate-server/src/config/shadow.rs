//! `[shadow]`.

use std::path::PathBuf;

use callgate_authenticators::kind::Registry;
use callgate_config::{Key, Table, Type};

/// `[shadow]`.
#[derive(Debug, Clone)]
pub(crate) struct ShadowSettings {
    pub(crate) config: PathBuf,
    pub(crate) registry: Registry,
}

pub(super) const KEYS: &[Key] = &[Key::required(
    "config",
    Type::Path,
    "the candidate. Each identity that logs in is also resolved with its accounts, roles, bindings, ceilings and \
     `[session]`, after the answer; differences are counted and logged. It is reloaded when it changes",
)];

/// The candidate, if there is one. Whether it can be used does not concern this configuration.
pub(super) fn read(root: &mut Table<'_>, registry: &Registry) -> Option<ShadowSettings> {
    let mut table = root.table("shadow")?;
    if !table.has("config") {
        table.fault_here("`config` is missing");
    }
    let config = table.file_name("config");
    table.finish();
    Some(ShadowSettings { config: config?, registry: registry.clone() })
}
