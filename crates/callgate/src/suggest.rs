//! Suggests a known name for a mistyped one. The crates of this workspace share it; it is not part of the
//! library's interface.

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

/// "; did you mean `x`?", or nothing if no known name is similar enough.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
}

/// True if only a few characters differ.
pub fn is_misspelled(name: &str, candidate: &str) -> bool {
    strsim::normalized_damerau_levenshtein(name, candidate) >= MIN_SIMILARITY
}

fn similarity(name: &str, candidate: &str) -> f64 {
    let distance = strsim::normalized_damerau_levenshtein(name, &candidate.to_lowercase());
    let alike = distance.max(strsim::jaro_winkler(name, candidate) - 0.1);
    let is_close = abbreviates(name, candidate) || has_one_slip(name, candidate);
    if is_close { alike.max(MIN_SIMILARITY) } else { alike }
}

/// True if one character is missing, superfluous or wrong, or if two are swapped, as in `ipd`.
fn has_one_slip(name: &str, candidate: &str) -> bool {
    let shorter = name.chars().count().min(candidate.chars().count());
    shorter >= MIN_ABBREVIATION && strsim::damerau_levenshtein(name, candidate) == 1
}

/// True for `lvl` and `level`: the same first letter, and all letters occur in the same order.
fn abbreviates(name: &str, candidate: &str) -> bool {
    let mut letters = candidate.chars();
    name.chars().count() >= MIN_ABBREVIATION
        && name.chars().next() == candidate.chars().next()
        && name.chars().all(|wanted| letters.any(|letter| letter == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_found() {
        let known = ["format", "level", "password", "account", "max_lifetime", "idp"];
        let table = [
            ("lvl", Some("level")),
            ("levle", Some("level")),
            ("pwd", Some("password")),
            ("ipd", Some("idp")),
            ("acount", Some("account")),
            ("maxLifetime", Some("max_lifetime")),
            ("max-lifetime", Some("max_lifetime")),
            ("levvel", Some("level")),
            ("l", None),
            ("elv", None),
            ("colour", None),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }
}
