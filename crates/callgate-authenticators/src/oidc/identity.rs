//! From verified claims to an identity.

use std::collections::BTreeSet;

use callgate::{
    authn::{Identity, Rejection},
    clock::UnixTime,
    subject::is_invisible,
};
use serde_json::{Map, Value};

use super::config::ClaimRules;
use crate::{
    claim_path::ClaimPath,
    jws::{
        MAX_SUBJECT,
        claims::{bad, issued_at, strings},
    },
};

/// The event that a logout token is about (OpenID Connect Back-Channel Logout 1.0 section 2.4).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl ClaimRules {
    /// The identity of a token whose signature, audience and times are valid.
    ///
    /// # Errors
    /// `bad_token` if a required claim is missing or has a different value, or if the user or the
    /// groups are malformed.
    pub(crate) fn identity(
        &self,
        mut claims: Map<String, Value>,
        expires: UnixTime,
    ) -> Result<Identity, Rejection> {
        if claims.get("events").is_some_and(|events| events.get(LOGOUT).is_some()) {
            return Err(bad("a logout token does not authenticate".to_owned()));
        }
        if let Some(scopes) = scopes(&claims)? {
            claims.insert("scopes".to_owned(), scopes.into());
        }
        self.check_required(&claims)?;
        let groups = self.groups(&claims)?;
        let notes = match (&groups, &self.groups) {
            (None, Some(path)) => {
                vec![format!("the token has no claim `{path}` (`groups_claim`): no groups")]
            }
            (Some(_), _) | (None, None) => Vec::new(),
        };
        Ok(Identity {
            user: self.user(&claims)?,
            groups: groups.unwrap_or_default(),
            notes,
            issued_at: issued_at(&claims),
            claims,
            expires_at: Some(expires),
            ..Identity::default()
        })
    }

    fn check_required(&self, claims: &Map<String, Value>) -> Result<(), Rejection> {
        for (path, wanted) in &self.required {
            let Some(found) = path.find(claims) else {
                return Err(bad(format!("the required claim `{path}` is missing")));
            };
            let is_met = match found {
                Value::Array(list) => list.iter().any(|one| wanted.contains(one)),
                one => wanted.contains(one),
            };
            if is_met {
                continue;
            }
            let elements = found.as_array().map_or(std::slice::from_ref(found), Vec::as_slice);
            let has_type = |one: &Value| wanted.iter().any(|value| kind(value) == kind(one));
            let problem = match elements.iter().any(has_type) || elements.is_empty() {
                true => "has a different value".to_owned(),
                false => {
                    let types: BTreeSet<&str> = wanted.iter().map(kind).collect();
                    let types: Vec<&str> = types.into_iter().collect();
                    format!(
                        "has another type than required: {}, not {}",
                        elements.first().map(kind).unwrap_or_default(),
                        types.join(" or ")
                    )
                }
            };
            return Err(bad(format!("the required claim `{path}` {problem}")));
        }
        Ok(())
    }

    fn user(&self, claims: &Map<String, Value>) -> Result<String, Rejection> {
        let path = &self.user;
        if path.is("email") {
            check_verified(claims.get("email_verified"))?;
        }
        match path.find(claims) {
            Some(Value::String(user)) if path.is("email") && !is_address(user) => {
                Err(bad("`email` is not of the form `name@host`".to_owned()))
            }
            Some(Value::String(user)) if is_usable(user) => Ok(user.clone()),
            Some(Value::String(_)) => Err(bad(format!(
                "the user in `{path}` is empty, longer than {MAX_SUBJECT} bytes, or contains \
                 control or invisible characters"
            ))),
            Some(_) => Err(bad(format!("the user in `{path}` is not a string"))),
            None => Err(bad(format!("the claim `{path}` with the user is missing"))),
        }
    }

    /// The groups; `None` if the token has no such claim, or if none is configured.
    fn groups(&self, claims: &Map<String, Value>) -> Result<Option<Vec<String>>, Rejection> {
        let Some(path) = &self.groups else { return Ok(None) };
        if is_left_out(path, claims) {
            return Err(bad(format!(
                "the provider left the groups in `{path}` out of the token, usually because there \
                 are too many: use application roles, or let the provider filter the groups"
            )));
        }
        match (path.find(claims), &self.groups_split) {
            (None, _) => Ok(None),
            (Some(Value::String(text)), Some(separator)) => Ok(Some(split(text, separator))),
            (Some(Value::String(one)), None) => Ok(Some(vec![one.clone()])),
            // Zitadel and others map each role to details about it.
            (Some(Value::Object(details)), _) if details.values().all(is_granted) => {
                Ok(Some(details.keys().cloned().collect()))
            }
            (Some(Value::Object(_)), _) => {
                Err(bad(format!("a group in `{path}` is `false` or `null`: remove it")))
            }
            (Some(other), _) => match strings(other) {
                Some(groups) => Ok(Some(groups)),
                None => Err(bad(format!(
                    "the groups in `{path}` are {}: neither a string nor a list of strings, nor an \
                     object",
                    kind(other)
                ))),
            },
        }
    }
}

/// The user may have entered any address that the provider has not verified.
fn check_verified(verified: Option<&Value>) -> Result<(), Rejection> {
    let found = match verified {
        Some(Value::Bool(true)) => return Ok(()),
        Some(Value::Bool(false)) => "is false: the provider has not verified the address",
        Some(Value::String(_)) => "is text, not the boolean true: correct the provider's mapping",
        Some(_) => "is not a boolean: correct the provider's mapping",
        None => "is missing: let the provider add it to the token",
    };
    Err(bad(format!("`email` does not count because `email_verified` {found}")))
}

/// The scopes in `scope` (RFC 9068 section 2.2.3: text separated by spaces) and `scp` (Entra, Okta: text
/// or a list); `None` if the token has neither.
fn scopes(claims: &Map<String, Value>) -> Result<Option<Vec<String>>, Rejection> {
    let mut all: Option<Vec<String>> = None;
    for name in ["scope", "scp"] {
        let scopes = match claims.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => split(text, " "),
            Some(other) => strings(other).ok_or_else(|| {
                bad(format!("`{name}` is neither a string nor a list of strings"))
            })?,
        };
        let all = all.get_or_insert_default();
        all.extend(scopes.into_iter().filter(|scope| !all.contains(scope)).collect::<Vec<_>>());
    }
    Ok(all)
}

/// The JSON type, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn split(text: &str, separator: &str) -> Vec<String> {
    text.split(separator).filter(|piece| !piece.is_empty()).map(str::to_owned).collect()
}

/// A role that maps to false or null may be one that the user does not have.
fn is_granted(details: &Value) -> bool {
    !matches!(details, Value::Bool(false) | Value::Null)
}

/// True if the provider says that the claim exists but is not in the token: in `_claim_names` (OpenID
/// Connect Core 1.0 section 5.6.2), or in Entra's `hasgroups`. That is not the same as no groups.
fn is_left_out(path: &ClaimPath, claims: &Map<String, Value>) -> bool {
    let name = path.top_level();
    // Some providers and proxies pass it on as text that contains JSON, or as a list of names.
    let is_elsewhere = match claims.get("_claim_names") {
        Some(Value::String(text)) => text.contains(&format!("\"{name}\"")),
        Some(Value::Array(names)) => names.iter().any(|one| one == name),
        Some(names) => names.get(name).is_some(),
        None => false,
    };
    let has_groups = match claims.get("hasgroups") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.eq_ignore_ascii_case("false"),
        Some(_) => true,
    };
    is_elsewhere || (name == "groups" && has_groups && path.find(claims).is_none())
}

fn is_usable(user: &str) -> bool {
    !user.is_empty() && user.len() <= MAX_SUBJECT && !user.chars().any(is_invisible)
}

/// Exactly one `@`, with text on both sides, so that a condition on the end of the address tests the
/// host that the provider verified. In `evil@x.com@example.com` it would not.
fn is_address(email: &str) -> bool {
    matches!(email.split_once('@'), Some((name, host))
        if !name.is_empty() && !host.is_empty() && !host.contains('@'))
        && !email.chars().any(char::is_whitespace)
}
