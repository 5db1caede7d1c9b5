//! The authenticators of Callgate: they identify the client of a NATS connection.
//!
//! Each kind is one module and one line in [`kind::Registry::builtin`], both in this file. A kind
//! reads its own table of the configuration with [`callgate_config`], which reports all errors
//! together.

mod audience_routing;
#[allow(dead_code, unused_imports, reason = "a build without some kinds does not use all of it")]
pub mod backend;
#[cfg(feature = "certificate")]
pub mod certificate;
mod claim_path;
mod directory;
#[cfg(all(feature = "fuzzing", feature = "kubernetes", feature = "ldap"))]
pub mod fuzzing;
pub mod http_client;
pub mod jwks;
pub mod jws;
pub mod kind;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "ldap")]
pub mod ldap;
mod network;
pub mod oidc;
pub mod passwords;
pub mod service_tokens;
#[cfg(feature = "sql")]
pub mod sql;
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
        kinds
    }
}

#[cfg(test)]
mod test_issuer;
#[cfg(test)]
mod test_server;
