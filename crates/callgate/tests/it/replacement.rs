//! The configuration of a gate is replaced while a decision is in progress.

use std::sync::Arc;

use callgate::{
    Callgate, CallgateBuilder, Reply,
    authn::{Authenticator, Chain, Decline, Identity, Link},
    clock::UnixTime,
    policy::{
        Policy,
        settings::{
            AuthenticatorPolicy, AuthenticatorSelector, BindingSettings, PolicySettings,
            RoleSettings, SideSettings,
        },
    },
    request::AuthRequest,
};
use callgate_testkit::{CurveKey, Nkey, RequestBuilder, SignedRequest};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::support::{NOW, signer, xkey};

/// Coordinates a [`Waiting`] authenticator with its test.
#[derive(Debug)]
struct Waits {
    called: Semaphore,
    may_answer: Semaphore,
}

/// Identifies every user as alice, once the test allows it.
#[derive(Debug)]
struct Waiting(Arc<Waits>);

impl Authenticator for Waiting {
    fn authenticate<'a>(
        &'a self,
        _request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async {
            self.0.called.add_permits(1);
            self.0.may_answer.acquire().await.unwrap().forget();
            Ok(Identity::of_user("alice"))
        })
    }
}

/// A configuration with its own keys and account.
struct Configuration {
    issuer: Nkey,
    curve: CurveKey,
    waits: Arc<Waits>,
    account: &'static str,
}

impl Configuration {
    fn new(account: &'static str) -> Self {
        let (issuer, curve) = (Nkey::account(), CurveKey::generate());
        let waits = Waits { called: Semaphore::new(0), may_answer: Semaphore::new(0) };
        Self { issuer, curve, waits: Arc::new(waits), account }
    }

    fn builder(&self) -> CallgateBuilder {
        let link = Link {
            name: "directory".into(),
            authenticator: Arc::new(Waiting(Arc::clone(&self.waits))),
            timeout: std::time::Duration::from_secs(60),
            required: true,
        };
        Callgate::builder(signer(&self.issuer))
            .xkey(xkey(&self.curve))
            .chain(Chain::new(vec![link]), Arc::new(self.policy()))
    }

    fn policy(&self) -> Policy {
        let publish = SideSettings { allow: vec![self.account.to_owned()], deny: Vec::new() };
        let binding = BindingSettings {
            authenticator: AuthenticatorSelector::Every,
            account: Some(self.account.to_owned()),
            roles: vec!["writer".to_owned()],
            ..BindingSettings::default()
        };
        let authenticator =
            AuthenticatorPolicy { name: "directory".to_owned(), ..AuthenticatorPolicy::default() };
        let role = RoleSettings { publish, ..RoleSettings::default() };
        let settings = PolicySettings {
            roles: [("writer".to_owned(), role)].into(),
            bindings: vec![binding],
            authenticators: vec![authenticator],
            ..PolicySettings::default()
        };
        Policy::build(settings).unwrap()
    }

    fn request(&self) -> SignedRequest {
        RequestBuilder::new(&self.issuer.public(), NOW)
            .auth_timeout(60)
            .password("alice", "secret")
            .sealed_for(&self.curve.public())
            .build()
    }
}

/// Starts a decision, and returns when its authenticator has been called.
async fn begin(gate: &Callgate, with: &Configuration) -> tokio::task::JoinHandle<()> {
    let (gate, request, account) = (gate.clone(), with.request(), with.account);
    let decision = tokio::spawn(async move {
        let header = request.xkey_header.as_deref();
        let reply = gate.handle(&request.payload, header, UnixTime::from_seconds(NOW)).await;
        let Reply::Answer(answer) = reply else { panic!("no answer") };
        // Also checks the issuer and the seal.
        let response = request.open_response(&answer);
        assert_eq!(response.user()["aud"], account);
        assert_eq!(response.user()["nats"]["pub"]["allow"][0], account);
    });
    with.waits.called.acquire().await.unwrap().forget();
    decision
}

#[tokio::test]
async fn decision_keeps_the_configuration_it_started_with() {
    let (old, new) = (Configuration::new("OLD"), Configuration::new("NEW"));
    let gate = old.builder().build().unwrap();
    let before = begin(&gate, &old).await;
    gate.replace(new.builder()).unwrap();
    let after = begin(&gate, &new).await;
    // The later request is decided first.
    new.waits.may_answer.add_permits(1);
    after.await.unwrap();
    assert!(!before.is_finished());
    old.waits.may_answer.add_permits(1);
    before.await.unwrap();
    // The old configuration no longer applies to new requests.
    let request = old.request();
    let now = UnixTime::from_seconds(NOW);
    let reply = gate.handle(&request.payload, request.xkey_header.as_deref(), now).await;
    assert_eq!(reply, Reply::Silent);
    assert_eq!(old.waits.called.available_permits(), 0);
}
