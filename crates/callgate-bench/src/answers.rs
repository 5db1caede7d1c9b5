//! Checks answers: signatures, audience, and whether the client was admitted.

use callgate::{
    keys::{KeyKind, VerifyingKey, parse_public},
    simulation::SimulatedServer,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use crate::{
    Failure,
    premade::{Premade, Target},
};

/// Whether an answer admits the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    Refused,
}

/// Checks answers of one responder.
#[derive(Debug)]
pub(crate) struct Judge {
    target: Target,
    issuer: VerifyingKey,
}

impl Judge {
    pub(crate) fn new(target: Target) -> Result<Self, Failure> {
        Ok(Self { issuer: target.issuer.verifying()?, target })
    }

    /// The content of the answer to `request`; an error if the answer is not valid.
    pub(crate) fn judge(
        &self,
        request: &Premade,
        server: &SimulatedServer,
        answer: &[u8],
    ) -> Result<Verdict, Failure> {
        let plain = match &self.target.xkey {
            Some(xkey) => server.xkey().shared_with(xkey)?.open(answer)?.to_vec(),
            None => answer.to_vec(),
        };
        let claims = self.verified(&plain, None)?;
        let text =
            |pointer: &str| claims.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        expect(text("/sub") == request.user_nkey, "the answer is for another connection")?;
        expect(text("/aud") == server.id(), "the answer is for another server")?;
        expect(text("/nats/type") == "authorization_response", "not an authorization response")?;
        let jwt = text("/nats/jwt");
        if jwt.is_empty() {
            expect(!text("/nats/error").is_empty(), "it says neither yes nor no")?;
            return Ok(Verdict::Refused);
        }
        let user = self.verified(jwt.as_bytes(), None)?;
        let sub = user.get("sub").and_then(Value::as_str).unwrap_or_default();
        expect(sub == request.user_nkey, "the user JWT is for another connection")?;
        Ok(Verdict::Admitted)
    }

    /// The claims of a JWT that the issuer (or `key`) signed.
    fn verified(&self, token: &[u8], key: Option<&VerifyingKey>) -> Result<Value, Failure> {
        let token = std::str::from_utf8(token)?;
        let (signed, signature) = token.rsplit_once('.').ok_or("the answer is not a JWT")?;
        let claims = signed.split_once('.').ok_or("the answer is not a JWT")?.1;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes())?;
        let key = key.unwrap_or(&self.issuer);
        expect(key.verifies(signed.as_bytes(), &signature), "its signature is not the issuer's")?;
        Ok(serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes())?)?)
    }
}

fn expect(good: bool, otherwise: &str) -> Result<(), Failure> {
    if good { Ok(()) } else { Err(otherwise.into()) }
}

/// An account's public key from the command line.
pub(crate) fn issuer(text: &str) -> Result<callgate::keys::AccountKey, Failure> {
    parse_public(text, &[KeyKind::Account])?;
    Ok(text.parse()?)
}
