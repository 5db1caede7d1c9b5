//! `[session]`.

use callgate::policy::settings::SessionSettings;
use callgate_config::{Key, Table, Type};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "max_lifetime",
        Type::OneOf(&[Type::Duration, Type::Word(&["none"])]),
        "longest session. It also limits how long a removed user can stay connected",
    )
    .or("\"1h\""),
    Key::optional(
        "jitter",
        Type::Number(0.0, 0.9),
        "sessions end earlier by up to this fraction of their lifetime, never later",
    )
    .or("0.1"),
];

pub(super) fn read(root: &mut Table<'_>) -> SessionSettings {
    let mut settings = SessionSettings::default();
    let Some(mut table) = root.table("session") else { return settings };
    let without_end = table.raw("max_lifetime").is_some_and(|item| item.value() == "none");
    if without_end {
        settings.max_lifetime = None;
        table.warn(
            "max_lifetime",
            "sessions end only when the credential expires: a removed user stays connected",
        );
    } else if let Some(lifetime) = table.duration("max_lifetime") {
        // The policy rejects lifetimes that are too short.
        settings.max_lifetime = Some(lifetime);
    }
    if let Some(jitter) = table.number("jitter", 0.0..=0.9) {
        settings.jitter = jitter;
    }
    table.finish();
    settings
}
