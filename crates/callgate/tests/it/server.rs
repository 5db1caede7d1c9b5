//! A function as the callout of a real nats-server.

use std::sync::{Arc, Mutex};

use async_nats::{Client, ConnectOptions, connection::State};
use callgate::{
    Callgate, Refusal, User,
    keys::CurveKey,
    record::{Decision, Outcome, Reason},
    request::{AuthRequest, Credential},
    responder::{Responder, ResponderOptions, ServeError, own_account},
};
use callgate_testkit::{
    NatsServer, Nkey, eventually,
    wait::{LONG, PATIENCE},
};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use crate::support::{signer, xkey};

pub(crate) const VERSIONS: [&str; 2] = ["2.10", "2.15"];

/// A server that authenticates its clients with a callout.
#[derive(Debug)]
pub(crate) struct Callout {
    pub(crate) server: NatsServer,
    pub(crate) issuer: Nkey,
    pub(crate) xkey: Option<callgate_testkit::CurveKey>,
}

impl Callout {
    pub(crate) async fn start(version: &str, sealed: bool) -> Self {
        let issuer = Nkey::account();
        let xkey = sealed.then(callgate_testkit::CurveKey::generate);
        let xkey_line =
            xkey.as_ref().map(|key| format!("xkey: {}", key.public())).unwrap_or_default();
        let config = format!(
            "accounts {{ AUTH {{ users: [ {{ user: auth, password: auth }} ] }}, APP {{}} }}
             authorization {{
               auth_callout {{ issuer: {}, account: AUTH, auth_users: [ auth ], {xkey_line} }}
             }}",
            issuer.public()
        );
        let server = NatsServer::builder().version(version).config(&config).start().await;
        Self { server, issuer, xkey }
    }

    /// A client of the callout account.
    pub(crate) async fn service(&self) -> Client {
        login(&self.server, "auth", "auth").await.unwrap()
    }

    pub(crate) fn builder(&self) -> callgate::CallgateBuilder {
        let builder = Callgate::builder(signer(&self.issuer)).authorize(authorize);
        match &self.xkey {
            Some(key) => builder.xkey(xkey(key)),
            None => builder,
        }
    }

    /// A member of the queue group whose subscription the server has confirmed.
    pub(crate) async fn replica(&self, gate: Callgate) -> Responder {
        let client = self.service().await;
        let responder =
            Responder::join(client.clone(), gate, ResponderOptions::default()).await.unwrap();
        own_account(&client).await.unwrap();
        responder
    }
}

pub(crate) async fn login(
    server: &NatsServer,
    user: &str,
    password: &str,
) -> Result<Client, async_nats::ConnectError> {
    ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
        .connection_timeout(PATIENCE)
        .connect(server.url())
        .await
}

/// Admits every user with the password `secret`; `root` is placed in the callout account, which is refused.
async fn authorize(request: Arc<AuthRequest>) -> Result<User, Refusal> {
    let Credential::Password { user, password } = request.credential() else {
        return Err(Refusal::deny("no password"));
    };
    if !password.matches("secret") {
        return Err(Refusal::deny("wrong password"));
    }
    let account = if user == "root" { "AUTH" } else { "APP" };
    Ok(User::in_account(account).publish("orders.>").subscribe("orders.>").subscribe("_INBOX.>"))
}

struct Serving {
    gate: Callgate,
    task: JoinHandle<Result<(), ServeError>>,
    decisions: Arc<Mutex<Vec<Decision>>>,
}

impl Serving {
    async fn start(callout: &Callout) -> Self {
        let decisions = Arc::<Mutex<Vec<Decision>>>::default();
        let record = Arc::clone(&decisions);
        let gate = callout
            .builder()
            .on_decision(move |decision| record.lock().unwrap().push(decision.clone()))
            .build()
            .unwrap();
        let client = callout.service().await;
        let serving = gate.clone();
        let task = tokio::spawn(async move { serving.serve(client).await });
        let server = &callout.server;
        eventually("an admission", PATIENCE, async || login(server, "alice", "secret").await.ok())
            .await;
        decisions.lock().unwrap().clear();
        Self { gate, task, decisions }
    }

    fn last(&self) -> Decision {
        self.decisions.lock().unwrap().pop().expect("a decision")
    }
}

#[tokio::test]
async fn function_admits_and_refuses_with_and_without_xkey() {
    for version in VERSIONS {
        for sealed in [false, true] {
            let callout = Callout::start(version, sealed).await;
            let serving = Serving::start(&callout).await;
            admits_and_enforces(&callout, &serving).await;
            refuses(&callout, &serving).await;
            serving.task.abort();
        }
    }
}

async fn admits_and_enforces(callout: &Callout, serving: &Serving) {
    let alice = login(&callout.server, "alice", "secret").await.unwrap();
    let decision = serving.last();
    assert_eq!((decision.reason, decision.outcome()), (Reason::Admitted, Outcome::Admitted));
    assert_eq!(decision.user.as_deref(), Some("alice"));
    assert_eq!(own_account(&alice).await.ok(), None, "alice may not request her own user info");
    let mut orders = alice.subscribe("orders.>").await.unwrap();
    let mut others = alice.subscribe("others").await.unwrap();
    alice.publish("others", "dropped by the server".into()).await.unwrap();
    alice.publish("orders.new", "one".into()).await.unwrap();
    assert_eq!(orders.next().await.unwrap().payload, "one");
    alice.flush().await.unwrap();
    let nothing = tokio::time::timeout(std::time::Duration::ZERO, others.next()).await;
    assert!(!matches!(nothing, Ok(Some(_))), "`others` is denied in both directions");
}

async fn refuses(callout: &Callout, serving: &Serving) {
    for (user, password, reason) in
        [("alice", "guess", Reason::BadPassword), ("root", "secret", Reason::AccountNotAllowed)]
    {
        let error = login(&callout.server, user, password).await.unwrap_err();
        assert!(error.to_string().contains("authorization violation"), "{error}");
        assert_eq!(serving.last().reason, reason);
    }
    let error = async_nats::connect(callout.server.url()).await.unwrap_err();
    assert!(error.to_string().contains("authorization violation"), "{error}");
    assert_eq!(serving.last().reason, Reason::NoCredential);
    let log = callout.server.log();
    assert!(log.contains("authorization failed"), "the server's log has the generic text\n{log}");
    assert!(!log.contains("wrong password") && !log.contains("callout account"));
}

/// Without an answer, the server's first `PING` may arrive before its timeout, and async-nats takes it for
/// success: then the connection must end.
async fn assert_alice_is_rejected(server: &NatsServer) {
    let Ok(client) = login(server, "alice", "secret").await else { return };
    eventually("the end of alice's connection", PATIENCE, async || {
        (client.connection_state() != State::Connected).then_some(())
    })
    .await;
}

/// nats-server accepts plain answers to sealed requests, so we must refuse to answer without its xkey.
#[tokio::test]
async fn mismatched_xkey_admits_no_clients() {
    for version in VERSIONS {
        let mut callout = Callout::start(version, true).await;
        let serving = Serving::start(&callout).await;
        callout.xkey = None;
        for (builder, reason) in [
            (callout.builder(), Reason::CannotDecrypt),
            (callout.builder().xkey(CurveKey::generate().unwrap()), Reason::CannotDecrypt),
        ] {
            let record = Arc::clone(&serving.decisions);
            let builder =
                builder.on_decision(move |decision| record.lock().unwrap().push(decision.clone()));
            serving.gate.replace(builder).unwrap();
            assert_alice_is_rejected(&callout.server).await;
            assert_eq!(serving.last().reason, reason);
        }
    }
}

#[tokio::test]
async fn dropping_the_serve_future_stops_answers() {
    let callout = Callout::start("2.15", false).await;
    let serving = Serving::start(&callout).await;
    serving.task.abort();
    assert!(serving.task.await.unwrap_err().is_cancelled());
    // The gate drains as in a normal shutdown: requests in flight are still answered.
    let server = &callout.server;
    eventually("an unanswered login", PATIENCE, async || {
        login(server, "alice", "secret").await.is_err().then_some(())
    })
    .await;
    serving.decisions.lock().unwrap().clear();
    assert_alice_is_rejected(server).await;
    assert!(serving.decisions.lock().unwrap().is_empty());
}

#[tokio::test]
async fn serve_fails_without_server_confirmation() {
    let config = "authorization { users: [ { user: a, password: b, permissions: {
        publish: { deny: [ \"$SYS.REQ.USER.INFO\" ] } } } ] }";
    let server = NatsServer::start(config).await;
    let client = login(&server, "a", "b").await.unwrap();
    let gate = Callgate::builder(signer(&Nkey::account())).authorize(authorize).build().unwrap();
    let error = gate.serve(client).await.unwrap_err();
    assert!(matches!(error, ServeError::NotConfirmed(_)), "{error}");
    assert!(error.to_string().contains("$SYS.REQ.USER.INFO"), "{error}");
}

/// The server reports a denied subscription separately, and the client's subscription stays open.
#[tokio::test]
async fn serve_fails_without_subscribe_permission() {
    let config = |permissions: &str| {
        format!(
            "authorization {{ users: [ {{ user: a, password: b, permissions: {permissions} }} ] }}"
        )
    };
    let allowed = config("{ subscribe: [ \"$SYS.REQ.USER.*\", \"$SRV.>\", \"_INBOX.>\" ] }");
    let denied = [
        config("{ subscribe: [ \"$SRV.>\", \"_INBOX.>\" ] }"),
        config("{ subscribe: { deny: [ \"$SYS.REQ.>\" ] } }"),
    ];
    for version in VERSIONS {
        let mut server = NatsServer::builder().version(version).config(&denied[0]).start().await;
        let gate = Callgate::builder(signer(&Nkey::account())).authorize(authorize);
        let gate = gate.build().unwrap();
        for denied in &denied {
            server.reload(denied).await;
            let error = gate.serve(login(&server, "a", "b").await.unwrap()).await.unwrap_err();
            assert!(matches!(error, ServeError::NotPermitted), "{error}");
            assert!(error.to_string().contains("$SYS.REQ.USER.AUTH"), "{error}");
        }
        server.reload(&allowed).await;
        let client = login(&server, "a", "b").await.unwrap();
        let serving = tokio::spawn({
            let (gate, client) = (gate.clone(), client.clone());
            async move { gate.serve(client).await }
        });
        eventually("an answer of the service", PATIENCE, async || {
            client.request("$SRV.PING.callgate", "".into()).await.ok()
        })
        .await;
        server.reload(&denied[0]).await;
        let ended = tokio::time::timeout(LONG, serving).await.expect("an end").unwrap();
        assert!(matches!(ended, Err(ServeError::NotPermitted)), "{ended:?}");
    }
}
