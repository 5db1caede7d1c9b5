//! Services that decide, and an introspection endpoint.

use std::sync::Arc;

use async_nats::{Client, ConnectOptions};
use callgate_testkit::{
    OidcProvider, Process, eventually,
    oidc_provider::{Authority, Front, INTROSPECTING_CLIENT, Misbehavior},
    pages::checkout,
    ports::free_port,
    tools,
    wait::LONG,
};
use futures_util::StreamExt;
use tokio::{net::TcpStream, task::JoinHandle};

use super::{Backend, CONNECTIONS, Effect, Failure, play};
use crate::{
    client::Credential,
    fault::NotRun,
    report::Observations,
    scene::{Scene, SceneBuilder, TEAM},
};

/// The subject on which the service decides.
const SUBJECT: &str = "callgate.ask.team";
/// The path of the introspection endpoint.
const ENDPOINT: &str = "/token/introspection";

pub(super) async fn http() -> Result<Observations, NotRun> {
    let authority = Authority::new("web");
    let port = free_port();
    let mut service =
        Web::Responder { process: responder("http_responder.py", &[&port.to_string()]) };
    service.listens_at(port).await;
    let front = Front::of_port(port, Some(authority.server())).await;
    let failures = &FAILURES_OF_HTTP;
    play(WebService {
        service,
        port,
        front: Some(front),
        authority,
        token: String::new(),
        failures,
    })
    .await
}

pub(super) async fn introspection() -> Result<Observations, NotRun> {
    if !cfg!(feature = "node") {
        return Err(NotRun("Node.js is not installed".to_owned()));
    }
    let authority = Authority::new("provider");
    let provider = OidcProvider::npm_over_tls(authority.server()).await;
    let token = provider.mint_opaque().await;
    let service = Web::Provider(provider);
    let failures = &FAILURES_OF_INTROSPECTION;
    play(WebService { service, port: 0, front: None, authority, token, failures }).await
}

pub(super) async fn subject() -> Result<Observations, NotRun> {
    play(Subject { url: String::new(), responder: None, liar: None }).await
}

/// A responder of `examples/responders`.
fn responder(name: &str, arguments: &[&str]) -> Process {
    let program = checkout("examples/responders/python").join(name);
    Process::builder("responder", tools::python()).arg(program).args(arguments).start()
}

const FAILURES_OF_HTTP: [(Failure, Effect); 12] = [
    (Failure::Stopped, Effect::Unavailable),
    (Failure::Frozen, Effect::Unavailable),
    (Failure::Restarted, Effect::Partial),
    (Failure::Truncated, Effect::Unavailable),
    (Failure::Doubled, Effect::Unavailable),
    (Failure::Endless, Effect::Unavailable),
    (Failure::Late, Effect::Unavailable),
    (Failure::Contradictory, Effect::Unavailable),
    (Failure::RefusedCredentials, Effect::Unavailable),
    (Failure::PoolExhausted, Effect::Unavailable),
    (Failure::WithoutTls, Effect::Unavailable),
    (Failure::OtherName, Effect::Unavailable),
];

/// A provider that is restarted has forgotten its opaque tokens.
const FAILURES_OF_INTROSPECTION: [(Failure, Effect); 11] = [
    (Failure::Stopped, Effect::Unavailable),
    (Failure::Frozen, Effect::Unavailable),
    (Failure::Truncated, Effect::Unavailable),
    (Failure::Doubled, Effect::Unavailable),
    (Failure::Endless, Effect::Unavailable),
    (Failure::Late, Effect::Unavailable),
    (Failure::Contradictory, Effect::Unavailable),
    (Failure::RefusedCredentials, Effect::Unavailable),
    (Failure::PoolExhausted, Effect::Unavailable),
    (Failure::WithoutTls, Effect::Unavailable),
    (Failure::OtherName, Effect::Unavailable),
];

/// A service behind HTTPS.
struct WebService {
    service: Web,
    port: u16,
    /// In front of a responder; a provider has its own.
    front: Option<Front>,
    authority: Authority,
    /// The valid opaque token.
    token: String,
    failures: &'static [(Failure, Effect)],
}

enum Web {
    Responder { process: Process },
    Provider(OidcProvider),
}

impl Web {
    fn process(&mut self) -> &mut Process {
        match self {
            Self::Responder { process } => process,
            Self::Provider(provider) => provider.process(),
        }
    }

    async fn listens_at(&mut self, port: u16) {
        eventually("a responder that listens", LONG, async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await;
    }

    async fn start_again(&mut self, port: u16) {
        let Self::Responder { process } = self else { return };
        process.kill();
        *process = responder("http_responder.py", &[&port.to_string()]);
        self.listens_at(port).await;
    }
}

impl WebService {
    fn path(&self) -> &'static str {
        match self.service {
            Web::Responder { .. } => "/",
            Web::Provider(_) => ENDPOINT,
        }
    }

    fn front(&mut self) -> &mut Front {
        match (&mut self.front, &mut self.service) {
            (Some(front), _) => front,
            (None, Web::Provider(provider)) => provider.front_mut(),
            (None, Web::Responder { .. }) => panic!("a responder has a front"),
        }
    }

    /// An answer that would admit the client if it stood alone.
    fn allow(&self) -> &'static str {
        match self.service {
            Web::Responder { .. } => r#"{"result":"allow","account":"APP"}"#,
            Web::Provider(_) => {
                r#"{"active":true,"client_id":"service","aud":"nats","exp":4102444800}"#
            }
        }
    }

    fn misbehavior(&self, failure: Failure) -> Misbehavior {
        let answer = |text: String| Misbehavior::Answer("200 OK", String::new(), text);
        match failure {
            Failure::Truncated => Misbehavior::HalfClosed,
            Failure::Doubled => answer(self.allow().repeat(2)),
            Failure::Endless => Misbehavior::Endless,
            Failure::Late => Misbehavior::Held,
            Failure::Contradictory => answer(match self.service {
                Web::Responder { .. } => r#"{"result":"allow","code":"bad_password"}"#.to_owned(),
                Web::Provider(_) => self.allow().replacen('{', r#"{"active":false,"#, 1),
            }),
            Failure::RefusedCredentials => {
                let body = r#"{"error":"invalid_client"}"#.to_owned();
                Misbehavior::Answer("401 Unauthorized", String::new(), body)
            }
            _ => panic!("{failure} is not an answer"),
        }
    }
}

impl Backend for WebService {
    fn table(&self) -> String {
        let common = format!(
            "tls.ca = \"ca.pem\"\nconnections = {CONNECTIONS}\nconnect_timeout = \"1s\"\nfall_through = true\n"
        );
        match &self.service {
            Web::Responder { .. } => {
                let origin = self.front.as_ref().expect("a responder has a front").origin();
                format!("[authenticators.http]\nurl = \"{origin}/\"\n{common}")
            }
            Web::Provider(provider) => {
                let (client, secret) = INTROSPECTING_CLIENT;
                let issuer = provider.issuer();
                format!(
                    r#"[authenticators.introspection]
issuer = "{issuer}"
client_id = "{client}"
client_secret = "{secret}"
audience = ["nats"]
user_claim = "client_id"
remember = "0s"
remember_rejected = "0s"
{common}"#
                )
            }
        }
    }

    fn prepare(&self, scene: SceneBuilder) -> SceneBuilder {
        scene.file("ca.pem", self.authority.pem())
    }

    fn right(&self) -> Credential {
        match self.service {
            Web::Responder { .. } => Credential::password("alice", "secret"),
            Web::Provider(_) => Credential::Token(self.token.clone()),
        }
    }

    fn wrong(&self) -> Vec<Credential> {
        match self.service {
            Web::Responder { .. } => {
                ["alice", "mallory"].map(|user| Credential::password(user, "wrong")).to_vec()
            }
            Web::Provider(_) => vec![Credential::Token("made-up".to_owned())],
        }
    }

    fn unknown(&self, number: usize) -> Credential {
        match self.service {
            Web::Responder { .. } => Credential::password(&format!("unknown-{number}"), "wrong"),
            Web::Provider(_) => Credential::Token(format!("made-up-{number}")),
        }
    }

    fn next(&self) -> Credential {
        match self.service {
            Web::Responder { .. } => Credential::password("carol", "secret"),
            Web::Provider(_) => Credential::Token("token-of-the-next".to_owned()),
        }
    }

    fn failures(&self) -> &'static [(Failure, Effect)] {
        self.failures
    }

    async fn begin(&mut self, failure: Failure, _scene: &mut Scene) {
        match failure {
            Failure::Stopped => {
                self.front().go_down().await;
                if matches!(self.service, Web::Responder { .. }) {
                    self.service.process().kill();
                }
            }
            Failure::Frozen | Failure::PoolExhausted => self.service.process().freeze().await,
            Failure::Restarted => self.service.start_again(self.port).await,
            Failure::WithoutTls => self.front().restart_with(None).await,
            Failure::OtherName => {
                let tls = self.authority.other_server();
                self.front().restart_with(Some(tls)).await;
            }
            _ => {
                let misbehavior = self.misbehavior(failure);
                let path = self.path();
                self.front().misbehave(path, misbehavior);
            }
        }
    }

    async fn end(&mut self, failure: Failure, _scene: &mut Scene) {
        match failure {
            Failure::Restarted => (),
            Failure::Stopped => {
                self.service.start_again(self.port).await;
                self.front().come_up().await;
            }
            Failure::Frozen | Failure::PoolExhausted => self.service.process().signal("CONT"),
            Failure::WithoutTls | Failure::OtherName => {
                let tls = self.authority.server();
                self.front().restart_with(Some(tls)).await;
            }
            _ => self.front().behave(),
        }
    }
}

/// A service on a subject, in the callout account.
struct Subject {
    url: String,
    responder: Option<Process>,
    /// Answers in its place.
    liar: Option<JoinHandle<()>>,
}

impl Subject {
    async fn start(&mut self) {
        self.responder = Some(responder("nats_responder.py", &[&self.url, SUBJECT]));
        let client = self.client().await;
        eventually("a responder that subscribes", LONG, async || {
            let probe = r#"{"credential":{"kind":"probe"}}"#;
            client.request(SUBJECT, probe.into()).await.ok()
        })
        .await;
    }

    fn stop(&mut self) {
        self.responder = None;
    }

    async fn client(&self) -> Client {
        let options = ConnectOptions::with_user_and_password(TEAM.to_owned(), TEAM.to_owned());
        options.connect(&self.url).await.expect("the team needs no Callgate")
    }

    async fn lie(&mut self, failure: Failure) {
        let allow = r#"{"result":"allow","account":"APP"}"#;
        let answer: Arc<str> = match failure {
            Failure::Truncated => allow[..allow.len() / 2].into(),
            Failure::Doubled => allow.repeat(2).into(),
            // As much as nats-server passes on.
            Failure::Endless => allow.repeat(1024 * 1024 / allow.len()).into(),
            Failure::Contradictory => r#"{"result":"allow","code":"bad_password"}"#.into(),
            _ => panic!("{failure} is not an answer"),
        };
        self.stop();
        let client = self.client().await;
        let mut questions = client.subscribe(SUBJECT).await.expect("it may subscribe");
        client.flush().await.expect("the server answers");
        self.liar = Some(tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                let Some(inbox) = question.reply else { continue };
                let answer = answer.as_bytes().to_vec();
                let _too_late = client.publish(inbox, answer.into()).await;
            }
        }));
    }
}

impl Backend for Subject {
    fn table(&self) -> String {
        format!("[authenticators.nats]\nsubject = \"{SUBJECT}\"\nfall_through = true")
    }

    fn prepare(&self, scene: SceneBuilder) -> SceneBuilder {
        scene.publish(&[SUBJECT])
    }

    async fn attach(&mut self, scene: &Scene) {
        self.url = scene.servers[0].url();
        self.start().await;
    }

    fn failures(&self) -> &'static [(Failure, Effect)] {
        &[
            (Failure::Stopped, Effect::Unavailable),
            (Failure::Frozen, Effect::Unavailable),
            (Failure::Restarted, Effect::Partial),
            (Failure::Truncated, Effect::Unavailable),
            (Failure::Doubled, Effect::Unavailable),
            (Failure::Endless, Effect::Unavailable),
            (Failure::Contradictory, Effect::Unavailable),
            (Failure::PoolExhausted, Effect::Unavailable),
        ]
    }

    async fn begin(&mut self, failure: Failure, _scene: &mut Scene) {
        match failure {
            Failure::Stopped => self.stop(),
            Failure::Frozen | Failure::PoolExhausted => {
                let responder = self.responder.as_mut().expect("it runs");
                responder.freeze().await;
            }
            Failure::Restarted => {
                self.stop();
                self.start().await;
            }
            _ => self.lie(failure).await,
        }
    }

    async fn end(&mut self, failure: Failure, _scene: &mut Scene) {
        match failure {
            Failure::Restarted => (),
            Failure::Frozen | Failure::PoolExhausted => {
                self.responder.as_mut().expect("it runs").signal("CONT");
            }
            _ => {
                if let Some(liar) = self.liar.take() {
                    liar.abort();
                    let _aborted = liar.await;
                }
                self.start().await;
            }
        }
    }
}
