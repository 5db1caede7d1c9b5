//! What the server may put into the templates of a scoped signing key: it does so after no more than a
//! syntax check, and a value `>` would be a wildcard (nats-server auth.go,
//! `processUserPermissionsTemplate`).

use crate::subject::{SubjectToken, is_reserved_first_token};

/// The user's name fills `{{name()}}`.
///
/// # Errors
/// Says what is wrong with it, to follow the name.
pub(crate) fn literal_name(name: &str) -> Result<(), &'static str> {
    literal_token(name)?;
    literal_value(name)
}

/// Of a tag `team:red`, `{{tag(team)}}` is filled with what follows the colon; which colon, the template
/// says.
///
/// # Errors
/// As [`literal_name`].
pub(crate) fn literal_tag(tag: &str) -> Result<(), &'static str> {
    literal_token(tag)?;
    for (_, value) in tag.match_indices(':').map(|(colon, _)| tag.split_at(colon + 1)) {
        literal_value(value)?;
    }
    // nats-io/jwt `TagList` lower-cases: `Red` would have what is meant for `red`.
    match tag.to_lowercase() == tag {
        true => Ok(()),
        false => Err("has capitals, which the server would lower"),
    }
}

fn literal_token(text: &str) -> Result<(), &'static str> {
    if text.parse::<SubjectToken>().is_err() || text.contains(['{', '}']) {
        return Err("is not one literal subject token");
    }
    match is_reserved_first_token(text) {
        true => Err("would open subjects that are reserved"),
        false => Ok(()),
    }
}

/// Where in a subject the template has it only the account's JWT says, so it may be the beginning: `$js`
/// would open `$js.>`, and servers and clients have their replies below `_`.
fn literal_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("has nothing after a colon, where a template would have one token");
    }
    match value.starts_with(['$', '_']) {
        true => Err("would fill a template with `$…` or `_…`, and could open what is reserved"),
        false => Ok(()),
    }
}
