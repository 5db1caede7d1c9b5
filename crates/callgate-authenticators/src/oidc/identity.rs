//! From verified claims to an identity.

use callgate::{
    authn::{Identity, Rejection},
    clock::UnixTime,
    subject::is_invisible,
};
use serde_json::{Map, Value};

use super::config::ClaimRules;
use crate::jws::{
    MAX_SUBJECT,
    claims::{bad, strings},
};

/// The event that a logout token is about (OpenID Connect Back-Channel Logout 1.0 section 2.4).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl ClaimRules {
    /// The identity of a token whose signature, audience and times are valid.
    ///
    /// # Errors
    /// `bad_token` if a required claim is missing or has a different value, or if the user or the
    /// groups are malformed.
    pub(super) fn identity(
        &self,
        claims: Map<String, Value>,
        expires: UnixTime,
    ) -> Result<Identity, Rejection> {
        if claims.get("events").is_some_and(|events| events.get(LOGOUT).is_some()) {
            return Err(bad("a logout token does not authenticate".to_owned()));
        }
        self.check_required(&claims)?;
        Ok(Identity {
            user: self.user(&claims)?,
            groups: self.groups(&claims)?,
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
            if !is_met {
                return Err(bad(format!("the required claim `{path}` has a different value")));
            }
        }
        Ok(())
    }

    fn user(&self, claims: &Map<String, Value>) -> Result<String, Rejection> {
        let path = &self.user;
        // The user may have entered any address that the provider has not verified.
        if path.is("email") && claims.get("email_verified") != Some(&Value::Bool(true)) {
            return Err(bad("`email` does not count unless `email_verified` is true".to_owned()));
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

    fn groups(&self, claims: &Map<String, Value>) -> Result<Vec<String>, Rejection> {
        let Some((path, found)) =
            self.groups.as_ref().and_then(|path| Some((path, path.find(claims)?)))
        else {
            return Ok(Vec::new());
        };
        match found {
            Value::String(one) => Ok(vec![one.clone()]),
            other => strings(other).ok_or_else(|| {
                bad(format!("the groups in `{path}` are neither a string nor a list of strings"))
            }),
        }
    }
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
