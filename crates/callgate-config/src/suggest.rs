//! Suggests a known name for a mistyped one.

/// The minimum similarity (0 to 1) for a suggestion.
const MIN_SIMILARITY: f64 = 0.7;

/// In characters.
const MIN_ABBREVIATION: usize = 3;

/// The candidate most similar to `name`, if any is similar enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let scored = candidates.into_iter().map(|candidate| (similarity(&name, candidate), candidate));
    scored
        .filter(|(score, _)| *score >= MIN_SIMILARITY)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

fn similarity(name: &str, candidate: &str) -> f64 {
    let distance = strsim::normalized_damerau_levenshtein(name, &candidate.to_lowercase());
    let alike = distance.max(strsim::jaro_winkler(name, candidate) - 0.1);
    if abbreviates(name, candidate) { alike.max(MIN_SIMILARITY) } else { alike }
}

/// True for `lvl` and `level`: the same first letter, and all letters occur in the same order.
fn abbreviates(name: &str, candidate: &str) -> bool {
    let mut letters = candidate.chars();
    name.chars().count() >= MIN_ABBREVIATION
        && name.chars().next() == candidate.chars().next()
        && name.chars().all(|wanted| letters.any(|letter| letter == wanted))
}

/// "; did you mean `x`?", or the table that the key belongs to, or nothing. `elsewhere` has keys of other
/// tables, each with a description of its table.
pub fn suggestion<'a>(
    name: &str,
    among: impl IntoIterator<Item = &'a str>,
    elsewhere: &[(&'static str, &'static str)],
) -> String {
    let belongs = |key: &str| {
        let (key, place) = elsewhere.iter().find(|(known, _)| *known == key)?;
        Some(format!("; `{key}` belongs to {place}"))
    };
    belongs(name)
        .or_else(|| Some(format!("; did you mean `{}`?", nearest(name, among)?)))
        .or_else(|| belongs(nearest(name, elsewhere.iter().map(|(key, _)| *key))?))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_found() {
        let known = ["format", "level", "password", "account", "max_lifetime"];
        let table = [
            ("lvl", Some("level")),
            ("levle", Some("level")),
            ("pwd", Some("password")),
            ("acount", Some("account")),
            ("maxLifetime", Some("max_lifetime")),
            ("max-lifetime", Some("max_lifetime")),
            ("l", None),
            ("elv", None),
            ("colour", None),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }

    #[test]
    fn key_of_another_table_gets_a_hint() {
        let elsewhere = [("default_account", "the top level"), ("level", "[log]")];
        let table = [
            ("default_account", "; `default_account` belongs to the top level"),
            ("default_acount", "; `default_account` belongs to the top level"),
            ("callout_acount", "; did you mean `callout_account`?"),
            ("strange", ""),
        ];
        for (name, expected) in table {
            assert_eq!(suggestion(name, ["account", "callout_account"], &elsewhere), expected);
        }
    }
}
