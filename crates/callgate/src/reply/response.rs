//! The authorization response (nats-io/jwt v2 `authorization_claims.go`).

use super::ReplyContext;
use crate::{
    clock::UnixTime,
    json::push_text,
    jwt::{self, SignJwtError},
    keys::{AccountKey, ServerKey, Signer, UserKey},
};

/// Capacity for everything but the body, in bytes.
const CAPACITY: usize = 384;

/// The body of a response: exactly one of the two.
pub(crate) enum Response<'a> {
    /// A signed user JWT.
    User(&'a str),
    /// A text for the server's log; the client sees `Authorization Violation`.
    Error(&'static str),
}

/// Signs a response, valid for one connection on one server. `issuer_account` is the account whose
/// signing key signs, if it is not the account's own key.
pub(super) fn sign(
    response: &Response<'_>,
    context: &ReplyContext,
    signer: &dyn Signer,
    issuer_account: Option<&AccountKey>,
) -> Result<String, SignJwtError> {
    let ReplyContext { server, user, now, .. } = context;
    let issuer = signer.public_key();
    let json = claims(response, server, user, *now, issuer, issuer_account);
    jwt::sign_json(json.as_bytes(), |message| signer.sign(message))
}

/// Written by hand: the user JWT is most of it and needs no escaping.
fn claims(
    response: &Response<'_>,
    server: &ServerKey,
    user: &UserKey,
    now: UnixTime,
    issuer: &AccountKey,
    issuer_account: Option<&AccountKey>,
) -> String {
    let (name, body) = match response {
        Response::User(jwt) => ("jwt", *jwt),
        Response::Error(text) => ("error", *text),
    };
    let mut json = String::with_capacity(CAPACITY + body.len());
    json.push_str("{\"iat\":");
    json.push_str(&now.seconds().to_string());
    push_member(&mut json, ",\"iss\":", issuer.as_str());
    push_member(&mut json, ",\"sub\":", user.as_str());
    push_member(&mut json, ",\"aud\":", server.as_str());
    json.push_str(",\"nats\":{\"");
    json.push_str(name);
    push_member(&mut json, "\":", body);
    if let Some(account) = issuer_account {
        push_member(&mut json, ",\"issuer_account\":", account.as_str());
    }
    json.push_str(",\"type\":\"authorization_response\",\"version\":2}}");
    json
}

fn push_member(json: &mut String, name: &str, text: &str) {
    json.push_str(name);
    push_text(json, text);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::keys::{AccountSigner, KeyKind, KeyPair};

    #[test]
    fn response_is_the_json_that_serde_would_write() {
        let public = |kind| KeyPair::generate(kind).unwrap().public_key();
        let server: ServerKey = public(KeyKind::Server).parse().unwrap();
        let user: UserKey = public(KeyKind::User).parse().unwrap();
        let issuer = AccountSigner::generate().unwrap().public_key().clone();
        let now = UnixTime::from_seconds(1_700_000_000);
        for (response, account, body) in [
            (Response::User("a.b-_.c"), None, json!({ "jwt": "a.b-_.c" })),
            (Response::User("\"\\\n\u{1}é"), None, json!({ "jwt": "\"\\\n\u{1}é" })),
            (
                Response::Error("authorization failed"),
                Some(&issuer),
                json!({ "error": "authorization failed", "issuer_account": issuer.as_str() }),
            ),
        ] {
            let mut nats = json!({ "type": "authorization_response", "version": 2 });
            nats.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            let expected = json!({
                "iat": 1_700_000_000, "iss": issuer.as_str(), "sub": user.as_str(),
                "aud": server.as_str(), "nats": nats,
            });
            let written = claims(&response, &server, &user, now, &issuer, account);
            assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
        }
    }
}
