//! External identities end to end: the binary, real nats-servers, real clients, and tokens of an OpenID
//! provider over HTTP.
//!
//! The provider is the npm package `oidc-provider` with the cargo feature `node`, and always also a stand-in;
//! see `callgate_testkit::oidc_provider`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

/// Defines a test with each provider for functions that take one.
macro_rules! with_each_provider {
    ($($name:ident),* $(,)?) => {
        mod with_the_stand_in {
            $(#[tokio::test]
            async fn $name() {
                super::$name(callgate_testkit::OidcProvider::stand_in().await).await;
            })*
        }
        #[cfg(feature = "node")]
        mod with_oidc_provider_of_npm {
            $(#[tokio::test]
            async fn $name() {
                super::$name(callgate_testkit::OidcProvider::npm().await).await;
            })*
        }
    };
}

mod certificates;
mod keys;
mod load;
mod malicious_provider;
mod policy;
mod reload;
mod service_tokens;
mod support;
mod tls;
mod tokens;
#[path = "../it/support/web_service.rs"]
#[expect(dead_code, reason = "another test binary uses the rest")]
mod web_service;
