//! The authorization request, as nats-server writes it (nats-io/jwt v2 `authorization_claims.go`).
//!
//! Nearly every field is optional, `null` means absent, and unknown fields are passed over: a new
//! server version must not stop a callout.

use serde::{Deserialize, Deserializer};

use crate::secret::Secret;

/// `aud` of every request.
pub(crate) const AUDIENCE: &str = "nats-authorization-request";

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    reader: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

fn secret<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Secret>, D::Error> {
    let text = Option::<String>::deserialize(reader)?;
    Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
}

#[derive(Deserialize)]
pub(crate) struct RequestClaims {
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) jti: String,
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) nats: Request,
}

#[derive(Deserialize)]
pub(crate) struct Request {
    pub(crate) server_id: ServerId,
    pub(crate) user_nkey: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) client_info: ClientInformation,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) connect_opts: ConnectOptions,
    #[serde(default)]
    pub(crate) client_tls: Option<ClientTls>,
}

#[derive(Deserialize)]
pub(crate) struct ServerId {
    pub(crate) id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) host: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) version: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) cluster: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) tags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) xkey: String,
}

#[derive(Deserialize, Default)]
pub(crate) struct ClientInformation {
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) host: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) id: u64,
    // `user` is left out on purpose: unproven, and in 2.10 a token in clear.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "nullable", rename = "type")]
    pub(crate) kind_of_client: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) mqtt_id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) nonce: String,
}

#[derive(Deserialize, Default)]
pub(crate) struct ConnectOptions {
    #[serde(default, deserialize_with = "secret")]
    pub(crate) jwt: Option<Secret>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) nkey: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) sig: String,
    #[serde(default, deserialize_with = "secret")]
    pub(crate) auth_token: Option<Secret>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) user: String,
    #[serde(default, deserialize_with = "secret")]
    pub(crate) pass: Option<Secret>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) lang: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) version: String,
}

#[derive(Deserialize)]
pub(crate) struct ClientTls {
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) version: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) cipher: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) verified_chains: Vec<Vec<String>>,
}
