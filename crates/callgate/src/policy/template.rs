//! Subjects with `{{ CEL }}` in them: a value fills one literal token, or part of one, and never
//! more.

use std::{fmt, str::FromStr};

use super::{
    condition::{Compiled, EvalError, Expression, Texts},
    grant::shown,
    inputs::Inputs,
    lint::Place,
};
use crate::subject::{SubjectError, SubjectPattern, is_invisible, is_reserved_first_token};

/// The longest value.
const MAX_VALUE_BYTES: usize = 128;
/// The longest encoded value: each byte may become three.
const MAX_ENCODED_BYTES: usize = 3 * MAX_VALUE_BYTES;
/// The most subjects that one grant may have: as many as fit into a user JWT of 32 KiB if each has one
/// letter, so that only the JWT's size ever decides. It bounds the work until then.
pub(super) const MAX_SUBJECTS: usize = 8192;

/// Writes `text` as one subject token: `[A-Za-z0-9-]` stays, every other byte becomes `=HH`.
/// Different texts have different tokens.
///
/// ```
/// assert_eq!(callgate::policy::encode("a.b@c"), "a=2Eb=40c");
/// ```
pub fn encode(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => token.push(char::from(byte)),
            other => token.push_str(&format!("={other:02X}")),
        }
    }
    token
}

/// Text with holes in it.
#[derive(Debug)]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Hole(Box<Hole>),
}

#[derive(Debug)]
struct Hole {
    text: String,
    expression: Expression,
    encoding: Encoding,
}

/// How a value becomes part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// As it is; it must be safe.
    Raw,
    /// By [`encode`].
    Encode,
    /// As it is; the authenticator guarantees a form that counts as encoded.
    Guaranteed,
}

/// Why a template has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FillError {
    /// A value that is not one literal token, or none at all.
    Unsafe(String),
    /// The expression failed.
    Failed(String),
    /// More subjects than a grant may have.
    TooMany,
}

/// What a value must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// One literal token of a subject.
    Token,
    /// A text without anything invisible: judged by other means afterwards.
    Text,
    /// Anything: only compared with names that are known.
    Name,
}

impl Template {
    /// Parses a text; `self_asserted` takes the fields that are only what the client says.
    ///
    /// # Errors
    /// Says which expression is wrong, and how.
    pub(super) fn parse(text: &str, self_asserted: &mut Vec<&'static str>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        let without_beginning = || format!("`{text}`: a `}}}}` without `{{{{`");
        while let Some((before, after)) = rest.split_once("{{") {
            if before.contains("}}") {
                return Err(without_beginning());
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let end = end_of_hole(after)
                .ok_or_else(|| format!("`{text}`: a `{{{{` is not closed by `}}}}`"))?;
            let (inside, tail) = after.split_at(end);
            let inside = inside.trim();
            let Compiled { expression, encoded, self_asserted: fields } =
                Expression::compile(inside, Place::Template)
                    .map_err(|why| format!("`{{{{ {inside} }}}}`: {why}"))?;
            self_asserted.extend(fields);
            let encoding = match encoded {
                true => Encoding::Encode,
                false if is_guaranteed(&expression) => Encoding::Guaranteed,
                false => Encoding::Raw,
            };
            let text = format!("{{{{ {inside} }}}}");
            parts.push(Part::Hole(Box::new(Hole { text, expression, encoding })));
            rest = tail.get(2..).unwrap_or_default();
        }
        if rest.contains("}}") {
            return Err(without_beginning());
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The text as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text with `value` in every hole.
    pub(super) fn with(&self, value: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Hole(_) => value,
        });
        parts.collect()
    }

    /// True if there is no hole in it.
    pub(super) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// With every hole filled by `value`, to try its form.
    fn filled_with(&self, value: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Hole(_) => value,
        });
        parts.collect()
    }

    /// `orders.{user}.>` would be taken for literal text: it is more likely a template of another
    /// system.
    fn check_braces(&self) -> Result<(), String> {
        let brace = self.parts.iter().find_map(|part| match part {
            Part::Text(text) => text.chars().find(|c| matches!(c, '{' | '}')),
            Part::Hole(_) => None,
        });
        match brace {
            None => Ok(()),
            Some(brace) => Err(format!(
                "`{}`: a single `{brace}`; a template is written with two, as in `{{{{ user }}}}`",
                self.text
            )),
        }
    }

    /// Two holes in one token could be filled in two ways to the same end: `a` and `bc`, `ab` and
    /// `c`.
    fn check_neighbours(&self) -> Result<(), String> {
        let mut raw_or_encoded: Vec<Encoding> = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) if text.contains(['.', ' ']) => raw_or_encoded.clear(),
                Part::Text(_) => {}
                Part::Hole(hole) => raw_or_encoded.push(hole.encoding),
            }
            if raw_or_encoded.len() > 1 && raw_or_encoded.contains(&Encoding::Raw) {
                return Err(format!(
                    "`{}` has two templates in one token: write encode(…) in both",
                    self.text
                ));
            }
        }
        Ok(())
    }

    /// All texts that the values of `inputs` make of it: a list makes one for each element.
    pub(super) fn fill(&self, inputs: &Inputs<'_>, rule: Rule) -> Result<Vec<String>, FillError> {
        let mut filled = vec![String::new()];
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => filled.iter_mut().for_each(|subject| subject.push_str(text)),
                Part::Hole(hole) => {
                    let values = hole.values(inputs, rule, index == 0)?;
                    if filled.len().saturating_mul(values.len()) > MAX_SUBJECTS {
                        return Err(FillError::TooMany);
                    }
                    let join = |start: &String| {
                        values.iter().map(|value| format!("{start}{value}")).collect::<Vec<_>>()
                    };
                    filled = filled.iter().flat_map(join).collect();
                }
            }
        }
        Ok(filled)
    }

    /// The first token, or what stands in it before the first hole.
    fn start(&self) -> Start<'_> {
        match self.parts.as_slice() {
            [Part::Text(text), Part::Hole(_), ..] if !text.contains('.') => Start::Part(text),
            [Part::Text(text), ..] => Start::Token(text.split('.').next().unwrap_or_default()),
            [Part::Hole(_), ..] | [] => Start::Part(""),
        }
    }
}

fn is_guaranteed(expression: &Expression) -> bool {
    expression.is_variable("namespace") || expression.is_variable("service_account")
}

/// Where the `}}` is that closes a hole: not in a text, and not the end of a map.
fn end_of_hole(text: &str) -> Option<usize> {
    let (mut quote, mut escaped, mut depth) = (None, false, 0usize);
    for (at, c) in text.char_indices() {
        if let Some(open) = quote {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == open => quote = None,
                _ => {}
            }
            continue;
        }
        match c {
            '"' | '\'' => quote = Some(c),
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' if text.get(at..).is_some_and(|rest| rest.starts_with("}}")) => return Some(at),
            _ => {}
        }
    }
    None
}

impl Hole {
    fn values(
        &self,
        inputs: &Inputs<'_>,
        rule: Rule,
        at_start: bool,
    ) -> Result<Vec<String>, FillError> {
        let values = match self.expression.texts(inputs) {
            Ok(Texts::One(value)) => vec![value],
            Ok(Texts::Many(values)) => values,
            Err(error @ (EvalError::Absent(_) | EvalError::WrongType(_))) => {
                return Err(FillError::Unsafe(format!("`{}`: {error}", self.text)));
            }
            Err(error @ (EvalError::TooLarge(_) | EvalError::Failed(_))) => {
                return Err(FillError::Failed(format!("`{}`: {error}", self.text)));
            }
        };
        if values.len() > MAX_SUBJECTS {
            return Err(FillError::TooMany);
        }
        values.into_iter().map(|value| self.value(value, rule, at_start)).collect()
    }

    fn value(&self, value: String, rule: Rule, at_start: bool) -> Result<String, FillError> {
        let (value, limit) = match self.encoding {
            Encoding::Raw => (value, MAX_VALUE_BYTES),
            Encoding::Encode => (encode(&value), MAX_ENCODED_BYTES),
            Encoding::Guaranteed => (value, MAX_ENCODED_BYTES),
        };
        let why = match rule {
            Rule::Name => None,
            Rule::Text => why_no_text(&value, limit),
            Rule::Token => why_no_text(&value, limit)
                .or_else(|| why_no_token(&value, at_start))
                .or_else(|| (self.encoding == Encoding::Raw).then(|| looks_encoded(&value))?),
        };
        match why {
            None => Ok(value),
            Some(why) => Err(FillError::Unsafe(format!(
                "`{}`: the value `{}` {why}",
                self.text,
                shown(&value)
            ))),
        }
    }
}

fn why_no_text(value: &str, limit: usize) -> Option<&'static str> {
    if value.is_empty() {
        return Some("is empty");
    }
    if value.len() > limit {
        return Some("is too long");
    }
    value.chars().any(is_invisible).then_some("has control or invisible characters")
}

fn why_no_token(value: &str, at_start: bool) -> Option<&'static str> {
    if value.contains(['.', '*', '>', '{', '}']) {
        return Some("has one of `.`, `*`, `>`, `{`, `}`");
    }
    if value.chars().any(char::is_whitespace) {
        return Some("has white space");
    }
    if value.starts_with('$') {
        return Some("begins with `$`");
    }
    (at_start && value.starts_with('_')).then_some("begins with `_`, and the subject with it")
}

/// A raw value must not be mistaken for the encoding of another one.
fn looks_encoded(value: &str) -> Option<&'static str> {
    let found = value.as_bytes().windows(3).any(
        |bytes| matches!(bytes, [b'=', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
    );
    found.then_some("looks encoded (`=` and two hexadecimal digits)")
}

/// A template whose every value is a `T`: a subject, or a subject with a queue group.
#[derive(Debug)]
pub(super) enum Pattern<T> {
    /// Without a hole: parsed already.
    Fixed(T),
    /// To be filled.
    Filled(Template),
}

impl<T> Pattern<T>
where
    T: FromStr<Err = SubjectError> + Clone + fmt::Display,
{
    /// Parses a text, and tries its form.
    ///
    /// # Errors
    /// Says what is wrong with the subject or with an expression in it.
    pub(super) fn parse(text: &str, self_asserted: &mut Vec<&'static str>) -> Result<Self, String> {
        let template = Template::parse(text, self_asserted)?;
        template.check_braces()?;
        let sample: T =
            template.filled_with("x").parse().map_err(|error: SubjectError| error.to_string())?;
        if template.is_fixed() {
            return Ok(Self::Fixed(sample));
        }
        template.check_neighbours()?;
        Ok(Self::Filled(template))
    }

    /// The text as it was written.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Fixed(pattern) => pattern.to_string(),
            Self::Filled(template) => template.text().to_owned(),
        }
    }

    /// One that it may become.
    pub(super) fn sample(&self) -> Option<T> {
        match self {
            Self::Fixed(pattern) => Some(pattern.clone()),
            Self::Filled(template) => template.filled_with("x").parse().ok(),
        }
    }

    /// A pattern that matches at least what any filled one does, as far as can be told beforehand.
    pub(super) fn widest(&self) -> Option<T> {
        match self {
            Self::Fixed(pattern) => Some(pattern.clone()),
            Self::Filled(template) => {
                let tokens = template.filled_with("\u{0}");
                let widened: Vec<_> = tokens
                    .split('.')
                    .map(|token| if token.contains('\u{0}') { "*" } else { token })
                    .collect();
                widened.join(".").parse().ok()
            }
        }
    }

    /// All patterns that the values of `inputs` make of it.
    pub(super) fn fill(&self, inputs: &Inputs<'_>) -> Result<Vec<T>, FillError> {
        let template = match self {
            Self::Fixed(pattern) => return Ok(vec![pattern.clone()]),
            Self::Filled(template) => template,
        };
        let filled = template.fill(inputs, Rule::Token)?;
        filled.iter().map(|text| parse_filled(template, text)).collect()
    }
}

impl Pattern<SubjectPattern> {
    /// What its first token is, as far as that can be told beforehand.
    pub(super) fn start(&self) -> Start<'_> {
        match self {
            Self::Fixed(pattern) => Start::Token(pattern.first_token()),
            Self::Filled(template) => template.start(),
        }
    }
}

/// The first token of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// The whole of it.
    Token(&'a str),
    /// What stands before a value in it.
    Part(&'a str),
}

fn parse_filled<T>(template: &Template, text: &str) -> Result<T, FillError>
where
    T: FromStr<Err = SubjectError>,
{
    // `_{{ user }}` and the user `INBOX`: judged by what comes of it, not by its parts.
    if let Start::Part(prefix) = template.start()
        && !is_reserved_first_token(prefix)
        && is_reserved_first_token(text.split('.').next().unwrap_or_default())
    {
        let why =
            format!("`{}` would become `{}`, which is reserved", template.text(), shown(text));
        return Err(FillError::Unsafe(why));
    }
    text.parse().map_err(|error: SubjectError| FillError::Unsafe(error.to_string()))
}
