//! The answer to an authorization request (nats-io/jwt v2 `authorization_claims.go`).

use crate::{
    clock::UnixTime,
    json::push_text,
    jwt::{self, SignJwtError},
    keys::{AccountKey, ServerKey, Signer, UserKey},
};

/// Room for everything but what is said, in bytes.
const ROOM: usize = 384;

/// What an answer says: exactly one of the two.
pub(crate) enum Answer<'a> {
    /// A signed user JWT.
    User(&'a str),
    /// A text for the server's log; the client sees `Authorization Violation`.
    Error(&'static str),
}

/// To whom an answer goes: it is good for this connection at this server only.
pub(crate) struct Addressee<'a> {
    pub(crate) server: &'a ServerKey,
    pub(crate) user: &'a UserKey,
}

/// Signs an answer. `issuer_account` is named when a signing key of that account signs.
pub(crate) fn sign(
    answer: &Answer<'_>,
    to: &Addressee<'_>,
    now: UnixTime,
    signer: &dyn Signer,
    issuer_account: Option<&AccountKey>,
) -> Result<String, SignJwtError> {
    let json = claims(answer, to, now, signer.public_key(), issuer_account);
    jwt::sign_json(json.as_bytes(), |message| signer.sign(message))
}

/// Written by hand: the user JWT is most of it, and needs no look at each of its bytes.
fn claims(
    answer: &Answer<'_>,
    to: &Addressee<'_>,
    now: UnixTime,
    issuer: &AccountKey,
    issuer_account: Option<&AccountKey>,
) -> String {
    let (name, said) = match answer {
        Answer::User(jwt) => ("jwt", *jwt),
        Answer::Error(text) => ("error", *text),
    };
    let mut json = String::with_capacity(ROOM + said.len());
    json.push_str("{\"iat\":");
    json.push_str(&now.seconds().to_string());
    push_member(&mut json, ",\"iss\":", issuer.as_str());
    push_member(&mut json, ",\"sub\":", to.user.as_str());
    push_member(&mut json, ",\"aud\":", to.server.as_str());
    json.push_str(",\"nats\":{\"");
    json.push_str(name);
    push_member(&mut json, "\":", said);
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
    fn an_answer_is_the_json_that_a_serializer_would_write() {
        let public = |kind| KeyPair::generate(kind).unwrap().public_key();
        let (server, user) = (
            public(KeyKind::Server).parse::<ServerKey>().unwrap(),
            public(KeyKind::User).parse::<UserKey>().unwrap(),
        );
        let to = Addressee { server: &server, user: &user };
        let issuer = AccountSigner::generate().unwrap().public_key().clone();
        let now = UnixTime::from_seconds(1_700_000_000);
        for (answer, account, said) in [
            (Answer::User("a.b-_.c"), None, json!({ "jwt": "a.b-_.c" })),
            (Answer::User("\"\\\n\u{1}é"), None, json!({ "jwt": "\"\\\n\u{1}é" })),
            (
                Answer::Error("authorization failed"),
                Some(&issuer),
                json!({ "error": "authorization failed", "issuer_account": issuer.as_str() }),
            ),
        ] {
            let mut nats = json!({ "type": "authorization_response", "version": 2 });
            nats.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
            let expected = json!({
                "iat": 1_700_000_000, "iss": issuer.as_str(), "sub": user.as_str(),
                "aud": server.as_str(), "nats": nats,
            });
            let written = claims(&answer, &to, now, &issuer, account);
            assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
        }
    }
}
