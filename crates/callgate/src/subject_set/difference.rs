//! Describes the difference of two sets with as few patterns as possible.

use std::collections::BTreeSet;

use super::{Part, SubjectRange, SubjectSet, search::find};
use crate::subject::SubjectPattern;

/// The subjects of `set` that are not in `other`.
pub(super) fn ranges(set: &SubjectSet, other: &SubjectSet) -> Vec<SubjectRange> {
    let mut found = BTreeSet::new();
    let unconditional = other.without_exceptions();
    for Part { allow, except } in &set.parts {
        for pattern in allow.iter().filter(|pattern| !unconditional.contains(*pattern)) {
            found.extend(of_pattern(pattern, except, &other.near(pattern)));
        }
    }
    let all: Vec<SubjectRange> = found.into_iter().collect();
    let is_repeated = |range: &SubjectRange| {
        let wider = |one: &&SubjectRange| {
            *one != range
                && one.except.is_empty()
                && one.subject.covers(&range.subject)
                && (one.subject != range.subject || !range.except.is_empty())
        };
        all.iter().any(|one| wider(&one))
    };
    all.iter().filter(|range| !is_repeated(range)).cloned().collect()
}

/// The subjects of one allow without `except` that are not in `other`.
///
/// A subject is not in `other` because no allow there matches it, or because an exception does.
fn of_pattern(
    pattern: &SubjectPattern,
    except: &[SubjectPattern],
    other: &SubjectSet,
) -> Vec<SubjectRange> {
    let except: Vec<_> = except.iter().filter(|one| one.overlaps(pattern)).cloned().collect();
    let own = SubjectSet::allowing(std::slice::from_ref(pattern), &except);
    if other.is_disjoint(&own) {
        return match is_empty(&own) {
            true => Vec::new(),
            false => vec![narrowed(pattern, &except)],
        };
    }
    let allows: Vec<SubjectPattern> =
        other.parts.iter().flat_map(|part| part.allow.iter().cloned()).collect();
    let mut ranges = Vec::new();
    let unmatched =
        SubjectSet::allowing(std::slice::from_ref(pattern), &[&*except, &*allows].concat());
    if !is_empty(&unmatched) {
        match expressible(pattern, &allows).filter(|_| except.is_empty()) {
            Some(patterns) => ranges.extend(patterns.into_iter().map(SubjectRange::from)),
            None => ranges.push(narrowed(pattern, &[&*except, &*allows].concat())),
        }
    }
    ranges.extend(excepted(pattern, &except, other));
    ranges
}

/// The subjects that are not in `other` because an exception there matches them. An exception of one part
/// takes nothing away from another part, so only some of what it matches may be missing.
fn excepted(
    pattern: &SubjectPattern,
    except: &[SubjectPattern],
    other: &SubjectSet,
) -> Vec<SubjectRange> {
    let exceptions = other.parts.iter().flat_map(|part| &part.except);
    let common = exceptions.filter_map(|exception| pattern.common(exception));
    let taken =
        |common: &SubjectPattern| SubjectSet::allowing(std::slice::from_ref(common), except);
    let (whole, partial): (Vec<_>, Vec<_>) =
        common.partition(|common| taken(common).is_disjoint(other));
    let whole: Vec<_> = whole.into_iter().filter(|common| !is_empty(&taken(common))).collect();
    let known = SubjectSet::allowing(&whole, &[]);
    let missing = |common: &SubjectPattern| {
        let lost = find(&[(&taken(common), true), (other, false), (&known, false)]);
        !matches!(lost, Ok(None))
    };
    let partial = partial.into_iter().filter(missing);
    partial.chain(whole.iter().cloned()).map(|common| narrowed(&common, except)).collect()
}

/// A pattern with those parts of `except` that lie within it.
fn narrowed(pattern: &SubjectPattern, except: &[SubjectPattern]) -> SubjectRange {
    let within: BTreeSet<_> = except.iter().filter_map(|one| pattern.common(one)).collect();
    let widest =
        within.iter().filter(|one| !within.iter().any(|other| other != *one && other.covers(one)));
    SubjectRange { subject: pattern.clone(), except: widest.cloned().collect() }
}

fn is_empty(set: &SubjectSet) -> bool {
    matches!(find(&[(set, true)]), Ok(None))
}

/// `pattern` without `others`, if patterns can say it: `a.>` without `a.*` is `a.*.>`, but `a.*` without
/// `a.b` has no pattern.
fn expressible(pattern: &SubjectPattern, others: &[SubjectPattern]) -> Option<Vec<SubjectPattern>> {
    let mut rest = vec![pattern.clone()];
    for other in others {
        let mut next = Vec::new();
        for pattern in rest {
            next.extend(without(&pattern, other)?);
        }
        rest = next;
    }
    Some(rest)
}

/// One pattern without another, if patterns can say it.
fn without(pattern: &SubjectPattern, other: &SubjectPattern) -> Option<Vec<SubjectPattern>> {
    if !pattern.overlaps(other) {
        return Some(vec![pattern.clone()]);
    }
    if other.covers(pattern) {
        return Some(Vec::new());
    }
    // What is left is a matter of lengths, if `other` differs from `pattern` only in how many tokens
    // follow where `pattern` has `>`.
    let prefix = pattern.as_str().strip_suffix(">")?;
    let given = pattern.tokens().count() - 1;
    let covers = |(own, theirs): (&str, &str)| theirs == "*" || theirs == own;
    if !pattern.tokens().take(given).zip(other.tokens()).all(covers) {
        return None;
    }
    let following: Vec<&str> = other.tokens().skip(given).collect();
    let is_open = following.last() == Some(&">");
    let stars = following.len() - usize::from(is_open);
    if following.iter().take(stars).any(|token| *token != "*") {
        return None;
    }
    let shorter = if is_open { stars } else { stars.saturating_sub(1) };
    let mut left: Vec<String> =
        (1..=shorter).map(|count| format!("{prefix}{}", vec!["*"; count].join("."))).collect();
    if !is_open {
        left.push(format!("{prefix}{}>", "*.".repeat(stars)));
    }
    left.iter().map(|text| text.parse().ok()).collect()
}

impl SubjectSet {
    /// The allows whose every subject is in the set.
    fn without_exceptions(&self) -> BTreeSet<&SubjectPattern> {
        let parts = self.parts.iter().filter(|part| part.except.is_empty());
        parts.flat_map(|part| &part.allow).collect()
    }

    /// The patterns that match a subject of `pattern`.
    fn near(&self, pattern: &SubjectPattern) -> Self {
        let near = |list: &[SubjectPattern]| {
            list.iter().filter(|one| one.overlaps(pattern)).cloned().collect()
        };
        let parts = self.parts.iter();
        Self {
            parts: parts
                .map(|Part { allow, except }| Part { allow: near(allow), except: near(except) })
                .filter(|part| !part.allow.is_empty())
                .collect(),
        }
    }

    fn is_disjoint(&self, other: &Self) -> bool {
        matches!(self.find_common(other), Ok(None))
    }
}

impl SubjectPattern {
    /// The pattern of the subjects that both match; `None` if there is none.
    fn common(&self, other: &SubjectPattern) -> Option<SubjectPattern> {
        if !self.overlaps(other) {
            return None;
        }
        let mut tokens = Vec::new();
        let mut mine = self.tokens();
        let mut theirs = other.tokens();
        loop {
            match (mine.next(), theirs.next()) {
                (Some(">"), Some(token)) => {
                    tokens.push(token);
                    tokens.extend(theirs);
                    break;
                }
                (Some(token), Some(">")) => {
                    tokens.push(token);
                    tokens.extend(mine);
                    break;
                }
                (Some("*"), Some(token)) | (Some(token), Some(_)) => tokens.push(token),
                (None, _) | (_, None) => break,
            }
        }
        tokens.join(".").parse().ok()
    }
}
