//! Plays a nats-server towards a callout: makes its requests, good and forged, and judges the answers.
//!
//! Field names are those of nats-io/jwt v2 `authorization_claims.go`; what a server fills in was taken
//! from requests of real servers. Only the `nkeys` crate and plain JSON are used, so that this is a
//! second opinion on what Callgate does, not an echo.
//!
//! ```
//! use callgate_testkit::{CurveKey, Nkey, RequestBuilder};
//!
//! let (issuer, curve) = (Nkey::account(), CurveKey::generate());
//! let request = RequestBuilder::new(&issuer.public(), 1_700_000_000)
//!     .password("alice", "secret")
//!     .sealed_for(&curve.public())
//!     .build();
//! assert!(request.payload.starts_with(b"xkv1"));
//! assert!(request.xkey_header.is_some());
//! ```

mod fields;
pub mod jwt;
mod response;

use serde_json::{Map, Value, json};

use self::jwt::Header;
pub use self::{fields::FIELDS, response::Response};
use crate::keys::{CurveKey, Nkey};

/// How long nats-server waits by default, in seconds; the request's lifetime.
const AUTH_TIMEOUT: i64 = 2;

/// A request under construction. Calls take effect in their order, so that a later one overrides.
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    header: Header,
    claims: Value,
    server: Nkey,
    server_curve: CurveKey,
    signer: Option<Nkey>,
    sealed_for: Option<String>,
    xkey_header: Option<String>,
    corrupt_signature: bool,
}

/// A request as a server would publish it, and what is needed to judge the answer.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// The message's payload: a JWT, or a box with one.
    pub payload: Vec<u8>,
    /// The value of the message's `Nats-Server-Xkey` header.
    pub xkey_header: Option<String>,
    /// The JWT, whether sealed or not.
    pub token: String,
    /// The claims of that JWT.
    pub claims: Value,
    server_curve: CurveKey,
    sealed_for: Option<String>,
}

impl RequestBuilder {
    /// A request for the callout with this issuer (configuration mode) or account (operator mode), made
    /// at `now` (Unix seconds) by a server of its own, for a client on TCP that presents no credential.
    pub fn new(subject: &str, now: i64) -> Self {
        let server = Nkey::server();
        let claims = json!({
            "aud": "nats-authorization-request",
            "exp": now + AUTH_TIMEOUT,
            "iat": now,
            "iss": server.public(),
            "jti": "TESTKIT",
            "sub": subject,
            "nats": {
                "server_id": {
                    "name": "testkit",
                    "host": "127.0.0.1",
                    "id": server.public(),
                    "version": "2.15.1",
                },
                "user_nkey": Nkey::user().public(),
                "client_info": { "host": "127.0.0.1", "id": 5, "kind": "Client", "type": "nats" },
                "connect_opts": { "lang": "testkit", "version": "1.0.0", "protocol": 1 },
                "type": "authorization_request",
                "version": 2,
            },
        });
        RequestBuilder {
            header: Header::default(),
            claims,
            server,
            server_curve: CurveKey::generate(),
            signer: None,
            sealed_for: None,
            xkey_header: None,
            corrupt_signature: false,
        }
    }

    /// Encrypts for the holder of this public curve key, and says so as a server does: in the header
    /// and, signed, in `server_id.xkey`.
    pub fn sealed_for(mut self, callout_xkey: &str) -> Self {
        let own = self.server_curve.public();
        self.sealed_for = Some(callout_xkey.to_owned());
        self.xkey_header = Some(own.clone());
        self.server_id("xkey", own)
    }

    /// Another server: it signs, and is `iss` and `server_id.id`.
    pub fn server(mut self, server: &Nkey) -> Self {
        self.server = server.clone();
        self.claims["iss"] = json!(server.public());
        self.server_id("id", server.public())
    }

    /// The curve key of the server; call it before [`RequestBuilder::sealed_for`].
    pub fn server_curve(mut self, curve: &CurveKey) -> Self {
        self.server_curve = curve.clone();
        self
    }

    /// The key that the server made for this connection.
    pub fn user_nkey(self, public: &str) -> Self {
        self.mutate(|claims| claims["nats"]["user_nkey"] = json!(public))
    }

    /// A user name and a password.
    pub fn password(self, user: &str, password: &str) -> Self {
        self.connect("user", user).connect("pass", password).client("user", user)
    }

    /// A token (`auth_token`), as a server of today sends it; 2.10 repeats it in `client_info.user`, where
    /// later ones write `[REDACTED]`.
    pub fn token(self, token: &str) -> Self {
        self.connect("auth_token", token).client("user", "[REDACTED]")
    }

    /// A user JWT, or a bearer token in its place.
    pub fn jwt(self, jwt: &str) -> Self {
        self.connect("jwt", jwt)
    }

    /// The nonce that the server sent to the client; call it before [`RequestBuilder::nkey`].
    pub fn nonce(self, nonce: &str) -> Self {
        self.client("nonce", nonce)
    }

    /// An nkey and its signature over the nonce (one is made up if there is none).
    pub fn nkey(self, key: &Nkey) -> Self {
        let nonce = self.claims["nats"]["client_info"]["nonce"].as_str().map(str::to_owned);
        let nonce = nonce.unwrap_or_else(|| "testkit-nonce-0".to_owned());
        let signature = jwt::base64url(&key.sign(nonce.as_bytes()));
        let public = key.public();
        self.nonce(&nonce)
            .connect("nkey", &*public)
            .connect("sig", signature)
            .client("user", public)
    }

    /// The kind of the connection: `nats`, `websocket` or `mqtt`.
    pub fn client_type(self, kind: &str) -> Self {
        self.client("type", kind)
    }

    /// A leaf node, which has a kind of its own and no type.
    pub fn leaf_node(self) -> Self {
        self.client("kind", "Leafnode").mutate(|claims| {
            if let Some(client) = claims["nats"]["client_info"].as_object_mut() {
                client.remove("type");
            }
        })
    }

    /// The TCP peer.
    pub fn host(self, address: &str) -> Self {
        self.client("host", address)
    }

    /// A field of `client_info`.
    pub fn client(self, field: &str, value: impl Into<Value>) -> Self {
        self.set("client_info", field, value)
    }

    /// A field of `connect_opts`.
    pub fn connect(self, field: &str, value: impl Into<Value>) -> Self {
        self.set("connect_opts", field, value)
    }

    /// A field of `server_id`.
    pub fn server_id(self, field: &str, value: impl Into<Value>) -> Self {
        self.set("server_id", field, value)
    }

    /// TLS with a client certificate that the server verified: its chain in PEM, leaf first.
    pub fn verified_chain(self, chain: &[&str]) -> Self {
        self.client_tls(json!({
            "version": "1.3",
            "cipher": "TLS_AES_128_GCM_SHA256",
            "verified_chains": [chain],
        }))
    }

    /// All of `client_tls`.
    pub fn client_tls(self, tls: Value) -> Self {
        self.mutate(|claims| claims["nats"]["client_tls"] = tls)
    }

    /// The server's auth timeout: `exp` is this many seconds after `iat`.
    pub fn auth_timeout(self, seconds: i64) -> Self {
        self.mutate(|claims| {
            let issued = claims["iat"].as_i64().expect("`iat` is a number");
            claims["exp"] = json!(issued + seconds);
        })
    }

    /// `iat`, alone.
    pub fn issued_at(self, unix_seconds: i64) -> Self {
        self.mutate(|claims| claims["iat"] = json!(unix_seconds))
    }

    /// `exp`, alone.
    pub fn expires_at(self, unix_seconds: i64) -> Self {
        self.mutate(|claims| claims["exp"] = json!(unix_seconds))
    }

    /// `aud`; a real server always sends the default.
    pub fn audience(self, audience: &str) -> Self {
        self.mutate(|claims| claims["aud"] = json!(audience))
    }

    /// `sub`, as a server with another issuer would.
    pub fn subject(self, subject: &str) -> Self {
        self.mutate(|claims| claims["sub"] = json!(subject))
    }

    /// `iss` alone: the server's key still signs.
    pub fn issuer(self, issuer: &str) -> Self {
        self.mutate(|claims| claims["iss"] = json!(issuer))
    }

    /// Changes anything in the claims before they are signed.
    pub fn mutate(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.claims);
        self
    }

    /// Writes anything to a place such as `/nats/client_info/kind`, if its object is there ([`FIELDS`]).
    pub fn replace(self, place: &str, value: Value) -> Self {
        self.mutate(|claims| fields::replace(claims, place, value))
    }

    /// The JWT's header, such as `{"typ":"JWT","alg":"none"}`.
    pub fn jwt_header(mut self, header: Value) -> Self {
        self.header = Header(header);
        self
    }

    /// Signs with another key than the one that `iss` names.
    pub fn signed_by(mut self, key: &Nkey) -> Self {
        self.signer = Some(key.clone());
        self
    }

    /// Flips one bit of the signature.
    pub fn corrupt_signature(mut self) -> Self {
        self.corrupt_signature = true;
        self
    }

    /// The `Nats-Server-Xkey` header: another key than the signed and sealing one, or none.
    pub fn xkey_header(mut self, header: Option<&str>) -> Self {
        self.xkey_header = header.map(str::to_owned);
        self
    }

    /// Signs the request, and seals it if a recipient is set.
    pub fn build(self) -> SignedRequest {
        let signer = self.signer.as_ref().unwrap_or(&self.server);
        let mut token = jwt::sign(&self.header, &self.claims, signer);
        if self.corrupt_signature {
            token = jwt::with_corrupt_signature(&token);
        }
        let payload = match &self.sealed_for {
            Some(recipient) => self.server_curve.seal(token.as_bytes(), recipient),
            None => token.clone().into_bytes(),
        };
        SignedRequest {
            payload,
            xkey_header: self.xkey_header,
            token,
            claims: self.claims,
            server_curve: self.server_curve,
            sealed_for: self.sealed_for,
        }
    }

    fn set(mut self, part: &str, field: &str, value: impl Into<Value>) -> Self {
        let part = &mut self.claims["nats"][part];
        if !part.is_object() {
            *part = Value::Object(Map::new());
        }
        part[field] = value.into();
        self
    }
}

impl SignedRequest {
    /// The key that the server made for this connection: the `sub` of any answer.
    pub fn user_nkey(&self) -> &str {
        self.claims["nats"]["user_nkey"].as_str().unwrap_or("")
    }

    /// The server: the `aud` of any answer.
    pub fn server_id(&self) -> &str {
        self.claims["nats"]["server_id"]["id"].as_str().unwrap_or("")
    }
}
