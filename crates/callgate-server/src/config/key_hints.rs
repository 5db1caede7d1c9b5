//! Hints for keys that are written in the wrong table.

use std::collections::BTreeMap;

use callgate_authenticators::kind::Registry;
use callgate_config::{Key, Type};

use super::KEYS;

/// The keys of the top level and of its sections that exist in one table only, each with a description
/// of that table.
pub(super) fn key_hints(registry: &Registry) -> Vec<(&'static str, String)> {
    let mut uses = BTreeMap::new();
    let kinds: Vec<Key> = registry.keys().collect();
    count(KEYS, &mut uses);
    count(&kinds, &mut uses);
    let sections = KEYS
        .iter()
        .flat_map(|section| keys_in(section.value).iter().map(|key| (key.name, place(section))));
    let top = KEYS.iter().map(|key| (key.name, top_level(key)));
    top.chain(sections).filter(|(name, _)| uses.get(name) == Some(&1)).collect()
}

/// Counts in how many tables each name is a key.
fn count(keys: &[Key], uses: &mut BTreeMap<&'static str, usize>) {
    for key in keys {
        for name in [key.name].iter().chain(key.aliases) {
            *uses.entry(*name).or_default() += 1;
        }
        count(keys_in(key.value), uses);
    }
}

/// The keys of a table, of the tables of a list, or of those of a map.
fn keys_in(value: Type) -> &'static [Key] {
    match value {
        Type::Table(keys) => keys,
        Type::List(inner) | Type::Map(inner) | Type::Named(_, inner) => keys_in(*inner),
        Type::OneOf(types) => {
            types.iter().map(|one| keys_in(*one)).find(|keys| !keys.is_empty()).unwrap_or_default()
        }
        Type::Any
        | Type::Text
        | Type::Path
        | Type::Boolean
        | Type::Integer(..)
        | Type::Number(..)
        | Type::Duration
        | Type::Word(_)
        | Type::Secret
        | Type::Seed(_) => &[],
    }
}

fn top_level(key: &Key) -> String {
    match key.value {
        Type::List(_) => format!("the top level, as [[{}]]", key.name),
        _ => "the top level (in TOML: above the first [table])".to_owned(),
    }
}

fn place(section: &Key) -> String {
    match section.value {
        Type::List(_) => format!("[[{}]]", section.name),
        Type::Map(_) => format!("[{}.NAME]", section.name),
        _ => format!("[{}]", section.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BuildEnv, Overrides, load};

    #[test]
    fn every_hint_names_the_table_that_has_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callgate.toml");
        let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
        let env = BuildEnv::aside();
        for (key, place) in key_hints(&env.registry) {
            let unknown = |table: &str| {
                std::fs::write(&path, format!("{table}\n{key} = 7\n")).unwrap();
                let faults = load(&overrides, &env).report.faults();
                let ours = |fault: &&callgate_config::Fault| {
                    fault.path.ends_with(key) && fault.message.contains("unknown key")
                };
                faults.iter().find(ours).map(ToString::to_string)
            };
            let top = place.starts_with("the top level");
            assert_eq!(unknown(if top { "" } else { &place }), None, "{key}");
            let fault = unknown("[roles.r]").expect("a fault");
            assert!(fault.contains(&format!("`{key}` belongs to {place}")), "{fault}");
        }
    }
}
