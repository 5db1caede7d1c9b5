//! The identity provider stops, hangs, or sends wrong responses.
//!
//! In each: tokens signed with known keys are still accepted, a token signed with a new key is refused
//! within the deadline, users of another authenticator are not affected, and the new key is accepted after
//! the provider recovers.

use std::time::Instant;

use callgate_testkit::{
    OidcProvider, eventually,
    oidc_provider::{Authority, KEYS, Misbehavior, SigningKey},
    wait::LONG,
};
use futures_util::FutureExt;
use serde_json::json;

use crate::{
    client::{Credential, attempt},
    fault::{Fault, NotRun},
    probe::Clients,
    report::Observations,
    scene::{ACCOUNT, Scene, USERS},
    trial::{Trial, seconds},
};

const FAMILY: &str = "identity provider";

/// The port is closed.
pub const REFUSES: Fault = Fault {
    family: FAMILY,
    name: "refuses connections",
    how: "the listener in front of the npm package oidc-provider is closed",
    story: || broken(Kind::Refuses).boxed_local(),
};

/// The provider accepts the request and never answers.
pub const HANGS: Fault = Fault {
    family: FAMILY,
    name: "hangs",
    how: "the request is accepted and never answered",
    story: || broken(Kind::Misbehaves(Misbehavior::Held)).boxed_local(),
};

/// One byte per second.
pub const DRIPS: Fault = Fault {
    family: FAMILY,
    name: "sends one byte per second",
    how: "the provider's real response, one byte per second",
    story: || broken(Kind::Misbehaves(Misbehavior::Dripping)).boxed_local(),
};

/// A response that is not a key set.
pub const GARBAGE: Fault = Fault {
    family: FAMILY,
    name: "returns garbage",
    how: "a login page with status 200 in place of the keys",
    story: || broken(Kind::Misbehaves(garbage())).boxed_local(),
};

/// Half of a response.
pub const HALF_CLOSES: Fault = Fault {
    family: FAMILY,
    name: "closes the connection in the middle of a response",
    how: "half of the provider's real response, then the sending side is closed",
    story: || broken(Kind::Misbehaves(Misbehavior::HalfClosed)).boxed_local(),
};

/// An expired certificate.
pub const EXPIRED: Fault = Fault {
    family: FAMILY,
    name: "presents an expired certificate",
    how: "the listener restarts with an expired certificate, later with a valid one",
    story: || broken(Kind::Expired).boxed_local(),
};

/// Every fault of this family.
pub const ALL: [Fault; 6] = [REFUSES, HANGS, DRIPS, GARBAGE, HALF_CLOSES, EXPIRED];

#[derive(Debug)]
enum Kind {
    Refuses,
    Misbehaves(Misbehavior),
    Expired,
}

fn garbage() -> Misbehavior {
    Misbehavior::Answer("200 OK", String::new(), "<!doctype html><h1>Please log in</h1>".to_owned())
}

async fn broken(kind: Kind) -> Result<Observations, NotRun> {
    let authority = Authority::new("ours");
    let mut provider = provider(&authority).await;
    let scene = Scene::builder().authenticators(&config(provider.issuer()));
    let mut scene = scene.file("ca.pem", authority.pem()).start().await;
    let clients = clients(&scene, &provider).await;
    let urls = clients.urls.clone();
    let mut trial = Trial::begins(scene.service().view(), clients).await;
    begin(&kind, &mut provider, &authority).await;
    provider.rotate().await;
    let newcomer = Credential::Token(provider.mint("ES256", json!({})).await);
    // A forged token may have triggered the one refresh of a cool-down before.
    let first = eventually("the provider to be asked for the new key", LONG, async || {
        let tried = attempt(&urls, &newcomer).await;
        assert!(!tried.is_admitted(), "admitted with a key that could not be fetched");
        trial.has_said("backend_unavailable").then_some(tried)
    })
    .await;
    trial.note(format!(
        "a token signed with a new key is refused after {}, `temporarily unavailable`",
        seconds(first.took)
    ));
    trial.clients_try().await;
    let user = attempt(&urls, &Credential::password("alice", "alice")).await;
    assert!(user.is_admitted(), "another authenticator is not affected: {user:?}");
    trial.all_are_admitted();
    trial.ends().await;
    end(&kind, &mut provider, &authority).await;
    let since = Instant::now();
    eventually("a client with the new key", LONG, async || {
        attempt(&urls, &newcomer).await.is_admitted().then_some(())
    })
    .await;
    let after = seconds(since.elapsed());
    trial.note(format!("the new key is accepted {after} after the provider recovers"));
    trial.recovers().await;
    trial.all_are_admitted();
    Ok(trial.seen().await)
}

/// The npm package with Node.js, the stand-in otherwise.
async fn provider(authority: &Authority) -> OidcProvider {
    if cfg!(feature = "node") {
        OidcProvider::npm_over_tls(authority.server()).await
    } else {
        OidcProvider::stand_in_over_tls(authority.server()).await
    }
}

async fn begin(kind: &Kind, provider: &mut OidcProvider, authority: &Authority) {
    match kind {
        Kind::Refuses => provider.front_mut().go_down().await,
        Kind::Misbehaves(misbehavior) => provider.front().misbehave(KEYS, misbehavior.clone()),
        Kind::Expired => {
            provider.front_mut().go_down().await;
            provider.front_mut().show(authority.expired_server());
            provider.front_mut().come_up().await;
        }
    }
}

async fn end(kind: &Kind, provider: &mut OidcProvider, authority: &Authority) {
    match kind {
        Kind::Refuses => provider.front_mut().come_up().await,
        Kind::Misbehaves(_) => provider.front().behave(),
        Kind::Expired => {
            provider.front_mut().go_down().await;
            provider.front_mut().show(authority.server());
            provider.front_mut().come_up().await;
        }
    }
}

/// A client with a valid token; others with tokens that are expired, for another audience, or forged.
async fn clients(scene: &Scene, provider: &OidcProvider) -> Clients {
    let good = provider.mint("ES256", json!({})).await;
    let stranger = SigningKey::generate(&key_of(&good), "ES256");
    let claims = json!({ "iss": provider.issuer(), "aud": "nats", "sub": "eve",
                         "iat": now(), "exp": now() + 600 });
    let wrong = vec![
        provider.mint("ES256", json!({ "iat": now() - 900, "exp": now() - 60 })).await,
        provider.mint("ES256", json!({ "aud": "other" })).await,
        stranger.token(&claims),
    ];
    Clients {
        right: Credential::Token(good),
        wrong: wrong.into_iter().map(Credential::Token).collect(),
        account: ACCOUNT.to_owned(),
        ..scene.clients()
    }
}

/// The key id in a token's header, which the forged token copies.
fn key_of(token: &str) -> String {
    let head = token.split('.').next().expect("a header");
    let head = data_encoding::BASE64URL_NOPAD.decode(head.as_bytes()).expect("base64url");
    let head: serde_json::Value = serde_json::from_slice(&head).expect("JSON");
    head["kid"].as_str().expect("a key id").to_owned()
}

fn now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_secs()).expect("in time")
}

fn config(issuer: &str) -> String {
    format!(
        r#"{USERS}
[[authenticators]]
name = "sso"
[authenticators.oidc]
issuer = "{issuer}"
ca = "ca.pem"
audience = ["nats"]
[[bindings]]
authenticator = "sso"
account = "APP"
roles = ["all"]
[roles.all]
publish = [">"]
inbox = "shared"
"#
    )
}
