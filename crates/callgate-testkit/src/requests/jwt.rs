//! NATS JWTs, without a NATS JWT library.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::keys::Nkey;

/// The first part of a JWT.
#[derive(Clone, Debug)]
pub struct Header(pub Value);

impl Default for Header {
    /// What nats-io/jwt v2 writes.
    fn default() -> Self {
        Header(json!({ "typ": "JWT", "alg": "ed25519-nkey" }))
    }
}

/// Base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Signs claims unchanged, even if `iss` names another key.
pub fn sign(header: &Header, claims: &Value, signer: &Nkey) -> String {
    let body = format!(
        "{}.{}",
        base64url(header.0.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes())
    );
    let signature = base64url(&signer.sign(body.as_bytes()));
    format!("{body}.{signature}")
}

/// Signs claims, with the signer as `iss` and the usual header.
pub fn sign_as_issuer(claims: &Value, signer: &Nkey) -> String {
    let mut claims = claims.clone();
    claims["iss"] = json!(signer.public());
    sign(&Header::default(), &claims, signer)
}

/// Flips one bit of the signature.
pub(super) fn with_corrupt_signature(token: &str) -> String {
    let (body, signature) = token.rsplit_once('.').expect("a signed token");
    let mut bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("a signature of ours");
    bytes[0] ^= 1;
    format!("{body}.{}", base64url(&bytes))
}

/// The claims of a valid JWT: NATS header, and signed by its `iss`.
///
/// # Errors
/// What is wrong with it.
pub fn verified_claims(token: &str) -> Result<Value, String> {
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        return Err(format!("`{token}` is not three parts"));
    };
    let header = json_part(header)?;
    if header != Header::default().0 {
        return Err(format!("the header is {header}"));
    }
    let body = &token[..token.rfind('.').expect("three parts")];
    let claims = json_part(claims)?;
    let issuer = claims["iss"].as_str().ok_or("`iss` is missing")?;
    let key = KeyPair::from_public_key(issuer).map_err(|_| format!("`iss` is `{issuer}`"))?;
    let signature = base64url_decode(signature)?;
    key.verify(body.as_bytes(), &signature).map_err(|_| "the signature is wrong".to_owned())?;
    Ok(claims)
}

fn json_part(part: &str) -> Result<Value, String> {
    let bytes = base64url_decode(part)?;
    serde_json::from_slice(&bytes).map_err(|error| format!("a part is not JSON: {error}"))
}

fn base64url_decode(text: &str) -> Result<Vec<u8>, String> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|error| format!("not base64url: {error}"))
}
