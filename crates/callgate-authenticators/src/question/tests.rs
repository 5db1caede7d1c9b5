use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use callgate::{
    authn::Rejection,
    connection::ConnectionKind,
    keys::{KeyKind, KeyPair},
    request::Certificate,
};
use callgate_config::Sources;
use callgate_testkit::client_certificates::{
    CertificateParams, ClientAuthority, DnType, client_params, dns, email, uri,
};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::kind::SharedResources;

/// Answers every question with the same text.
#[derive(Debug, Default)]
struct Scripted {
    answer: Mutex<String>,
    questions: Mutex<Vec<Value>>,
    delay: Duration,
}

impl Delivery for Scripted {
    fn ask(
        self: Arc<Self>,
        question: Vec<u8>,
        _: Instant,
    ) -> BoxFuture<'static, Result<Vec<u8>, QueryError>> {
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            let question = serde_json::from_slice(&question).unwrap();
            self.questions.lock().unwrap().push(question);
            Ok(self.answer.lock().unwrap().clone().into_bytes())
        })
    }

    fn probe(
        &self,
        _: Probe,
        _: Vec<u8>,
        _: Instant,
    ) -> BoxFuture<'_, Result<ProbeReport, BackendError>> {
        Box::pin(async { Ok(ProbeReport::default()) })
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }
}

impl Scripted {
    fn questions(&self) -> Vec<Value> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn settings(takes: &[Taken]) -> Settings {
    Settings { takes: takes.to_vec(), remember: Duration::ZERO, fall_through: false }
}

const ALL: [Taken; 4] = [Taken::Password, Taken::Token, Taken::Nkey, Taken::Certificate];

fn decider(settings: Settings, delivery: Scripted) -> (Decider<Scripted>, Arc<Scripted>) {
    let delivery = Arc::new(delivery);
    let context = BuildContext::new("team", Sources::new("."), Arc::new(SharedResources::new(1)));
    let decider = Decider::new(&context, settings, Arc::clone(&delivery), "`service`", 8);
    (decider, delivery)
}

fn password(user: &str, password: &str) -> AuthRequest {
    AuthRequest::for_tests(Credential::Password {
        user: user.to_owned(),
        password: password.into(),
    })
}

fn token() -> AuthRequest {
    AuthRequest::for_tests(Credential::Token("opaque".into()))
}

async fn answered(
    settings: Settings,
    request: &AuthRequest,
    answer: &str,
) -> Result<Identity, Decline> {
    let delivery = Scripted { answer: Mutex::new(answer.to_owned()), ..Scripted::default() };
    decider(settings, delivery).0.authenticate(request).await
}

fn rejection(answer: Result<Identity, Decline>) -> Rejection {
    match answer {
        Err(Decline::Rejected(rejection)) => rejection,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn malformed_answers_are_unavailable() {
    let long = |what: &str, count: usize| format!(r#""{what}":"{}""#, "x".repeat(count));
    let groups = vec!["g"; 1001];
    for answer in [
        "".to_owned(),
        " ".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "<html>".to_owned(),
        "true".to_owned(),
        r#""allow""#.to_owned(),
        r#"{"result":null}"#.to_owned(),
        r#"{"result":"Allow"}"#.to_owned(),
        r#"{"result":"yes"}"#.to_owned(),
        r#"{"result":["allow"]}"#.to_owned(),
        r#"{"user":"alice"}"#.to_owned(),
        r#"{"result":"allow","result":"allow"}"#.to_owned(),
        r#"{"result":"deny","result":"allow"}"#.to_owned(),
        r#"{"result":"allow","user":"a","user":"b"}"#.to_owned(),
        r#"{"result":"allow"} x"#.to_owned(),
        r#"x {"result":"allow"}"#.to_owned(),
        r#"{"result":"allow"}{"result":"allow"}"#.to_owned(),
        r#"{"result":"allow""#.to_owned(),
        "\u{feff}{\"result\":\"allow\"}".to_owned(),
        r#"{"result":"allow","unknown":1}"#.to_owned(),
        r#"{"result":"allow","user":null}"#.to_owned(),
        r#"{"result":"allow","user":7}"#.to_owned(),
        r#"{"result":"allow","user":""}"#.to_owned(),
        r#"{"result":"allow","user":"a\nb"}"#.to_owned(),
        r#"{"result":"allow","groups":"eng"}"#.to_owned(),
        r#"{"result":"allow","groups":[1]}"#.to_owned(),
        r#"{"result":"allow","claims":[]}"#.to_owned(),
        r#"{"result":"allow","account":""}"#.to_owned(),
        r#"{"result":"allow","roles":"reader"}"#.to_owned(),
        r#"{"result":"allow","permissions":null}"#.to_owned(),
        r#"{"result":"allow","permissions":{"pub":null}}"#.to_owned(),
        r#"{"result":"allow","permissions":{"pub":["a..b"]}}"#.to_owned(),
        r#"{"result":"allow","permissions":{"pub":["a.{{ user }}"]}}"#.to_owned(),
        r#"{"result":"allow","permissions":{"other":["a"]}}"#.to_owned(),
        r#"{"result":"allow","expires":"2020-01-01T00:00:00Z"}"#.to_owned(),
        r#"{"result":"allow","expires":"tomorrow"}"#.to_owned(),
        r#"{"result":"allow","expires":1999999999}"#.to_owned(),
        r#"{"result":"allow","expires_after":"0s"}"#.to_owned(),
        r#"{"result":"allow","expires_after":60}"#.to_owned(),
        r#"{"result":"allow","cache":30}"#.to_owned(),
        r#"{"result":"allow","code":"bad_password"}"#.to_owned(),
        r#"{"result":"allow","detail":"x"}"#.to_owned(),
        r#"{"result":"deny","user":"alice"}"#.to_owned(),
        r#"{"result":"deny","code":"no"}"#.to_owned(),
        r#"{"result":"deny","code":"admitted"}"#.to_owned(),
        r#"{"result":"deny","code":null}"#.to_owned(),
        r#"{"result":"ignore","user":"alice"}"#.to_owned(),
        format!(r#"{{"result":"deny",{}}}"#, long("detail", 201)),
        format!(r#"{{"result":"allow",{}}}"#, long("user", 513)),
        format!(r#"{{"result":"allow","claims":{{{}}}}}"#, long("a", 65_536)),
        json!({ "result": "allow", "groups": groups }).to_string(),
        json!({ "result": "allow", "groups": ["g".repeat(257)] }).to_string(),
    ] {
        let result = answered(settings(&ALL), &password("alice", "secret"), &answer).await;
        assert!(matches!(result, Err(Decline::Unavailable(_))), "{answer}: {result:?}");
    }
    // A token contains no name.
    let result = answered(settings(&ALL), &token(), r#"{"result":"allow"}"#).await;
    assert!(matches!(result, Err(Decline::Unavailable(_))), "{result:?}");
}

#[tokio::test]
async fn complete_answer_is_an_identity_from_outside() {
    let answer = json!({
        "result": "allow", "user": "alice@example.com", "groups": ["eng"],
        "claims": { "plan": "gold" }, "account": "APP", "roles": ["reader"],
        "permissions": { "pub": { "allow": ["app.alice.>"] } },
        "expires": "2199-01-31T18:00:00Z", "expires_after": "1h", "cache": "30s",
    });
    let request = password("alice", "secret");
    let identity = answered(settings(&ALL), &request, &answer.to_string()).await.unwrap();
    assert_eq!(identity.user, "alice@example.com");
    assert_eq!(identity.groups, ["eng"]);
    assert_eq!(identity.claims["plan"], "gold");
    assert!(identity.expires_at.is_some());
    let proposal = &identity.proposal;
    assert_eq!(proposal.origin, callgate::authn::Origin::Outside);
    assert_eq!(proposal.account.as_deref(), Some("APP"));
    assert_eq!(proposal.roles.as_deref(), Some(&["reader".to_owned()][..]));
    assert_eq!(proposal.permissions.as_ref().unwrap().publish.allow.len(), 1);
    assert_eq!(proposal.expires_after, Some(Duration::from_secs(3600)));
    assert!(!proposal.unrestricted_if_alone);
    let bare = answered(settings(&ALL), &request, r#" {"result":"allow"} "#).await.unwrap();
    assert_eq!(bare.user, "alice");
    assert_eq!(bare.proposal.permissions, None);
}

#[tokio::test]
async fn denials_have_the_code_of_the_service() {
    for (request, answer, reason) in [
        (password("a", "b"), r#"{"result":"deny"}"#, Reason::BadPassword),
        (token(), r#"{"result":"deny"}"#, Reason::BadToken),
        (token(), r#"{"result":"deny","code":"user_disabled"}"#, Reason::UserDisabled),
        (
            password("a", "b"),
            r#"{"result":"deny","code":"bad_second_factor"}"#,
            Reason::BadSecondFactor,
        ),
        (password("a", "b"), r#"{"result":"ignore"}"#, Reason::UnknownUser),
    ] {
        let answer = answered(settings(&ALL), &request, answer).await;
        assert_eq!(rejection(answer).reason, reason);
    }
    let detail = r#"{"result":"deny","detail":"line\nbreak"}"#;
    let rejection = rejection(answered(settings(&ALL), &token(), detail).await);
    assert_eq!(rejection.detail, "the service denied the login: line\\nbreak");
}

#[tokio::test]
async fn ignored_credentials_are_left_to_others() {
    let ignore = r#"{"result":"ignore"}"#;
    let result = answered(settings(&ALL), &token(), ignore).await;
    assert!(matches!(result, Err(Decline::NotMine)), "{result:?}");
    let falls_through = Settings { fall_through: true, ..settings(&ALL) };
    let result = answered(falls_through, &password("a", "b"), ignore).await;
    assert!(matches!(result, Err(Decline::NotMine)), "{result:?}");
}

#[tokio::test]
async fn service_sees_only_what_it_takes() {
    let key = KeyPair::generate(KeyKind::User).unwrap().public_key().parse().unwrap();
    for request in [
        token(),
        AuthRequest::for_tests(Credential::Nkey(key)),
        AuthRequest::for_tests(Credential::Certificate),
    ] {
        let (decider, delivery) = decider(settings(&[Taken::Password]), Scripted::default());
        assert!(matches!(decider.authenticate(&request).await, Err(Decline::NotMine)));
        assert_eq!(delivery.questions(), Vec::<Value>::new());
    }
    for request in [password("alice", ""), password("", "x"), password("a\0", "x")] {
        let (decider, delivery) = decider(settings(&ALL), Scripted::default());
        assert!(matches!(decider.authenticate(&request).await, Err(Decline::Rejected(_))));
        assert_eq!(delivery.questions(), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn question_contains_what_is_known() {
    let answer = Mutex::new(r#"{"result":"deny"}"#.to_owned());
    let (decider, delivery) = decider(settings(&ALL), Scripted { answer, ..Scripted::default() });
    let request = password("alice", "secret").from_ip("10.0.0.7".parse().unwrap());
    let _ = decider.authenticate(&request.over(ConnectionKind::WebSocket)).await;
    let mut question = delivery.questions().remove(0);
    let members = question.as_object_mut().unwrap();
    let id = members.remove("id").unwrap();
    assert_eq!(id.as_str().unwrap().len(), 22);
    let left = members.remove("deadline_ms").unwrap().as_u64().unwrap();
    assert!((1..=1000).contains(&left), "{left}");
    let expected = json!({
        "version": 1, "authenticator": "team",
        "credential": { "kind": "password", "user": "alice", "password": "secret" },
        "client": { "host": "10.0.0.7", "kind": "client", "type": "websocket", "lang": "rust", "version": "1.0.0" },
        "server": { "name": "test", "version": "2.12.0" },
    });
    assert_eq!(question, expected);
}

/// The chain of a certificate with an intermediate, and the fingerprint of the certificate.
fn chain(params: &CertificateParams) -> (Certificate, String) {
    let root = ClientAuthority::root("root");
    let intermediate = root.intermediate("intermediate", 2099);
    let leaf = intermediate.sign(params);
    let chain = [leaf.pem.as_str(), intermediate.pem(), root.pem()].map(str::to_owned).to_vec();
    let certificate = Certificate {
        verified_chains: vec![chain],
        tls_version: "1.3".to_owned(),
        cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
    };
    (certificate, HEXLOWER.encode(&Sha256::digest(&leaf.der)))
}

#[tokio::test]
async fn question_describes_the_verified_certificate() {
    let names = vec![dns("a.example"), email("alice@example.com"), uri("urn:a"), dns("b.example")];
    let mut params = client_params("", names, 1);
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::CommonName, "alice");
    let (full, full_sha256) = chain(&params);
    let (plain, plain_sha256) = chain(&client_params("bob", vec![], 2));
    let scripted =
        Scripted { answer: Mutex::new(r#"{"result":"deny"}"#.to_owned()), ..Scripted::default() };
    let (decider, delivery) = decider(settings(&ALL), scripted);
    for request in [
        AuthRequest::for_tests(Credential::Certificate).with_certificate(full),
        password("alice", "secret").with_certificate(plain),
    ] {
        let _ = decider.authenticate(&request).await;
    }
    let questions = delivery.questions();
    assert_eq!(questions[0]["credential"], json!({ "kind": "certificate" }));
    let expected = json!({
        "subject": "CN=alice,O=Acme", "dns": ["a.example", "b.example"],
        "email": ["alice@example.com"], "uri": ["urn:a"], "sha256": full_sha256,
        "not_after": "2099-01-01T00:00:00Z",
    });
    assert_eq!(questions[0]["certificate"], expected);
    // It accompanies any credential, and names that it does not have are left out.
    assert_eq!(questions[1]["credential"]["kind"], "password");
    let expected = json!({
        "subject": "CN=bob", "sha256": plain_sha256, "not_after": "2099-01-01T00:00:00Z",
    });
    assert_eq!(questions[1]["certificate"], expected);
}

#[tokio::test]
async fn certificate_that_cannot_be_described_is_refused() {
    let (hidden, _) = chain(&client_params("ali\u{200b}ce", vec![], 1));
    let malformed = Certificate { verified_chains: vec![vec!["x".to_owned()]], ..hidden.clone() };
    for certificate in [hidden, malformed] {
        for login in [password("alice", "secret"), AuthRequest::for_tests(Credential::Certificate)]
        {
            let (decider, delivery) = decider(settings(&ALL), Scripted::default());
            let answer = decider.authenticate(&login.with_certificate(certificate.clone())).await;
            assert_eq!(rejection(answer).reason, Reason::BadCertificate);
            assert_eq!(delivery.questions(), Vec::<Value>::new());
        }
    }
}

#[tokio::test]
async fn answer_for_one_certificate_is_not_remembered_for_another() {
    let answer = Mutex::new(r#"{"result":"allow","user":"alice","cache":"1h"}"#.to_owned());
    let settings = Settings { remember: Duration::from_secs(3600), ..settings(&ALL) };
    let (decider, delivery) = decider(settings, Scripted { answer, ..Scripted::default() });
    let certificates = ["alice", "bob"].map(|name| chain(&client_params(name, vec![], 1)).0);
    let login = |certificate: &Certificate| {
        AuthRequest::for_tests(Credential::Certificate).with_certificate(certificate.clone())
    };
    for (certificate, asked) in [(0, 1), (0, 1), (1, 2)] {
        decider.authenticate(&login(&certificates[certificate])).await.unwrap();
        assert_eq!(delivery.questions().len(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn identical_logins_are_one_question_and_nothing_is_kept() {
    let scripted = Scripted {
        answer: Mutex::new(r#"{"result":"allow","cache":"1h"}"#.to_owned()),
        delay: Duration::from_millis(100),
        ..Scripted::default()
    };
    let (decider, delivery) = decider(settings(&ALL), scripted);
    let login = password("alice", "secret");
    let logins = (0..20).map(|_| decider.authenticate(&login));
    for answer in futures_util::future::join_all(logins).await {
        assert_eq!(answer.unwrap().user, "alice");
    }
    assert_eq!(delivery.questions().len(), 1);
    decider.authenticate(&login).await.unwrap();
    assert_eq!(delivery.questions().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn answers_are_remembered_as_long_as_both_sides_allow() {
    for (cache, remember, expected) in [("30s", 10, 10), ("5s", 10, 5), ("30s", 0, 0)] {
        let answer = format!(r#"{{"result":"allow","cache":"{cache}"}}"#);
        let scripted = Scripted { answer: Mutex::new(answer), ..Scripted::default() };
        let settings = Settings { remember: Duration::from_secs(remember), ..settings(&ALL) };
        let (decider, delivery) = decider(settings, scripted);
        let login = || password("alice", "secret").due_at(Instant::now() + Duration::from_secs(2));
        decider.authenticate(&login()).await.unwrap();
        let first = Duration::from_millis(expected * 1000).saturating_sub(Duration::from_millis(1));
        tokio::time::advance(first).await;
        decider.authenticate(&login()).await.unwrap();
        let asked = delivery.questions().len();
        assert_eq!(asked, if expected == 0 { 2 } else { 1 }, "{cache} {remember}");
        // Another password is another question.
        decider
            .authenticate(
                &password("alice", "other").due_at(Instant::now() + Duration::from_secs(2)),
            )
            .await
            .unwrap();
        assert_eq!(delivery.questions().len(), asked + 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        decider.authenticate(&login()).await.unwrap();
        assert_eq!(delivery.questions().len(), asked + 2);
    }
}

#[tokio::test]
async fn denials_are_never_remembered() {
    let scripted =
        Scripted { answer: Mutex::new(r#"{"result":"deny"}"#.to_owned()), ..Scripted::default() };
    let settings = Settings { remember: Duration::from_secs(60), ..settings(&ALL) };
    let (decider, delivery) = decider(settings, scripted);
    for asked in 1..=2 {
        assert!(decider.authenticate(&password("alice", "secret")).await.is_err());
        assert_eq!(delivery.questions().len(), asked);
    }
}

#[test]
fn only_a_service_that_refuses_the_probe_passes() {
    assert!(judge_probe(br#"{"result":"ignore"}"#).unwrap().warnings.is_empty());
    assert_eq!(judge_probe(br#"{"result":"deny"}"#).unwrap().warnings.len(), 1);
    for bad in [&br#"{"result":"allow","user":"a"}"#[..], b"", b"{}"] {
        assert!(judge_probe(bad).is_err());
    }
}
