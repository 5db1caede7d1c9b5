//! Values that nats-server inserts into the template of a scoped signing key.
//!
//! The server checks only the syntax of the result, so a value `>` would be a wildcard (nats-server
//! auth.go, `processUserPermissionsTemplate`).

use crate::subject::{SubjectToken, is_reserved_first_token};

/// Checks the user name, which fills `{{name()}}`.
///
/// # Errors
/// The problem, worded to follow the name.
pub(crate) fn literal_name(name: &str) -> Result<(), &'static str> {
    literal_token(name)?;
    literal_value(name)
}

/// Checks a tag. For a tag `team:red`, `{{tag(team)}}` becomes the text after the colon; the template
/// decides which colon.
///
/// # Errors
/// The problem, worded to follow the tag.
pub(crate) fn literal_tag(tag: &str) -> Result<(), &'static str> {
    literal_token(tag)?;
    for (_, value) in tag.match_indices(':').map(|(colon, _)| tag.split_at(colon + 1)) {
        literal_value(value)?;
    }
    // nats-io/jwt `TagList` lower-cases tags: `Red` would get the subjects of `red`.
    match tag.to_lowercase() == tag {
        true => Ok(()),
        false => Err("has uppercase letters, which nats-server would convert to lowercase"),
    }
}

fn literal_token(text: &str) -> Result<(), &'static str> {
    if text.parse::<SubjectToken>().is_err() || text.contains(['{', '}']) {
        return Err("is not one literal subject token");
    }
    match is_reserved_first_token(text) {
        true => Err("would open reserved subjects"),
        false => Ok(()),
    }
}

/// Only the account's JWT knows where in a subject the value goes; it may be the beginning. `$js` would
/// open `$js.>`, and servers and clients keep their replies below `_`.
fn literal_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("has nothing after a colon, where a template needs one token");
    }
    match value.starts_with(['$', '_']) {
        true => Err("would fill a template with `$…` or `_…`, which could open reserved subjects"),
        false => Ok(()),
    }
}
