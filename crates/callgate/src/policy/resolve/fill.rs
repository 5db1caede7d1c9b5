//! Fills templates with the values of an identity. A value becomes one literal token, or the login
//! is refused.

use std::{fmt, str::FromStr};

use super::{
    evaluate::{EvalError, Texts},
    inputs::Inputs,
};
use crate::{
    sanitize::excerpt,
    subject::{SubjectError, is_invisible, is_reserved_first_token},
    template::{Encoding, FirstToken, Part, Pattern, Placeholder, Template, encode},
};

const MAX_VALUE_BYTES: usize = 128;
/// Encoding can turn each byte into three.
const MAX_ENCODED_BYTES: usize = 3 * MAX_VALUE_BYTES;
/// The maximum number of subjects in a grant. A user JWT of 32 KiB cannot hold more even if each has
/// one letter, so the size of the JWT is what decides; this bounds the work until then.
pub(super) const MAX_SUBJECTS: usize = 8192;
/// The maximum size of all texts that one template becomes.
pub(super) const MAX_FILLED_BYTES: usize = 64 * 1024;
/// Checking, parsing and sorting a filled text, in units of the budget.
const UNITS_PER_TEXT: u64 = 6;

/// Why a template could not be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FillError {
    /// A value is absent, or not one literal token.
    Unsafe(String),
    /// The expression failed.
    Failed(String),
    /// More than [`MAX_SUBJECTS`] or [`MAX_FILLED_BYTES`].
    TooLarge,
}

/// The form that a value must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueRule {
    /// One literal subject token.
    Token,
    /// Text without invisible characters; the caller checks the rest.
    Text,
    /// Any text; the caller only compares it with known names.
    Name,
}

impl Template {
    /// Fills the template. A placeholder with a list produces one text for each element.
    pub(super) fn fill(
        &self,
        inputs: &Inputs<'_>,
        rule: ValueRule,
    ) -> Result<Vec<String>, FillError> {
        let mut filled = vec![String::new()];
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => {
                    check_filled(inputs, &filled, std::slice::from_ref(text))?;
                    filled.iter_mut().for_each(|subject| subject.push_str(text));
                }
                Part::Placeholder(placeholder) => {
                    let values = placeholder.values(inputs, rule, index == 0)?;
                    check_filled(inputs, &filled, &values)?;
                    let join = |start: &String| {
                        values.iter().map(|value| format!("{start}{value}")).collect::<Vec<_>>()
                    };
                    filled = filled.iter().flat_map(join).collect();
                }
            }
        }
        Ok(filled)
    }
}

/// Counts the texts and bytes of every combination before they are built.
fn check_filled(
    inputs: &Inputs<'_>,
    starts: &[String],
    values: &[String],
) -> Result<(), FillError> {
    let total = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let count = starts.len().saturating_mul(values.len());
    let bytes = (total(starts).saturating_mul(values.len()))
        .saturating_add(total(values).saturating_mul(starts.len()));
    if count > MAX_SUBJECTS || bytes > MAX_FILLED_BYTES {
        return Err(FillError::TooLarge);
    }
    let units = (count as u64).saturating_mul(UNITS_PER_TEXT);
    inputs.budget.spend(units).map_err(|error| FillError::Failed(error.to_string()))
}

impl<T> Pattern<T>
where
    T: FromStr<Err = SubjectError> + Clone + fmt::Display,
{
    /// Fills the pattern. A placeholder with a list produces one pattern for each element.
    pub(super) fn fill(&self, inputs: &Inputs<'_>) -> Result<Vec<T>, FillError> {
        let template = match self {
            Self::Literal(pattern) => return Ok(vec![pattern.clone()]),
            Self::Template(template) => template,
        };
        let filled = template.fill(inputs, ValueRule::Token)?;
        filled.iter().map(|text| parse_filled(template, text)).collect()
    }
}

fn parse_filled<T>(template: &Template, text: &str) -> Result<T, FillError>
where
    T: FromStr<Err = SubjectError>,
{
    // `_{{ user }}` with the user `INBOX`: the result is reserved although its parts are not.
    if let FirstToken::Prefix(prefix) = template.first_token()
        && !is_reserved_first_token(prefix)
        && is_reserved_first_token(text.split('.').next().unwrap_or_default())
    {
        let why =
            format!("`{}` would become `{}`, which is reserved", template.text(), excerpt(text));
        return Err(FillError::Unsafe(why));
    }
    text.parse().map_err(|error: SubjectError| FillError::Unsafe(error.to_string()))
}

impl Placeholder {
    fn values(
        &self,
        inputs: &Inputs<'_>,
        rule: ValueRule,
        at_start: bool,
    ) -> Result<Vec<String>, FillError> {
        let values = match self.expression.texts(inputs) {
            Ok(Texts::One(value)) => vec![value],
            Ok(Texts::Many(values)) => values,
            Err(error @ (EvalError::Absent(_) | EvalError::WrongType(_))) => {
                return Err(FillError::Unsafe(format!("`{}`: {error}", self.text)));
            }
            // A list that is only copied is too long for any grant.
            Err(EvalError::OverBudget(_)) if self.expression.path.is_some() => {
                return Err(FillError::TooLarge);
            }
            Err(
                error @ (EvalError::TooLarge(_) | EvalError::OverBudget(_) | EvalError::Failed(_)),
            ) => {
                return Err(FillError::Failed(format!("`{}`: {error}", self.text)));
            }
        };
        if values.len() > MAX_SUBJECTS {
            return Err(FillError::TooLarge);
        }
        values.into_iter().map(|value| self.value(value, rule, at_start)).collect()
    }

    fn value(&self, value: String, rule: ValueRule, at_start: bool) -> Result<String, FillError> {
        let (value, limit) = match self.encoding {
            Encoding::Raw => (value, MAX_VALUE_BYTES),
            Encoding::Encode => (encode(&value), MAX_ENCODED_BYTES),
            Encoding::Guaranteed => (value, MAX_ENCODED_BYTES),
        };
        let problem = match rule {
            ValueRule::Name => None,
            ValueRule::Text => text_problem(&value, limit),
            ValueRule::Token => text_problem(&value, limit)
                .or_else(|| token_problem(&value, at_start))
                .or_else(|| (self.encoding == Encoding::Raw).then(|| encoded_problem(&value))?),
        };
        match problem {
            None => Ok(value),
            Some(problem) => Err(FillError::Unsafe(format!(
                "`{}`: the value `{}` {problem}",
                self.text,
                excerpt(&value)
            ))),
        }
    }
}

fn text_problem(value: &str, limit: usize) -> Option<&'static str> {
    if value.is_empty() {
        return Some("is empty");
    }
    if value.len() > limit {
        return Some("is too long");
    }
    value.chars().any(is_invisible).then_some("contains control or invisible characters")
}

fn token_problem(value: &str, at_start: bool) -> Option<&'static str> {
    if value.contains(['.', '*', '>', '{', '}']) {
        return Some("contains one of `.`, `*`, `>`, `{`, `}`");
    }
    if value.chars().any(char::is_whitespace) {
        return Some("contains white space");
    }
    if value.starts_with('$') {
        return Some("begins with `$`");
    }
    (at_start && value.starts_with('_')).then_some("begins the subject with `_`")
}

/// A raw value must not look like the encoded form of another value.
fn encoded_problem(value: &str) -> Option<&'static str> {
    let found = value.as_bytes().windows(3).any(
        |bytes| matches!(bytes, [b'=', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
    );
    found.then_some("looks encoded (`=` and two hexadecimal digits)")
}
