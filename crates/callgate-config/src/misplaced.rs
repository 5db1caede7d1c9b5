//! Where a key that is unknown here probably belongs.

use callgate::suggest::{did_you_mean, is_misspelled};

/// "; did you mean `x`?", or the table that the key belongs to, or nothing. `elsewhere` has keys of other
/// tables, each with a description of its table.
pub(crate) fn suggestion<'a>(
    name: &str,
    among: impl IntoIterator<Item = &'a str>,
    elsewhere: &[(&'static str, String)],
) -> String {
    let belongs = |is_meant: &dyn Fn(&str) -> bool| {
        let (key, place) = elsewhere.iter().find(|(key, _)| is_meant(key))?;
        Some(format!("; `{key}` belongs to {place}"))
    };
    let here = || Some(did_you_mean(name, among)).filter(|text| !text.is_empty());
    belongs(&|key| key == name)
        .or_else(here)
        .or_else(|| belongs(&|key| is_misspelled(name, key)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_another_table_gets_a_hint() {
        let elsewhere = [
            ("default_account", "the top level".to_owned()),
            ("level", "[log]".to_owned()),
            ("creds", "[nats]".to_owned()),
        ];
        let table = [
            ("default_account", "; `default_account` belongs to the top level"),
            ("default_acount", "; `default_account` belongs to the top level"),
            ("callout_acount", "; did you mean `callout_account`?"),
            ("strange", ""),
            ("redis", ""),
        ];
        for (name, expected) in table {
            assert_eq!(suggestion(name, ["account", "callout_account"], &elsewhere), expected);
        }
    }
}
