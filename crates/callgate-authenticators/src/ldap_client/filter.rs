//! Filters and bind names with placeholders. Each kind of template escapes by its own rules, so that
//! a value never becomes syntax.

use std::borrow::Cow;

use ldap3::{asn1::Tag, dn_escape, ldap_escape, parse_filter};

use super::dn::Dn;

/// A filter with `{user}` and `{dn}` (RFC 4515).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilterTemplate(String);

/// What to fill into a [`FilterTemplate`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Values<'a> {
    pub(crate) user: &'a str,
    pub(crate) dn: &'a str,
}

/// The name to bind with, with `{user}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BindTemplate {
    /// A distinguished name (RFC 4514).
    Dn(String),
    /// A user principal name, as Active Directory accepts it.
    PrincipalName(String),
}

/// Why a template is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("unknown placeholder `{{{0}}}`: use {1}")]
    UnknownPlaceholder(String, &'static str),
    #[error("contains no {0}: it would match the same entries for every user")]
    NoPlaceholder(&'static str),
    #[error("not a filter in the syntax of RFC 4515, such as `(uid={{user}})`")]
    Filter,
    #[error("neither a distinguished name nor a principal name such as `{{user}}@example.org`")]
    BindName,
}

impl FilterTemplate {
    /// A filter for the entry of a user, with `{user}`.
    pub(crate) fn of_user(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text, &["user"], "`{user}`")
    }

    /// A filter for the groups of an entry, with `{user}` or `{dn}`.
    pub(crate) fn of_groups(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text, &["user", "dn"], "`{user}` or `{dn}`")
    }

    fn parse(text: &str, known: &[&str], names: &'static str) -> Result<Self, TemplateError> {
        check_placeholders(text, known, names)?;
        let template = Self(text.to_owned());
        let filled = template.fill(Values { user: "u", dn: "d" });
        match text.starts_with('(') && filled.is_some() {
            true => Ok(template),
            false => Err(TemplateError::Filter),
        }
    }

    /// The filter for these values. `None` cannot happen: escaped values have no special characters.
    pub(crate) fn fill(&self, values: Values<'_>) -> Option<Tag> {
        parse_filter(self.text(values)).ok()
    }

    /// The text of the filter for these values.
    pub(crate) fn text(&self, Values { user, dn }: Values<'_>) -> String {
        replace(&self.0, |name| match name {
            "dn" => ldap_escape(dn),
            _ => ldap_escape(user),
        })
    }

    pub(crate) fn has(&self, placeholder: &str) -> bool {
        self.0.contains(placeholder)
    }
}

impl BindTemplate {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        check_placeholders(text, &["user"], "`{user}`")?;
        let filled = text.replace("{user}", "u");
        if filled.parse::<Dn>().is_ok_and(|dn| !dn.is_empty()) {
            return Ok(Self::Dn(text.to_owned()));
        }
        match filled.contains('@') && !filled.contains(['=', ',', '\\']) {
            true => Ok(Self::PrincipalName(text.to_owned())),
            false => Err(TemplateError::BindName),
        }
    }

    /// The name for this user; `None` if a principal name cannot contain it.
    pub(crate) fn fill(&self, user: &str) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match self {
            Self::Dn(text) => Some(replace(text, |_| dn_escape(user))),
            Self::PrincipalName(text) => (!user.is_empty() && user.chars().all(is_plain))
                .then(|| replace(text, |_| Cow::Borrowed(user))),
        }
    }
}

/// Refuses unknown placeholders, and a text without any.
fn check_placeholders(
    text: &str,
    known: &[&str],
    names: &'static str,
) -> Result<(), TemplateError> {
    let mut found = false;
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let name = after.split('}').next().unwrap_or_default();
        if !known.contains(&name) || !after.contains('}') {
            return Err(TemplateError::UnknownPlaceholder(name.to_owned(), names));
        }
        found = true;
        rest = after;
    }
    match found {
        true => Ok(()),
        false => Err(TemplateError::NoPlaceholder(names)),
    }
}

/// Replaces the placeholders in one pass: braces in a value mean nothing.
fn replace<'v>(template: &str, value: impl Fn(&str) -> Cow<'v, str>) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&value(name));
        rest = after;
    }
    out.push_str(rest);
    out
}
