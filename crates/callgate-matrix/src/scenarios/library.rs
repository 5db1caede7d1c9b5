//! A custom callout built with the library, with the keys of a site.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
};

use async_nats::Client;
use callgate::{
    AccountKeys, Callgate, Refusal, User,
    keys::{AccountSigner, Signer},
    record::{Decision, Reason},
    request::{AuthRequest, Credential},
    responder::{Responder, ResponderOptions, own_account},
    secret::Secret,
};
use callgate_testkit::{NatsServer, nats_server::Version};

use super::server;
use crate::{
    clients::{Login, options},
    mode::Mode,
    observers,
    report::Outcome,
    site::{Pair, Site, Variation},
};

/// A running callout, and the decisions that it made.
pub(super) struct Library {
    _responder: Responder,
    decisions: Arc<Mutex<Vec<Decision>>>,
}

impl Library {
    /// Starts a callout that decides with `authorize`.
    pub(super) async fn start<F, A>(site: &Site, server: &NatsServer, authorize: F) -> Self
    where
        F: Fn(Arc<AuthRequest>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<User, Refusal>> + Send + 'static,
    {
        let decisions = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&decisions);
        let mut builder = Callgate::builder(signer(&site.signers.issuer))
            .authorize(authorize)
            .on_decision(move |decision| kept.lock().expect("a lock").push(decision.clone()));
        if let Some(xkey) = &site.signers.xkey {
            builder = builder.xkey(xkey.key());
        }
        if let Some(callout) = &site.signers.callout_account {
            let id = site.accounts["APP"].parse().expect("an account key");
            let app = Arc::new(signer(&site.signers.app));
            let reader = Arc::new(signer(&site.signers.reader)) as Arc<dyn Signer>;
            let scoped = BTreeMap::from([("reader".to_owned(), reader)]);
            let keys = AccountKeys { id, signer: app, scoped };
            builder = builder
                .operator_mode(callout.parse().expect("an account key"))
                .account("APP", keys);
        }
        let service = builder.build().expect("a service");
        let client = observers::connect(&site.callout, server).await;
        Self { _responder: join(service, client).await, decisions }
    }

    /// More about each request so far, for people.
    pub(super) fn details(&self) -> Vec<String> {
        let decisions = self.decisions.lock().expect("a lock");
        decisions.iter().map(|decision| decision.detail.clone()).collect()
    }

    /// Why each request so far was decided as it was.
    pub(super) fn reasons(&self) -> Vec<Reason> {
        self.decisions.lock().expect("a lock").iter().map(|decision| decision.reason).collect()
    }
}

async fn join(service: Callgate, client: Client) -> Responder {
    let own = own_account(&client).await.expect("an answer");
    service.learn_callout_account(&own.account);
    let responder = Responder::join(client.clone(), service, ResponderOptions::default()).await;
    // The answer shows that the server has the subscription.
    own_account(&client).await.expect("an answer");
    responder.expect("a subscription")
}

fn signer(pair: &Pair) -> AccountSigner {
    AccountSigner::from_seed(&Secret::new(pair.seed())).expect("an account seed")
}

/// A user whose password is the user name may use every subject in APP.
pub(super) async fn by_name(request: Arc<AuthRequest>) -> Result<User, Refusal> {
    match request.credential() {
        Credential::Password { user, password } if password.matches(user) => {
            Ok(User::in_account("APP").named(user).unrestricted())
        }
        _ => Err(Refusal::deny("the password is not the name")),
    }
}

/// A user with a token may use every subject in APP.
pub(super) async fn by_token(request: Arc<AuthRequest>) -> Result<User, Refusal> {
    match request.credential() {
        Credential::Token(_) => Ok(User::in_account("APP").named("bearer").unrestricted()),
        _ => Err(Refusal::deny("no token")),
    }
}

pub(super) async fn server_facts(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let more = "server_tags: [\"rack:7\", \"Blue\"]\n\
                cluster { name: mountain, listen: \"127.0.0.1:{{cluster_port}}\" }";
    let server = server(&site, version, more).await;
    let seen = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&seen);
    let _service = Library::start(&site, &server, move |request| {
        *kept.lock().expect("a lock") = Some(request.server().clone());
        by_name(request)
    })
    .await;
    let login = Login::password("alice", "alice");
    options(&site, &login).connect(server.url()).await.expect("alice is in");
    let facts = seen.lock().expect("a lock").clone().expect("a request");
    assert_eq!((facts.name.as_str(), facts.cluster.as_str()), ("scenario", "mountain"));
    assert_eq!(facts.version, version.to_string());
    assert!(facts.tags.iter().any(|tag| tag == "rack:7"), "{facts:?}");
    Outcome::passed(["name, cluster, version and tags are those of the server"])
}

pub(super) async fn refusal_texts(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let mut server = server(&site, version, "").await;
    let service = Library::start(&site, &server, async |request: Arc<AuthRequest>| {
        match request.credential() {
            Credential::Password { user, .. } if user == "pending" => {
                Err(Refusal::Unavailable("the directory at ldap.internal is down".to_owned()))
            }
            _ => Err(Refusal::deny("mallory was seen before")),
        }
    })
    .await;
    for (user, text) in
        [("mallory", "authorization failed"), ("pending", "temporarily unavailable")]
    {
        let login = Login::password(user, "x");
        assert!(options(&site, &login).connect(server.url()).await.is_err(), "{user}");
        server.wait_for_log(text).await;
    }
    let log = server.log();
    assert!(!log.contains("mallory was seen") && !log.contains("ldap.internal"), "{log}");
    assert_eq!(service.reasons(), [Reason::BadPassword, Reason::BackendUnavailable]);
    Outcome::passed(["a refusal", "an outage", "nothing of why"])
}
