//! Simulates nats-server: creates authorization requests as a server would send them.
//!
//! For trying a configuration without a server, for tests and for load. This grants no access: the
//! reply to a simulated request is for a connection that does not exist.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    clock::UnixTime,
    connection::ConnectionKind,
    jwt,
    keys::{AccountKey, CurveKey, CurvePublicKey, KeyError, KeyKind, KeyPair},
    open::claims::AUDIENCE,
    secret::Secret,
};

/// The nonce that a simulated server gives its clients to sign.
const NONCE: &str = "aMadeUpNonceOfN";

/// The credentials of a simulated client.
#[derive(Debug, Default)]
pub struct ClientCredentials {
    /// `user`.
    pub user: Option<String>,
    /// `pass`.
    pub password: Option<Secret>,
    /// `auth_token`.
    pub token: Option<Secret>,
    /// An nkey that signs the nonce.
    pub nkey: Option<KeyPair>,
    /// The chain of a client certificate as the server verified it: PEM certificates, leaf first.
    /// Empty without one.
    pub certificate: Vec<String>,
}

/// A request to be simulated.
#[derive(Debug)]
pub struct RequestDraft {
    /// The client's credentials.
    pub presented: ClientCredentials,
    /// The kind of connection.
    pub connection: ConnectionKind,
    /// The client's address.
    pub source: String,
    /// How long the server waits for the reply, in whole seconds.
    pub patience: Duration,
}

/// A server with keys, but without a process.
#[derive(Debug)]
pub struct SimulatedServer {
    key: KeyPair,
    xkey: CurveKey,
}

impl SimulatedServer {
    /// A server with new keys.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn new() -> Result<Self, KeyError> {
        Ok(Self { key: KeyPair::generate(KeyKind::Server)?, xkey: CurveKey::generate()? })
    }

    /// Its public nkey: the `aud` of every reply to it.
    pub fn id(&self) -> String {
        self.key.public_key()
    }

    /// Its curve key.
    pub fn xkey(&self) -> &CurveKey {
        &self.xkey
    }
}

/// A request as it would arrive at the callout.
#[derive(Debug, Clone)]
pub struct SimulatedRequest {
    /// The payload.
    pub payload: Vec<u8>,
    /// The header [`XKEY_HEADER`](crate::XKEY_HEADER), if it is sealed.
    pub xkey_header: Option<String>,
    /// The key that the server generated for the connection: the `sub` of the reply.
    pub user_nkey: String,
}

/// Why a request could not be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// A key could not be generated or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Signing or sealing failed.
    #[error("the request cannot be signed: {0}")]
    Sign(String),
}

impl RequestDraft {
    /// A client on the NATS protocol from this machine, at a server that waits 2 s.
    pub fn new(presented: ClientCredentials) -> Self {
        Self {
            presented,
            connection: ConnectionKind::Nats,
            source: "127.0.0.1".to_owned(),
            patience: Duration::from_secs(2),
        }
    }

    /// The request of a new server, for the callout `subject`, sealed for `xkey`.
    ///
    /// # Errors
    /// If a key cannot be generated or used.
    pub fn sign(
        &self,
        subject: &AccountKey,
        xkey: Option<&CurvePublicKey>,
        now: UnixTime,
    ) -> Result<SimulatedRequest, SimulationError> {
        self.sign_as(&SimulatedServer::new()?, subject, xkey, now)
    }

    /// The same from a given server.
    ///
    /// # Errors
    /// If a key cannot be generated or used.
    pub fn sign_as(
        &self,
        server: &SimulatedServer,
        subject: &AccountKey,
        xkey: Option<&CurvePublicKey>,
        now: UnixTime,
    ) -> Result<SimulatedRequest, SimulationError> {
        let user_nkey = KeyPair::generate(KeyKind::User)?.public_key();
        let claims = self.claims(server, &user_nkey, subject, xkey.is_some(), now)?;
        let failed = |error: String| SimulationError::Sign(error);
        let token = jwt::sign_with(&claims, |message| server.key.sign(message))
            .map_err(|error| failed(error.to_string()))?;
        let Some(theirs) = xkey else {
            return Ok(SimulatedRequest {
                payload: token.into_bytes(),
                xkey_header: None,
                user_nkey,
            });
        };
        let sealed = server.xkey.shared_with(theirs).and_then(|key| key.seal(token.as_bytes()));
        Ok(SimulatedRequest {
            payload: sealed.map_err(|error| failed(error.to_string()))?,
            xkey_header: Some(server.xkey.public_key().to_string()),
            user_nkey,
        })
    }

    fn claims(
        &self,
        server: &SimulatedServer,
        user_nkey: &str,
        subject: &AccountKey,
        sealed: bool,
        now: UnixTime,
    ) -> Result<Value, SimulationError> {
        let id = server.id();
        let mut server_id = json!({
            "name": "made-up", "host": "127.0.0.1", "id": id, "version": "0.0.0",
        });
        if let (true, Some(map)) = (sealed, server_id.as_object_mut()) {
            map.insert("xkey".to_owned(), server.xkey.public_key().as_str().into());
        }
        let (kind, kind_of_client) = match self.connection {
            ConnectionKind::LeafNode => ("Leafnode", None),
            ConnectionKind::Unknown => ("Unknown", None),
            other => ("Client", Some(other.as_str())),
        };
        let mut claims = json!({
            // As long as a server's, and unique per connection.
            "jti": user_nkey.get(..52), "iat": now.seconds(), "exp": now.plus(self.patience).seconds(),
            "iss": id, "sub": subject.as_str(), "aud": AUDIENCE,
            "nats": {
                "server_id": server_id,
                "user_nkey": user_nkey,
                "client_info": {
                    "host": self.source, "id": 1, "kind": kind, "type": kind_of_client,
                    "nonce": NONCE,
                },
                "connect_opts": self.connect_options()?,
                "type": "authorization_request", "version": 2,
            },
        });
        let chain = &self.presented.certificate;
        if let (false, Some(nats)) = (chain.is_empty(), claims.pointer_mut("/nats")) {
            nats["client_tls"] = json!({
                "version": "1.3", "cipher": "TLS_AES_128_GCM_SHA256", "verified_chains": [chain],
            });
        }
        Ok(claims)
    }

    fn connect_options(&self) -> Result<Value, SimulationError> {
        let ClientCredentials { user, password, token, nkey, certificate: _ } = &self.presented;
        // Every client sends it, and some responders require it.
        let mut options = Map::from_iter([("protocol".to_owned(), 1.into())]);
        let mut put = |name: &str, value: Option<&str>| {
            options.extend(value.map(|value| (name.to_owned(), value.into())));
        };
        put("user", user.as_deref());
        put("pass", password.as_ref().map(Secret::expose));
        put("auth_token", token.as_ref().map(Secret::expose));
        if let Some(pair) = nkey {
            let sig =
                pair.sign(NONCE.as_bytes()).map_err(|e| SimulationError::Sign(e.to_string()))?;
            put("nkey", Some(&pair.public_key()));
            put("sig", Some(&data_encoding::BASE64URL_NOPAD.encode(&sig)));
        }
        Ok(options.into())
    }
}
