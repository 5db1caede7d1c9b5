//! The authenticators of Callgate: they identify the client of a NATS connection.
//!
//! Each kind is one module and one line in [`kind::Registry::builtin`], both in this file. A kind
//! reads its own table of the configuration with [`callgate_config`], which reports all errors
//! together.

#![cfg_attr(
    not(all(
        feature = "anonymous",
        feature = "certificate",
        feature = "http",
        feature = "introspection",
        feature = "kubernetes",
        feature = "kv",
        feature = "ldap",
        feature = "nats",
        feature = "sql"
    )),
    allow(
        dead_code,
        unused_imports,
        reason = "a build without some kinds does not use everything that they share"
    )
)]

#[cfg(feature = "anonymous")]
pub mod anonymous;
mod audience_routing;
pub mod backend;
#[cfg(feature = "certificate")]
pub mod certificate;
mod claim_path;
#[cfg(any(feature = "certificate", feature = "http", feature = "nats"))]
mod client_certificate;
mod directory;
#[cfg(all(feature = "fuzzing", feature = "kubernetes", feature = "ldap"))]
pub mod fuzzing;
#[cfg(feature = "http")]
pub mod http;
pub mod http_client;
#[cfg(feature = "introspection")]
pub mod introspection;
pub mod jwks;
pub mod jws;
pub mod kind;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "kv")]
pub mod kv;
#[cfg(feature = "ldap")]
pub mod ldap;
#[cfg(feature = "ldap")]
mod ldap_client;
#[cfg(feature = "nats")]
pub mod nats;
mod network;
#[cfg(feature = "introspection")]
mod oauth_client;
pub mod oidc;
pub mod passwords;
#[allow(
    dead_code,
    unused_imports,
    reason = "a build without `http` and `nats` only prints the schemas"
)]
pub mod question;
pub mod second_factor;
pub mod service_tokens;
#[cfg(feature = "sql")]
pub mod sql;
#[cfg(feature = "sql")]
mod sql_client;
pub mod state_dir;
mod token_verifier;
pub mod users;
mod verified_token_cache;

impl kind::Registry {
    /// The kinds of this build.
    pub fn builtin() -> Self {
        let kinds = Self::empty()
            .with(users::Users)
            .with(oidc::OidcKind)
            .with(service_tokens::ServiceTokensKind);
        #[cfg(feature = "kubernetes")]
        let kinds = kinds.with(kubernetes::KubernetesKind);
        #[cfg(feature = "ldap")]
        let kinds = kinds.with(ldap::LdapKind);
        #[cfg(feature = "certificate")]
        let kinds = kinds.with(certificate::CertificateKind);
        #[cfg(feature = "sql")]
        let kinds = kinds.with(sql::SqlKind);
        #[cfg(feature = "http")]
        let kinds = kinds.with(http::HttpKind);
        #[cfg(feature = "nats")]
        let kinds = kinds.with(nats::NatsKind);
        #[cfg(feature = "kv")]
        let kinds = kinds.with(kv::Kv);
        #[cfg(feature = "introspection")]
        let kinds = kinds.with(introspection::IntrospectionKind);
        #[cfg(feature = "anonymous")]
        let kinds = kinds.with(anonymous::AnonymousKind);
        kinds
    }
}

#[cfg(test)]
mod test_issuer;
#[cfg(test)]
mod test_server;
