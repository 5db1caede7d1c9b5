//! An OpenID provider per test: the npm package `oidc-provider`, or a small stand-in where there is
//! no Node.js. Both sit behind one [`Front`], which can stop, delay responses and replace them.
//!
//! ```no_run
//! # async fn example() {
//! use callgate_testkit::OidcProvider;
//! use serde_json::json;
//!
//! let provider = OidcProvider::stand_in().await;
//! let token = provider.mint("ES256", json!({ "sub": "alice", "groups": ["staff"] })).await;
//! provider.rotate().await;
//! assert_eq!(provider.front().asked("/jwks"), 0);
//! # }
//! ```

mod authority;
mod front;
mod npm;
mod signing;
mod stand_in;

use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::{Value, json};

pub use self::authority::Authority;
pub use self::front::{Front, Misbehavior};
use self::npm::Npm;
pub use self::signing::SigningKey;
use self::stand_in::StandIn;
use crate::process::Process;

/// The signature algorithms of every provider here.
pub const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
/// The default audience of its tokens.
pub const AUDIENCE: &str = "nats";
/// Where its discovery document is.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
/// The ID and the secret of the client that may introspect opaque tokens of other clients.
pub const INTROSPECTING_CLIENT: (&str, &str) = ("callgate", "another-secret-of-this-test-only");
/// Where its keys are.
pub const KEYS: &str = "/jwks";

/// A running provider. It ends with this value.
#[derive(Debug)]
pub struct OidcProvider {
    front: Front,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Npm(Npm),
    StandIn(StandIn),
}

impl OidcProvider {
    /// The stand-in: discovery and keys over plain HTTP, tokens signed in this process.
    pub async fn stand_in() -> Self {
        Self::stand_in_behind(None).await
    }

    /// The stand-in behind TLS.
    pub async fn stand_in_over_tls(tls: Arc<ServerConfig>) -> Self {
        Self::stand_in_behind(Some(tls)).await
    }

    async fn stand_in_behind(tls: Option<Arc<ServerConfig>>) -> Self {
        let mut front = Front::new(tls);
        let backend = StandIn::new(front.origin());
        front.serve(backend.upstream()).await;
        Self { front, backend: Backend::StandIn(backend) }
    }

    /// The npm package `oidc-provider` over plain HTTP.
    ///
    /// # Panics
    /// If Node.js is not installed, or the provider does not start.
    pub async fn npm() -> Self {
        Self::npm_behind(None).await
    }

    /// The same behind TLS.
    ///
    /// # Panics
    /// As [`OidcProvider::npm`].
    pub async fn npm_over_tls(tls: Arc<ServerConfig>) -> Self {
        Self::npm_behind(Some(tls)).await
    }

    async fn npm_behind(tls: Option<Arc<ServerConfig>>) -> Self {
        let mut front = Front::new(tls);
        let backend = Npm::start(front.origin()).await;
        front.serve(backend.upstream()).await;
        Self { front, backend: Backend::Npm(backend) }
    }

    /// The issuer, as tokens name it.
    pub fn issuer(&self) -> &str {
        self.front.origin()
    }

    /// The proxy in front of it: counts requests, and can stop or replace responses.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// The same, mutable, to stop and start it.
    pub fn front_mut(&mut self) -> &mut Front {
        &mut self.front
    }

    /// A token for [`AUDIENCE`], valid for ten minutes, signed by the newest key of that algorithm.
    /// `claims` override the default ones; null removes a claim.
    pub async fn mint(&self, algorithm: &str, claims: Value) -> String {
        match &self.backend {
            Backend::Npm(npm) => {
                let wish = json!({ "alg": algorithm, "claims": claims });
                npm.control("mint", &wish).await["token"].as_str().expect("a token").to_owned()
            }
            Backend::StandIn(stand_in) => stand_in.mint(algorithm, &claims),
        }
    }

    /// An opaque token of the client `service` for [`AUDIENCE`], valid for ten minutes.
    ///
    /// # Panics
    /// With the stand-in, which issues only JWTs.
    pub async fn mint_opaque(&self) -> String {
        let answer = self.npm_backend().control("opaque", &json!({})).await;
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// Revokes an opaque token (RFC 7009).
    ///
    /// # Panics
    /// As [`OidcProvider::mint_opaque`].
    pub async fn revoke(&self, token: &str) {
        self.npm_backend().control("revoke", &json!({ "token": token })).await;
    }

    /// The process of the npm package, to freeze it.
    ///
    /// # Panics
    /// With the stand-in, which has none.
    pub fn process(&mut self) -> &mut Process {
        match &mut self.backend {
            Backend::Npm(npm) => &mut npm.process,
            Backend::StandIn(_) => panic!("the stand-in is not a process"),
        }
    }

    fn npm_backend(&self) -> &Npm {
        match &self.backend {
            Backend::Npm(npm) => npm,
            Backend::StandIn(_) => panic!("the stand-in issues no opaque tokens"),
        }
    }

    /// Makes new keys, and signs with them from now on. The old ones stay published.
    pub async fn rotate(&self) {
        match &self.backend {
            Backend::Npm(npm) => drop(npm.control("rotate", &json!({})).await),
            Backend::StandIn(stand_in) => stand_in.rotate(),
        }
    }

    /// Publishes only the newest keys from now on.
    pub async fn retire(&self) {
        match &self.backend {
            Backend::Npm(npm) => drop(npm.control("retire", &json!({})).await),
            Backend::StandIn(stand_in) => stand_in.retire(),
        }
    }
}
