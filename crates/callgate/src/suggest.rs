//! Suggests the known word that a misspelled one probably stands for.

/// `; did you mean …?`, or nothing if no known word is close to `wrong`.
pub(crate) fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(wrong, known).map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

/// The known word with the smallest edit distance to `wrong`, if that distance is small enough.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).max(1) + 1;
    known.map(|word| (distance(wrong, word), word)).filter(|(d, _)| *d <= limit).min().map(|p| p.1)
}

/// The Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut here = i + 1;
        next.push(here);
        for ((r, above), corner) in right.iter().zip(row.iter().skip(1)).zip(&row) {
            here = (above + 1).min(here + 1).min(corner + usize::from(l != *r));
            next.push(here);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_close_words_are_suggested() {
        let known = ["user", "groups", "claims"];
        assert_eq!(nearest("claim", known.into_iter()), Some("claims"));
        assert_eq!(nearest("group", known.into_iter()), Some("groups"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
    }
}
