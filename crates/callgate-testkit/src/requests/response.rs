//! Checks a callout's answer as nats-server does, and more strictly where Callgate promises more.

use serde_json::{Value, json};

use super::{SignedRequest, jwt};

/// A callout's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// The claims of the user JWT, whose signature by its `iss` was verified.
    Admitted(Value),
    /// The text for the server's log.
    Refused(String),
}

impl Response {
    /// The claims of the user JWT.
    ///
    /// # Panics
    /// If the client was refused.
    pub fn user(&self) -> &Value {
        match self {
            Response::Admitted(user) => user,
            Response::Refused(error) => panic!("refused: {error}"),
        }
    }

    /// The text of the refusal.
    ///
    /// # Panics
    /// If the client was admitted.
    pub fn error(&self) -> &str {
        match self {
            Response::Admitted(user) => panic!("admitted: {user}"),
            Response::Refused(error) => error,
        }
    }
}

impl SignedRequest {
    /// Opens and verifies the answer to this request.
    ///
    /// # Panics
    /// If a server would reject it; see [`SignedRequest::try_open_response`].
    pub fn open_response(&self, answer: &[u8]) -> Response {
        self.try_open_response(answer).unwrap_or_else(|error| panic!("a bad answer: {error}"))
    }

    /// Opens the answer with the server's curve key if the request was sealed, and checks signatures,
    /// `iss` (the callout's issuer; in operator mode a signing key of the account in `issuer_account`),
    /// `sub`, `aud`, types and versions.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn try_open_response(&self, answer: &[u8]) -> Result<Response, String> {
        let token = self.unsealed(answer)?;
        let claims = jwt::verified_claims(&token)?;
        expect(&claims["sub"], self.user_nkey(), "`sub` of the answer")?;
        expect(&claims["aud"], self.server_id(), "`aud` of the answer")?;
        self.check_issuer(&claims)?;
        let nats = &claims["nats"];
        check_type(nats, "authorization_response")?;
        match (text(&nats["jwt"]), text(&nats["error"])) {
            (Some(user), None) => self.user(user).map(Response::Admitted),
            (None, Some(error)) => Ok(Response::Refused(error.to_owned())),
            (None, None) => Err("neither `jwt` nor `error`".to_owned()),
            (Some(_), Some(_)) => Err("both `jwt` and `error`".to_owned()),
        }
    }

    fn unsealed(&self, answer: &[u8]) -> Result<String, String> {
        let plain = match &self.sealed_for {
            // nats-server would accept a plaintext answer; Callgate must never send one.
            Some(callout) => self
                .server_curve
                .open(answer, callout)
                .ok_or("the answer is not sealed by the key that the request was sealed for")?,
            None => answer.to_vec(),
        };
        String::from_utf8(plain).map_err(|_| "the answer is not text".to_owned())
    }

    fn check_issuer(&self, claims: &Value) -> Result<(), String> {
        let subject = &self.claims["sub"];
        let signing_key_of = &claims["nats"]["issuer_account"];
        if &claims["iss"] == subject || signing_key_of == subject {
            return Ok(());
        }
        Err(format!("the answer is by {}, not by {subject}", claims["iss"]))
    }

    fn user(&self, token: &str) -> Result<Value, String> {
        let claims = jwt::verified_claims(token).map_err(|error| format!("user JWT: {error}"))?;
        expect(&claims["sub"], self.user_nkey(), "`sub` of the user JWT")?;
        check_type(&claims["nats"], "user")?;
        Ok(claims)
    }
}

fn check_type(nats: &Value, kind: &str) -> Result<(), String> {
    expect(&nats["type"], kind, "`type`")?;
    if nats["version"] == json!(2) {
        return Ok(());
    }
    Err(format!("`version` is {}", nats["version"]))
}

fn expect(found: &Value, expected: &str, what: &str) -> Result<(), String> {
    if found.as_str() == Some(expected) {
        return Ok(());
    }
    Err(format!("{what} is {found}, not `{expected}`"))
}

/// Treats empty as absent, as nats-server does.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}
