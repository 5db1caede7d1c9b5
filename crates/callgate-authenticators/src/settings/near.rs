//! The right name for a mistyped one.

/// How alike two names must be (0 to 1) to be worth a suggestion.
const ALIKE: f64 = 0.7;

/// The candidate that looks most like `name`, if any looks like it at all.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let scored = candidates.into_iter().map(|candidate| {
        let distance = strsim::normalized_damerau_levenshtein(&name, &candidate.to_lowercase());
        (distance.max(strsim::jaro_winkler(&name, candidate) - 0.1), candidate)
    });
    scored
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// "; did you mean `x`?", or nothing.
pub(crate) fn suggestion<'a>(name: &str, among: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, among).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}
