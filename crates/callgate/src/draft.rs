//! Plays a server: makes authorization requests as nats-server would.
//!
//! For trying out a configuration without a server, for tests, and for load. Nothing here is a way
//! in: a request of a made-up server is answered for a connection that does not exist.

use serde_json::{Map, Value, json};

use crate::{
    clock::UnixTime,
    connection::ConnectionKind,
    keys::{AccountKey, CurveKey, CurvePublicKey, KeyError, KeyKind, KeyPair},
    secret::Secret,
    wire::{jwt, request::AUDIENCE},
};

/// The nonce that a made-up server gives its clients to sign.
const NONCE: &str = "aMadeUpNonceOfN";

/// What a client presents in a made-up request.
#[derive(Debug, Default)]
pub struct Presented {
    /// `user`.
    pub user: Option<String>,
    /// `pass`.
    pub password: Option<Secret>,
    /// `auth_token`.
    pub token: Option<Secret>,
    /// An nkey that signs the nonce.
    pub nkey: Option<KeyPair>,
}

/// A made-up request.
#[derive(Debug)]
pub struct RequestDraft {
    /// What the client presents.
    pub presented: Presented,
    /// How it came.
    pub connection: ConnectionKind,
    /// From where.
    pub source: String,
}

/// A request as it would arrive.
#[derive(Debug, Clone)]
pub struct DraftedRequest {
    /// The payload.
    pub payload: Vec<u8>,
    /// The header [`XKEY_HEADER`](crate::XKEY_HEADER), if it is sealed.
    pub xkey_header: Option<String>,
}

/// Why a request could not be made up.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// A key could not be made or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Signing or sealing failed.
    #[error("the request cannot be made: {0}")]
    Make(String),
}

impl RequestDraft {
    /// A client on the NATS protocol from this machine.
    pub fn new(presented: Presented) -> Self {
        Self { presented, connection: ConnectionKind::Nats, source: "127.0.0.1".to_owned() }
    }

    /// Signs the request with a new server key, for the callout `subject`, and seals it for `xkey`.
    ///
    /// # Errors
    /// If a key cannot be made or used.
    pub fn sign(
        &self,
        subject: &AccountKey,
        xkey: Option<&CurvePublicKey>,
        now: UnixTime,
    ) -> Result<DraftedRequest, DraftError> {
        let server = KeyPair::generate(KeyKind::Server)?;
        let user = KeyPair::generate(KeyKind::User)?;
        let server_xkey = xkey.map(|_| CurveKey::generate()).transpose()?;
        let id = server.public_key();
        let mut server_id = json!({
            "name": "made-up", "host": "127.0.0.1", "id": id, "version": "0.0.0",
        });
        if let (Some(key), Some(map)) = (&server_xkey, server_id.as_object_mut()) {
            map.insert("xkey".to_owned(), key.public_key().as_str().into());
        }
        let (kind, kind_of_client) = match self.connection {
            ConnectionKind::LeafNode => ("Leafnode", None),
            ConnectionKind::Unknown => ("Unknown", None),
            other => ("Client", Some(other.as_str())),
        };
        let claims = json!({
            "jti": "made-up", "iat": now.seconds(), "exp": now.seconds() + 2,
            "iss": id, "sub": subject.as_str(), "aud": AUDIENCE,
            "nats": {
                "server_id": server_id,
                "user_nkey": user.public_key(),
                "client_info": {
                    "host": self.source, "id": 1, "kind": kind, "type": kind_of_client,
                    "nonce": NONCE,
                },
                "connect_opts": self.connect_options()?,
                "type": "authorization_request", "version": 2,
            },
        });
        let failed = |error: String| DraftError::Make(error);
        let token = jwt::sign_with(&claims, |message| server.sign(message))
            .map_err(|error| failed(error.to_string()))?;
        let (Some(ours), Some(theirs)) = (&server_xkey, xkey) else {
            return Ok(DraftedRequest { payload: token.into_bytes(), xkey_header: None });
        };
        let sealed = ours.shared_with(theirs).and_then(|shared| shared.seal(token.as_bytes()));
        Ok(DraftedRequest {
            payload: sealed.map_err(|error| failed(error.to_string()))?,
            xkey_header: Some(ours.public_key().to_string()),
        })
    }

    fn connect_options(&self) -> Result<Value, DraftError> {
        let Presented { user, password, token, nkey } = &self.presented;
        let mut options = Map::new();
        let mut put = |name: &str, value: Option<&str>| {
            options.extend(value.map(|value| (name.to_owned(), value.into())));
        };
        put("user", user.as_deref());
        put("pass", password.as_ref().map(Secret::expose));
        put("auth_token", token.as_ref().map(Secret::expose));
        if let Some(pair) = nkey {
            let sig = pair.sign(NONCE.as_bytes()).map_err(|e| DraftError::Make(e.to_string()))?;
            put("nkey", Some(&pair.public_key()));
            put("sig", Some(&data_encoding::BASE64URL_NOPAD.encode(&sig)));
        }
        Ok(options.into())
    }
}
