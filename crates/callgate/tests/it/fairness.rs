//! A hanging backend or a flooding client leaves capacity for others.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{Client, ConnectError, ConnectOptions};
use callgate::{
    Callgate, Reply, User,
    authn::{Authenticator, Chain, Decline, Identity, Link},
    clock::UnixTime,
    policy::{
        Policy,
        settings::{
            AuthenticatorPolicy, AuthenticatorSelector, BindingSettings, PolicySettings,
            RoleSettings, SideSettings,
        },
    },
    record::{Decision, Reason},
    request::{AuthRequest, Credential},
    responder::{Responder, ResponderOptions, own_account},
};
use callgate_testkit::{NatsServer, Nkey, RequestBuilder, wait::PATIENCE};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::Semaphore;

use crate::{
    server::Callout,
    support::{Bench, NOW},
};

/// Answers immediately, except for users `hang…`, whose backend never answers, and users `wait…`, whose
/// backend needs a permit. Users whose names start with `others` are not its own.
#[derive(Debug)]
struct Directory {
    others: &'static str,
    backend: Arc<Semaphore>,
}

impl Authenticator for Directory {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async move {
            let Credential::Password { user, .. } = request.credential() else {
                return Err(Decline::NotMine);
            };
            if !self.others.is_empty() && user.starts_with(self.others) {
                return Err(Decline::NotMine);
            }
            if user.starts_with("hang") {
                std::future::pending::<()>().await;
            }
            if user.starts_with("wait") {
                self.backend.acquire().await.unwrap().forget();
            }
            Ok(Identity::of_user(user.clone()))
        })
    }
}

fn policy() -> Arc<Policy> {
    let publish = SideSettings { allow: vec!["a".to_owned()], deny: Vec::new() };
    let binding = BindingSettings {
        authenticator: AuthenticatorSelector::Every,
        account: Some("APP".to_owned()),
        roles: vec!["writer".to_owned()],
        ..BindingSettings::default()
    };
    let named = |n| AuthenticatorPolicy { name: format!("step{n}"), ..Default::default() };
    let settings = PolicySettings {
        roles: [("writer".to_owned(), RoleSettings { publish, ..RoleSettings::default() })].into(),
        bindings: vec![binding],
        authenticators: (0..2).map(named).collect(),
        ..PolicySettings::default()
    };
    Arc::new(Policy::build(settings).unwrap())
}

/// Two directories: the first does not know users `wait…`, the second knows all users. The backend
/// answers once per permit.
fn two_directories() -> (Bench, Arc<Semaphore>) {
    let backend = Arc::new(Semaphore::new(0));
    let link = |(position, others)| Link {
        name: format!("step{position}").into(),
        authenticator: Arc::new(Directory { others, backend: Arc::clone(&backend) }),
        timeout: Duration::from_secs(60),
        required: true,
    };
    let links = ["wait", ""].into_iter().enumerate().map(link).collect();
    (Bench::new(|builder| builder.chain(Chain::new(links), policy())), backend)
}

fn from(bench: &Bench, user: &str, host: &str) -> RequestBuilder {
    bench.request().password(user, "secret").host(host).auth_timeout(120)
}

/// Polls a decision once: returns the reply if it is ready, else the pending future.
async fn begin<'a>(
    bench: &'a Bench,
    request: RequestBuilder,
) -> Result<Reply, BoxFuture<'a, Reply>> {
    let mut answer = Box::pin(async move {
        let request = request.build();
        bench.gate.handle(&request.payload, None, UnixTime::from_seconds(NOW)).await
    });
    match futures_util::poll!(&mut answer) {
        std::task::Poll::Ready(reply) => Ok(reply),
        std::task::Poll::Pending => Err(answer),
    }
}

#[tokio::test]
async fn hanging_backend_does_not_block_other_decisions() {
    let (bench, backend) = two_directories();
    let mut hanging = Vec::new();
    for number in 0..1500 {
        let host = format!("10.0.{}.1", number % 100);
        match begin(&bench, from(&bench, "hang", &host)).await {
            Err(waiting) => hanging.push(waiting),
            Ok(_refused) => {
                let decision = bench.take_decisions().remove(0);
                assert_eq!(decision.reason, Reason::Overloaded);
                assert_eq!(decision.authenticator.as_deref(), Some("step0"));
                assert!(decision.detail.contains("max_in_flight"), "{}", decision.detail);
            }
        }
    }
    assert!(
        (800..=911).contains(&hanging.len()),
        "the authenticator's share of 1024: {}",
        hanging.len()
    );
    // Others still work: the same authenticator without its backend, and another one with it.
    bench.admitted(from(&bench, "alice", "10.0.0.1")).await;
    let mut waiting = FuturesUnordered::new();
    for number in 0..80 {
        let host = format!("10.1.{number}.1");
        waiting.push(
            begin(&bench, from(&bench, "wait", &host)).await.expect_err("the decision waits"),
        );
    }
    backend.add_permits(80);
    while waiting.next().await.is_some() {}
    let decisions = bench.take_decisions();
    assert_eq!(decisions.len(), 80);
    assert!(decisions.iter().all(|decision| decision.reason == Reason::Admitted));
    // Cancelled decisions free their places.
    hanging.clear();
    assert!(begin(&bench, from(&bench, "hang", "10.0.0.1")).await.is_err());
}

#[tokio::test]
async fn flooding_source_leaves_room_for_other_sources() {
    let (bench, _) = two_directories();
    let flood = |host: &'static str| {
        let bench = &bench;
        async move {
            let mut waiting = Vec::new();
            for _ in 0..1200 {
                waiting.extend(begin(bench, from(bench, "hang", host)).await.err());
            }
            waiting
        }
    };
    // A single source may use most of the capacity: an address can stand for a whole office.
    let first = flood("10.0.0.1").await;
    assert_eq!(first.len(), 810);
    for host in ["10.0.0.2", "2001:db8::1", "2001:db8:0:1::1"] {
        let other = begin(&bench, from(&bench, "hang", host)).await;
        assert!(other.is_err(), "{host} has a place");
    }
    // All addresses of an IPv6 network count as one.
    let network = flood("2001:db8::1").await;
    assert!(network.len() > 20);
    assert!(begin(&bench, from(&bench, "hang", "2001:db8::ffff")).await.is_ok(), "refused");
    assert!(begin(&bench, from(&bench, "hang", "2001:db8:1::1")).await.is_err());
}

/// Decisions about users `hang…` never end, all other users are admitted; at most 16 in flight.
async fn small_gate() -> (Callout, Responder, Arc<Mutex<Vec<Decision>>>) {
    let issuer = Nkey::account();
    let config = format!(
        "accounts {{ AUTH {{ users: [ {{ user: auth, password: auth }} ] }}, APP {{}} }}
         authorization {{
           timeout: 60
           auth_callout {{ issuer: {}, account: AUTH, auth_users: [ auth ] }}
         }}",
        issuer.public()
    );
    let server = NatsServer::start(&config).await;
    let callout = Callout { server, issuer, xkey: None };
    let decisions = Arc::<Mutex<Vec<Decision>>>::default();
    let record = Arc::clone(&decisions);
    let gate: Callgate = callout
        .builder()
        .authorize(|request| async move {
            let hangs = matches!(request.credential(),
                Credential::Password { user, .. } if user.starts_with("hang"));
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(User::in_account("APP").publish("a"))
        })
        .on_decision(move |decision| record.lock().unwrap().push(decision.clone()))
        .build()
        .unwrap();
    let client = callout.service().await;
    let options = ResponderOptions { max_in_flight: 16, ..ResponderOptions::default() };
    let responder = Responder::join(client.clone(), gate, options).await.unwrap();
    own_account(&client).await.unwrap();
    (callout, responder, decisions)
}

async fn login_from(server: &NatsServer, ip: [u8; 4], user: &str) -> Result<Client, ConnectError> {
    ConnectOptions::with_user_and_password(user.to_owned(), "secret".to_owned())
        .connection_timeout(PATIENCE)
        .local_address(SocketAddr::from((ip, 0)))
        .connect(server.url())
        .await
}

#[tokio::test]
async fn flooding_address_does_not_lock_out_others() {
    let (callout, responder, decisions) = small_gate().await;
    let server = &callout.server;
    let mut flood: FuturesUnordered<_> =
        (0..40).map(|_| login_from(server, [127, 0, 0, 2], "hang").boxed()).collect();
    // 15 requests hang; the rest are refused immediately.
    for _ in 0..25 {
        assert!(flood.next().await.unwrap().is_err());
    }
    assert_eq!(responder.in_flight(), 15);
    let refused: Vec<Decision> = std::mem::take(&mut decisions.lock().unwrap());
    assert!(refused.iter().all(|decision| decision.reason == Reason::Overloaded));
    assert_eq!(refused.len(), 25);
    for _ in 0..3 {
        login_from(server, [127, 0, 0, 1], "alice").await.unwrap();
    }
    assert!(
        login_from(server, [127, 0, 0, 2], "alice").await.is_err(),
        "the flooding address has used its share"
    );
    assert_eq!(responder.in_flight(), 15);
    let reasons = decisions.lock().unwrap().iter().map(|d| d.reason).collect::<Vec<_>>();
    assert_eq!(reasons, [Reason::Admitted, Reason::Admitted, Reason::Admitted, Reason::Overloaded]);
}
