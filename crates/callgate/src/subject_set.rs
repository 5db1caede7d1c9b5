//! Sets of subjects, compared exactly.
//!
//! [`SubjectPattern::covers`] compares two patterns. The permissions of a client are more than that: a union
//! of allows, from which denies take subjects away. Neither union nor difference has a pattern of its own
//! (`a.*` without `a.b`), so a [`SubjectSet`] keeps the lists and answers questions about all subjects by
//! searching for one that shows the opposite ([`SubjectSet::find_outside`]).

mod difference;
mod search;

use std::fmt;

pub use self::search::TooComplex;
use crate::subject::{Subject, SubjectPattern};

/// A set of subjects.
///
/// ```
/// use callgate::subject_set::SubjectSet;
/// let allow = ["orders.>".parse()?];
/// let orders = SubjectSet::allowing(&allow, &["orders.secret.>".parse()?]);
/// let one_level = SubjectSet::allowing(&["orders.*".parse()?], &[]);
/// assert!(one_level.is_within(&orders));
/// assert!(!orders.is_within(&one_level));
/// # Ok::<(), callgate::subject::SubjectError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectSet {
    parts: Vec<Part>,
}

/// Subjects that an `allow` matches and no `except` matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part {
    allow: Vec<SubjectPattern>,
    except: Vec<SubjectPattern>,
}

/// A part of a set, for people to read: a pattern, and what it matches although it is not meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectRange {
    /// The pattern.
    pub subject: SubjectPattern,
    /// Patterns within it that do not belong to the range.
    pub except: Vec<SubjectPattern>,
}

impl From<SubjectPattern> for SubjectRange {
    fn from(subject: SubjectPattern) -> Self {
        Self { subject, except: Vec::new() }
    }
}

impl SubjectRange {
    /// The exceptions in words, or nothing.
    pub(crate) fn exceptions(&self) -> String {
        let list: Vec<_> = self.except.iter().map(SubjectPattern::as_str).collect();
        match list.is_empty() {
            true => String::new(),
            false => format!(" except {}", list.join(", ")),
        }
    }
}

impl fmt::Display for SubjectRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.subject, self.exceptions())
    }
}

impl SubjectSet {
    /// Every subject that an `allow` matches and no `deny` matches.
    pub fn allowing(allow: &[SubjectPattern], deny: &[SubjectPattern]) -> Self {
        Self { parts: vec![Part { allow: allow.to_vec(), except: deny.to_vec() }] }
    }

    /// Every subject.
    pub fn everything() -> Self {
        Self::from(SubjectPattern::everything())
    }

    /// The union of two sets.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Whether `subject` is in the set.
    pub fn contains(&self, subject: &Subject) -> bool {
        let matches = |one: &SubjectPattern| one.covers(subject.as_pattern());
        self.parts
            .iter()
            .any(|Part { allow, except }| allow.iter().any(matches) && !except.iter().any(matches))
    }

    /// A subject of this set that is not in `other`; `None` if there is none.
    ///
    /// # Errors
    /// If the search takes too many steps, which takes hundreds of patterns with wildcards before literal
    /// tokens. Treat the sets as different then.
    pub fn find_outside(&self, other: &Self) -> Result<Option<Subject>, TooComplex> {
        search::find(&[(self, true), (other, false)])
    }

    /// A subject that is in both sets; `None` if there is none.
    ///
    /// # Errors
    /// As for [`SubjectSet::find_outside`].
    pub fn find_common(&self, other: &Self) -> Result<Option<Subject>, TooComplex> {
        match self.single() {
            // Most questions are about one subject, which needs no search.
            Some(subject) => Ok(other.contains(&subject).then_some(subject)),
            None => search::find(&[(self, true), (other, true)]),
        }
    }

    /// The only subject of this set, if it is written as one.
    fn single(&self) -> Option<Subject> {
        let [Part { allow, except }] = self.parts.as_slice() else { return None };
        match (allow.as_slice(), except.as_slice()) {
            ([only], []) if only.is_literal() => only.as_str().parse().ok(),
            _ => None,
        }
    }

    /// Whether every subject of this set is in `other`. False if that is too complex to find out.
    pub fn is_within(&self, other: &Self) -> bool {
        matches!(self.find_outside(other), Ok(None))
    }

    /// The subjects of this set that are not in `other`, as few patterns; empty if and only if this set
    /// is within `other`. Each range is as narrow as patterns can say.
    pub fn minus(&self, other: &Self) -> Vec<SubjectRange> {
        difference::ranges(self, other)
    }
}

impl From<SubjectPattern> for SubjectSet {
    fn from(pattern: SubjectPattern) -> Self {
        Self::allowing(&[pattern], &[])
    }
}

#[cfg(test)]
mod tests;
