//! The authorization request, as nats-server writes it (nats-io/jwt v2 `authorization_claims.go`).
//!
//! Nearly every field is optional, `null` means absent, and unknown fields are ignored: a new server
//! version must not break a callout. Texts are borrowed from the request, since most are read once.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use crate::secret::Secret;

/// `nats.type` of every request, if present.
pub(crate) const TYPE: &str = "authorization_request";
/// `aud` of every request.
pub(crate) const AUDIENCE: &str = "nats-authorization-request";

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    reader: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

/// A text, borrowed unless it contains escapes.
fn text<'de, D: Deserializer<'de>>(reader: D) -> Result<Cow<'de, str>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Text<'de>>::deserialize(reader)?.map(|Text(text)| text).unwrap_or_default())
}

fn secret<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Secret>, D::Error> {
    let text = text(reader)?;
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

#[derive(Deserialize)]
pub(crate) struct RequestClaims<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) jti: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) iss: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) sub: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) aud: Cow<'a, str>,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    #[serde(borrow)]
    pub(crate) nats: Request<'a>,
}

#[derive(Deserialize)]
pub(crate) struct Request<'a> {
    #[serde(borrow)]
    pub(crate) server_id: ServerId<'a>,
    #[serde(borrow)]
    pub(crate) user_nkey: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub(crate) client_info: ClientInformation<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub(crate) connect_opts: ConnectOptions<'a>,
    #[serde(borrow, default)]
    pub(crate) client_tls: Option<ClientTls<'a>>,
    #[serde(borrow, default, deserialize_with = "text", rename = "type")]
    pub(crate) kind: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(crate) struct ServerId<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) host: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) version: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) cluster: Cow<'a, str>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) tags: Vec<String>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) xkey: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
pub(crate) struct ClientInformation<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) host: Cow<'a, str>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) id: u64,
    // `user` is omitted on purpose: unproven, and in 2.10 a clear-text token.
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text", rename = "type")]
    pub(crate) kind_of_client: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) mqtt_id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) nonce: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
pub(crate) struct ConnectOptions<'a> {
    #[serde(default, deserialize_with = "secret")]
    pub(crate) jwt: Option<Secret>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) nkey: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) sig: Cow<'a, str>,
    #[serde(default, deserialize_with = "secret")]
    pub(crate) auth_token: Option<Secret>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) user: Cow<'a, str>,
    #[serde(default, deserialize_with = "secret")]
    pub(crate) pass: Option<Secret>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) lang: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) version: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(crate) struct ClientTls<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) version: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(crate) cipher: Cow<'a, str>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) verified_chains: Vec<Vec<String>>,
}
