//! `[cache]`.

use callgate_authenticators::kind::CacheSettings;
use callgate_config::{Key, Table, Type};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "tokens",
        Type::Integer(0, 100_000_000),
        "number of verified bearer tokens to remember",
    )
    .or("100000"),
    Key::optional(
        "passwords",
        Type::Duration,
        "how long a correct password is remembered; `\"0s\"` disables the cache",
    )
    .or("\"60s\""),
];

pub(super) fn read(root: &mut Table<'_>) -> CacheSettings {
    let mut cache = CacheSettings::default();
    let Some(mut table) = root.table("cache") else { return cache };
    if let Some(tokens) = table.integer("tokens", 0..=100_000_000) {
        cache.tokens = usize::try_from(tokens).unwrap_or(cache.tokens);
    }
    if let Some(passwords) = table.duration("passwords") {
        cache.passwords = passwords;
    }
    table.finish();
    cache
}
