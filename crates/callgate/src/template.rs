//! Text with `{{ CEL expression }}` placeholders, parsed and checked when the configuration loads.
//!
//! Policy fills the placeholders with the values of an identity (`policy::resolve::fill`). A value
//! fills one subject token, or part of one, and never more.

pub(crate) mod check;
pub(crate) mod cost;
pub(crate) mod expression;
mod functions;
mod syntax;

use std::{fmt, str::FromStr};

use self::{
    check::ExpressionKind,
    expression::{Compiled, Expression},
};
use crate::subject::{SubjectError, SubjectPattern};

/// Encodes `text` as one subject token: `[A-Za-z0-9-]` stay as they are, every other byte becomes
/// `=HH`. Different texts have different encodings.
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

/// Decodes a token made by [`encode`]; `None` if `encode` makes that token of no text.
///
/// ```
/// assert_eq!(callgate::policy::decode("a=2Eb=40c").as_deref(), Some("a.b@c"));
/// assert_eq!(callgate::policy::decode("a=2eb"), None);
/// ```
pub fn decode(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'=' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            other => other,
        });
    }
    let text = String::from_utf8(bytes).ok()?;
    (encode(&text) == token).then_some(text)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// A parsed text with placeholders.
#[derive(Debug)]
pub(crate) struct Template {
    text: String,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Placeholder(Box<Placeholder>),
}

#[derive(Debug)]
pub(crate) struct Placeholder {
    /// As written, with its braces.
    pub(crate) text: String,
    pub(crate) expression: Expression,
    pub(crate) encoding: Encoding,
}

/// How a value becomes part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Unchanged; the value must be a safe token.
    Raw,
    /// With [`encode`].
    Encode,
    /// Unchanged; the authenticator guarantees a literal token that counts as encoded.
    Guaranteed,
}

/// What the parser of templates knows, and what it reports besides errors.
#[derive(Debug)]
pub(crate) struct ParseContext<'a> {
    /// Variables that authenticators declare, such as `namespace`.
    pub(crate) variables: &'a [&'static str],
    /// Collects the client fields in use that the client chooses freely, such as `client.name`.
    pub(crate) self_asserted: Vec<&'static str>,
}

impl<'a> ParseContext<'a> {
    pub(crate) fn new(variables: &'a [&'static str]) -> Self {
        Self { variables, self_asserted: Vec::new() }
    }
}

impl Template {
    /// Parses a text and compiles its expressions.
    ///
    /// # Errors
    /// Names the invalid expression and why it is invalid.
    pub(crate) fn parse(text: &str, context: &mut ParseContext<'_>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        let unopened = || format!("`{text}`: a `}}}}` without `{{{{`");
        while let Some((before, after)) = rest.split_once("{{") {
            if before.contains("}}") {
                return Err(unopened());
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let end = end_of_placeholder(after)
                .ok_or_else(|| format!("`{text}`: a `{{{{` is not closed by `}}}}`"))?;
            let (inside, tail) = after.split_at(end);
            parts.push(Part::Placeholder(Box::new(Placeholder::parse(inside.trim(), context)?)));
            rest = tail.get(2..).unwrap_or_default();
        }
        if rest.contains("}}") {
            return Err(unopened());
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The text as written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text with `value` in place of every placeholder.
    pub(crate) fn with(&self, value: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Placeholder(_) => value,
        });
        parts.collect()
    }

    /// The first token, or its literal prefix if a placeholder is part of it.
    pub(crate) fn first_token(&self) -> FirstToken<'_> {
        match self.parts.as_slice() {
            [Part::Text(text), Part::Placeholder(_), ..] if !text.contains('.') => {
                FirstToken::Prefix(text)
            }
            [Part::Text(text), ..] => FirstToken::Whole(text.split('.').next().unwrap_or_default()),
            [Part::Placeholder(_), ..] | [] => FirstToken::Prefix(""),
        }
    }

    fn has_placeholder(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Placeholder(_)))
    }

    /// `orders.{user}.>` would be literal text; it is more likely a template of another system.
    fn check_braces(&self) -> Result<(), String> {
        let brace = self.parts.iter().find_map(|part| match part {
            Part::Text(text) => text.chars().find(|c| matches!(c, '{' | '}')),
            Part::Placeholder(_) => None,
        });
        match brace {
            None => Ok(()),
            Some(brace) => Err(format!(
                "`{}`: a single `{brace}`; a template is written with two, as in `{{{{ user }}}}`",
                self.text
            )),
        }
    }

    /// Two raw placeholders in one token would be ambiguous: `a` + `bc` and `ab` + `c` are the same.
    fn check_adjacent_placeholders(&self) -> Result<(), String> {
        let mut in_token: Vec<Encoding> = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) if text.contains(['.', ' ']) => in_token.clear(),
                Part::Text(_) => {}
                Part::Placeholder(placeholder) => in_token.push(placeholder.encoding),
            }
            if in_token.len() > 1 && in_token.contains(&Encoding::Raw) {
                return Err(format!(
                    "`{}` has two templates in one token: use encode(…) in both",
                    self.text
                ));
            }
        }
        Ok(())
    }
}

impl Placeholder {
    fn parse(inside: &str, context: &mut ParseContext<'_>) -> Result<Self, String> {
        let Compiled { expression, encoded, self_asserted } =
            Expression::compile(inside, ExpressionKind::Template, context.variables)
                .map_err(|why| format!("`{{{{ {inside} }}}}`: {why}"))?;
        context.self_asserted.extend(self_asserted);
        let encoding = match encoded {
            true => Encoding::Encode,
            false if expression.is_declared_variable() => Encoding::Guaranteed,
            false => Encoding::Raw,
        };
        Ok(Self { text: format!("{{{{ {inside} }}}}"), expression, encoding })
    }
}

/// The text with `x` in place of every placeholder.
pub(crate) fn without_placeholders(text: &str) -> String {
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        literal.push_str(before);
        literal.push('x');
        let end = end_of_placeholder(after).unwrap_or(after.len());
        rest = after.get(end..).and_then(|tail| tail.strip_prefix("}}")).unwrap_or_default();
    }
    literal.push_str(rest);
    literal
}

/// The position of the `}}` that closes a placeholder, skipping string literals and map literals.
fn end_of_placeholder(text: &str) -> Option<usize> {
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

/// A template whose every filled form is a `T`: a subject, or a subject with a queue group.
#[derive(Debug)]
pub(crate) enum Pattern<T> {
    /// Without placeholders, already parsed.
    Literal(T),
    /// Filled for each identity.
    Template(Template),
}

impl<T> Pattern<T>
where
    T: FromStr<Err = SubjectError> + Clone + fmt::Display,
{
    /// Parses a text and checks the form that it will have when filled.
    ///
    /// # Errors
    /// Describes what is wrong with the subject or with one of its expressions.
    pub(crate) fn parse(text: &str, context: &mut ParseContext<'_>) -> Result<Self, String> {
        let template = Template::parse(text, context)?;
        template.check_braces()?;
        let sample: T =
            template.with("x").parse().map_err(|error: SubjectError| error.to_string())?;
        if !template.has_placeholder() {
            return Ok(Self::Literal(sample));
        }
        template.check_adjacent_placeholders()?;
        Ok(Self::Template(template))
    }

    /// The text as written.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Literal(pattern) => pattern.to_string(),
            Self::Template(template) => template.text().to_owned(),
        }
    }

    /// One of the patterns that it can become.
    pub(crate) fn sample(&self) -> Option<T> {
        match self {
            Self::Literal(pattern) => Some(pattern.clone()),
            Self::Template(template) => template.with("x").parse().ok(),
        }
    }

    /// A pattern that covers every filled form, with `*` for each token with a placeholder.
    pub(crate) fn widest(&self) -> Option<T> {
        match self {
            Self::Literal(pattern) => Some(pattern.clone()),
            Self::Template(template) => {
                let tokens = template.with("\u{0}");
                let widened: Vec<_> = tokens
                    .split('.')
                    .map(|token| if token.contains('\u{0}') { "*" } else { token })
                    .collect();
                widened.join(".").parse().ok()
            }
        }
    }
}

impl Pattern<SubjectPattern> {
    /// What is known about the first token before the template is filled.
    pub(crate) fn first_token(&self) -> FirstToken<'_> {
        match self {
            Self::Literal(pattern) => FirstToken::Whole(pattern.first_token()),
            Self::Template(template) => template.first_token(),
        }
    }
}

/// What is known about the first token of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstToken<'a> {
    /// The whole token.
    Whole(&'a str),
    /// The literal text before the first placeholder in it.
    Prefix(&'a str),
}

/// Allow and deny patterns for one direction, publish or subscribe.
#[derive(Debug)]
pub(crate) struct PatternRules<T> {
    pub(crate) allow: Vec<Pattern<T>>,
    pub(crate) deny: Vec<Pattern<T>>,
}

impl<T> Default for PatternRules<T> {
    fn default() -> Self {
        Self { allow: Vec::new(), deny: Vec::new() }
    }
}
