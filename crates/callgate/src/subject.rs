//! NATS subjects, parsed once: a value of one of these types is always valid.
//!
//! The rules are those of nats-server (`sublist.go`, `IsValidSubject`, `SubjectsCollide`,
//! `subjectIsSubsetMatch`): tokens between dots, none empty, no white space, `*` for one whole
//! token, `>` for one or more at the end. Stricter in one respect: a token that merely contains a
//! wildcard (`foo*`), a control character or an invisible character is rejected, because it never
//! means what it seems to mean.

use std::{fmt, str::FromStr};

/// The maximum length of a subject in bytes (nats-server's `max_control_line` is 4096).
pub const MAX_SUBJECT_BYTES: usize = 1024;

/// Why a text is not a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// An empty text, or nothing between two dots.
    #[error("`{0}` has an empty token: write names between the dots")]
    EmptyToken(String),
    /// A space, tab or line break.
    #[error("`{0}` contains white space")]
    WhiteSpace(String),
    /// A control or invisible character.
    #[error("a subject contains the control or invisible character U+{0:04X}")]
    Invisible(u32),
    /// `foo*` or `a>b`, which NATS takes literally.
    #[error("`{0}` has a wildcard inside a token: `*` and `>` only work as whole tokens")]
    PartialWildcard(String),
    /// `>` anywhere but at the end.
    #[error("`{0}` has `>` before its end")]
    FullWildcardNotLast(String),
    /// A wildcard where a literal subject is required.
    #[error("`{0}` must not contain a wildcard here")]
    NotLiteral(String),
    /// More than [`MAX_SUBJECT_BYTES`].
    #[error("a subject is {0} bytes long, at most {MAX_SUBJECT_BYTES} are allowed")]
    TooLong(usize),
    /// More words than a subject and a queue group.
    #[error("`{0}` has more than a subject and a queue group")]
    TooManyWords(String),
}

/// True for characters that must never appear in a subject or in the name of a user.
///
/// These are control characters, line separators, and Unicode format characters: zero-width characters,
/// bidirectional overrides, the byte-order mark, and the replacement character for undecodable bytes.
/// With them, two different names can look the same, and a text can display as another.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFD}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

fn check_characters(text: &str) -> Result<(), SubjectError> {
    if text.len() > MAX_SUBJECT_BYTES {
        return Err(SubjectError::TooLong(text.len()));
    }
    if let Some(c) = text.chars().find(|c| is_invisible(*c) && !c.is_ascii_whitespace()) {
        return Err(SubjectError::Invisible(c as u32));
    }
    if text.chars().any(char::is_whitespace) {
        return Err(SubjectError::WhiteSpace(text.escape_debug().to_string()));
    }
    Ok(())
}

/// A subject that may contain the wildcards `*` and `>`.
///
/// ```
/// use callgate::subject::SubjectPattern;
/// let orders: SubjectPattern = "orders.>".parse()?;
/// assert!(orders.covers(&"orders.*.new".parse()?));
/// assert!(!orders.covers(&"orders".parse()?));
/// # Ok::<(), callgate::subject::SubjectError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectPattern(String);

impl SubjectPattern {
    /// The pattern that matches everything: `>`.
    pub fn everything() -> Self {
        Self(">".to_owned())
    }

    /// The text, as sent to the server.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The first token; a pattern always has one.
    pub(crate) fn first_token(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// True if it contains no wildcard.
    pub fn is_literal(&self) -> bool {
        self.tokens().all(|token| token != "*" && token != ">")
    }

    /// True if `self` matches every subject that `other` matches.
    pub fn covers(&self, other: &SubjectPattern) -> bool {
        let mut mine = self.tokens();
        let mut theirs = other.tokens();
        loop {
            match (mine.next(), theirs.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (None, _) | (_, None) | (Some(_), Some(">")) => return false,
                (Some("*"), Some(_)) => {}
                (Some(mine), Some(theirs)) if mine == theirs => {}
                (Some(_), Some(_)) => return false,
            }
        }
    }

    /// True if a subject exists that both match.
    pub fn overlaps(&self, other: &SubjectPattern) -> bool {
        let mut mine = self.tokens();
        let mut theirs = other.tokens();
        loop {
            match (mine.next(), theirs.next()) {
                (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
                (None, _) | (_, None) => return false,
                (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
                (Some(mine), Some(theirs)) if mine == theirs => {}
                (Some(_), Some(_)) => return false,
            }
        }
    }

    /// True if it can match a subject whose first token begins with `$`, `_INBOX` or `_REPLY`: the
    /// subjects of the server and of replies.
    pub(crate) fn reaches_reserved_space(&self) -> bool {
        let first = self.first_token();
        first == "*" || first == ">" || is_reserved_first_token(first)
    }
}

/// True for first tokens that belong to the server or carry replies.
pub(crate) fn is_reserved_first_token(token: &str) -> bool {
    token.starts_with('$') || token.starts_with("_INBOX") || token.starts_with("_REPLY")
}

impl FromStr for SubjectPattern {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        check_characters(text)?;
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            let last = tokens.peek().is_none();
            match token {
                "" => return Err(SubjectError::EmptyToken(text.to_owned())),
                ">" if !last => return Err(SubjectError::FullWildcardNotLast(text.to_owned())),
                "*" | ">" => {}
                _ if token.contains(['*', '>']) => {
                    return Err(SubjectError::PartialWildcard(text.to_owned()));
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// A subject without wildcards, to which a message can be sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(SubjectPattern);

impl Subject {
    /// The text, as sent to the server.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The pattern that matches only this subject.
    pub fn as_pattern(&self) -> &SubjectPattern {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let pattern: SubjectPattern = text.parse()?;
        match pattern.is_literal() {
            true => Ok(Self(pattern)),
            false => Err(SubjectError::NotLiteral(text.to_owned())),
        }
    }
}

/// One literal token: no dot, no wildcard, no invisible character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectToken(String);

impl SubjectToken {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SubjectToken {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let subject: Subject = text.parse()?;
        match text.contains('.') {
            true => Err(SubjectError::NotLiteral(text.to_owned())),
            false => Ok(Self(subject.0.0)),
        }
    }
}

/// A rule for subscriptions: a pattern, and optionally a queue group.
///
/// Written `"jobs.* workers"`. A rule without a queue group applies to every subscription; a rule with
/// one applies only to subscriptions in that group, which may be a pattern (nats-server `client.go`,
/// `canSubscribe`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscribePattern {
    subject: SubjectPattern,
    queue: Option<SubjectPattern>,
}

impl SubscribePattern {
    /// The rule that applies to every subscription: `>`.
    pub fn everything() -> Self {
        SubjectPattern::everything().into()
    }

    /// The subject.
    pub fn subject(&self) -> &SubjectPattern {
        &self.subject
    }

    /// The queue group, if the rule names one.
    pub fn queue(&self) -> Option<&SubjectPattern> {
        self.queue.as_ref()
    }

    /// True if `self` applies to every subscription to which `other` applies: `foo` covers
    /// `foo queue`, but `foo queue` does not cover `foo`.
    pub fn covers(&self, other: &SubscribePattern) -> bool {
        self.subject.covers(&other.subject)
            && match (&self.queue, &other.queue) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(mine), Some(theirs)) => mine.covers(theirs),
            }
    }
}

impl From<SubjectPattern> for SubscribePattern {
    fn from(subject: SubjectPattern) -> Self {
        Self { subject, queue: None }
    }
}

impl FromStr for SubscribePattern {
    type Err = SubjectError;

    /// Accepts several spaces between the two words, but none at the ends, where a word is missing.
    fn from_str(text: &str) -> Result<Self, SubjectError> {
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(SubjectError::WhiteSpace(text.escape_debug().to_string()));
        }
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let subject = words.next().unwrap_or_default();
        let queue = words.next();
        if words.next().is_some() {
            return Err(SubjectError::TooManyWords(text.to_owned()));
        }
        Ok(Self { subject: subject.parse()?, queue: queue.map(str::parse).transpose()? })
    }
}

impl fmt::Display for SubscribePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.queue {
            Some(queue) => write!(f, "{} {queue}", self.subject),
            None => write!(f, "{}", self.subject),
        }
    }
}

macro_rules! text_traits {
    ($($type:ty),*) => { $(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`", self.as_str())
            }
        }
    )* };
}
text_traits!(SubjectPattern, Subject, SubjectToken);

impl fmt::Debug for SubscribePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> SubjectPattern {
        text.parse().unwrap()
    }

    #[test]
    fn malformed_subjects_are_rejected() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\tb",
            "a\nb",
            "a\0b",
            ">.a",
            "a.>.b",
            "foo*",
            "a.b>",
            "a.\u{200b}",
            "a.\u{202e}b",
            "a.\u{2028}b",
            "a.\u{2029}b",
            "a.\u{feff}b",
            "a.\u{fffd}b",
        ] {
            assert!(
                text.parse::<SubjectPattern>().is_err(),
                "`{}` was accepted",
                text.escape_debug()
            );
        }
        assert!("a".repeat(MAX_SUBJECT_BYTES + 1).parse::<SubjectPattern>().is_err());
    }

    #[test]
    fn covers_compares_tokens() {
        let table = [
            (">", "a", true),
            (">", ">", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a.>", true),
            ("a.>", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.*", true),
            ("a.*", "a.>", false),
            ("a.b", "a.*", false),
            ("*.>", "a.b", true),
            ("a.*.c", "a.b.c", true),
            ("a.*", "a.b.c", false),
            ("*", ">", false),
        ];
        for (outer, inner, expected) in table {
            assert_eq!(pattern(outer).covers(&pattern(inner)), expected, "{outer} covers {inner}");
        }
    }

    #[test]
    fn overlaps_is_symmetric() {
        let table = [
            ("a.*", "*.b", true),
            ("a.>", "*.b.c", true),
            ("a", "b", false),
            ("a.b", "a", false),
            (">", "x.y", true),
            ("a.*", "a.b.c", false),
        ];
        for (left, right, expected) in table {
            assert_eq!(pattern(left).overlaps(&pattern(right)), expected, "{left} {right}");
            assert_eq!(pattern(right).overlaps(&pattern(left)), expected, "{right} {left}");
        }
    }

    #[test]
    fn reserved_space_includes_patterns_that_reach_it() {
        for text in
            [">", "*", "*.x", "$SYS.>", "_INBOX.>", "_INBOX_a.>", "_REPLY.x", "$JS.API.INFO"]
        {
            assert!(pattern(text).reaches_reserved_space(), "{text}");
        }
        for text in ["a.>", "a.$SYS", "_private.x"] {
            assert!(!pattern(text).reaches_reserved_space(), "{text}");
        }
    }

    #[test]
    fn queue_group_narrows_a_rule() {
        let rule = |text: &str| text.parse::<SubscribePattern>().unwrap();
        assert!(rule("foo").covers(&rule("foo queue")));
        assert!(!rule("foo queue").covers(&rule("foo")));
        assert!(rule("foo *").covers(&rule("foo queue")));
        for text in ["foo a b", "foo ", " foo", "foo a ", " ", "foo\ta", ""] {
            assert!(text.parse::<SubscribePattern>().is_err(), "{text:?}");
        }
        assert_eq!(rule("jobs.*  workers").to_string(), "jobs.* workers");
    }
}
