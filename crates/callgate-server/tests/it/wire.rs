//! Requests and answers on the wire, with a test that plays the server.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_nats::{Client, HeaderMap};
use callgate_testkit::{
    Nkey, RequestBuilder, Response, SignedRequest, eventually, ports::free_port,
    requests::jwt::verified_claims, service::Launch, wait::LONG,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{CALLGATE, Pair, Service, connect};

const SUBJECT: &str = "$SYS.REQ.USER.AUTH";

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Callgate on a server without a callout, and a client that sends requests in its place.
struct Requester {
    pair: Pair,
    client: Client,
}

impl Requester {
    async fn start(users: Value) -> Self {
        let pair = Pair::builder(users).without_callout().start().await;
        let client = connect(&pair.server.url(), "watcher", "watcher").await.unwrap().client;
        Self { pair, client }
    }

    fn request(&self) -> RequestBuilder {
        RequestBuilder::new(&self.pair.issuer.public(), now()).sealed_for(&self.pair.xkey.public())
    }

    async fn answer_to(&self, request: &SignedRequest) -> Vec<u8> {
        let answer = self.publish(&request.payload, request.xkey_header.as_deref());
        answer.await.expect("an answer in time")
    }

    /// Sends a request without waiting for the answer.
    async fn send(&self, request: &SignedRequest, reply: &str) {
        let (headers, payload) = (headers(request), request.payload.clone().into());
        let reply = reply.to_owned();
        let sent = self.client.publish_with_reply_and_headers(SUBJECT, reply, headers, payload);
        sent.await.unwrap();
    }

    async fn publish(&self, payload: &[u8], xkey: Option<&str>) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        if let Some(xkey) = xkey {
            headers.insert("Nats-Server-Xkey", xkey);
        }
        let answer = self.client.request_with_headers(SUBJECT, headers, payload.to_vec().into());
        Some(timeout(Duration::from_secs(5), answer).await.ok()?.ok()?.payload.to_vec())
    }
}

/// Names and types in claims, without the values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::String(text) => json!(text.len()),
        other => json!(std::mem::discriminant(other) == std::mem::discriminant(&json!(0))),
    }
}

#[tokio::test]
async fn unknown_user_and_wrong_password_look_alike_on_the_wire() {
    let hash = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let requester = Requester::start(json!({
        "hashed": { "pass": hash, "account": "APP" },
        "clear": { "pass": "clear", "account": "APP" },
        "disabled": { "pass": "clear", "account": "APP", "disabled": true },
    }))
    .await;
    // Same server and connection, so any difference comes from the answer.
    let (server, user) = (Nkey::server(), Nkey::user().public());
    let mut answers = Vec::new();
    for name in ["hashed", "clear", "disabled", "unknown"] {
        let request = requester.request().server(&server).user_nkey(&user).password(name, "wrong");
        let request = request.build();
        let sealed = requester.answer_to(&request).await;
        let Response::Refused(text) = request.open_response(&sealed) else { panic!("{name}") };
        assert_eq!(text, "authorization failed");
        answers.push((name, sealed.len()));
    }
    assert!(answers.windows(2).all(|pair| pair[0].1 == pair[1].1), "{answers:?}");
}

#[tokio::test]
async fn cleartext_refusals_do_not_reveal_unknown_users() {
    let users = json!({ "known": { "pass": "known", "account": "APP" } });
    let pair = Pair::builder(users).without_callout().without_xkey().start().await;
    let client = connect(&pair.server.url(), "watcher", "watcher").await.unwrap().client;
    let requester = Requester { pair, client };
    let mut shapes = Vec::new();
    for name in ["known", "other"] {
        let request = RequestBuilder::new(&requester.pair.issuer.public(), now());
        let answer = requester.answer_to(&request.password(name, "wrong").build()).await;
        let claims = verified_claims(std::str::from_utf8(&answer).unwrap()).unwrap();
        assert_eq!(claims["nats"]["error"], "authorization failed");
        shapes.push(shape(&claims));
    }
    assert_eq!(shapes[0], shapes[1]);
}

#[tokio::test]
async fn admission_is_sealed_with_expiry_and_no_not_before() {
    let requester = Requester::start(json!({ "u": { "pass": "u", "account": "APP" } })).await;
    let request = requester.request().password("u", "u").build();
    let answer = requester.answer_to(&request).await;
    assert!(answer.starts_with(b"xkv1"));
    let response = request.open_response(&answer);
    let user = response.user();
    assert_eq!((&user["aud"], &user["name"]), (&json!("APP"), &json!("u")));
    assert!(user["exp"].as_i64().unwrap() > now());
    assert!(user.get("nbf").is_none() && user["nats"].get("issuer_account").is_none());
    assert_eq!(user["iss"], requester.pair.issuer.public());
}

/// A second cause is logged despite the first one's limit, and not repeated within its own.
#[tokio::test]
async fn each_cause_of_a_drop_is_logged() {
    let requester = Requester::start(json!({ "u": { "pass": "u", "account": "APP" } })).await;
    let other = || Nkey::account().public();
    let needed = format!("`issuer: {}`", requester.pair.issuer.public());
    let causes = [
        (requester.request().audience("nats-something"), "the audience is not"),
        (requester.request().subject(&other()), needed.as_str()),
        (requester.request().corrupt_signature(), "the signature is not the server's"),
        (requester.request().expires_at(now() - 5), "the request expires before it was issued"),
        (requester.request().user_nkey("garbage"), "user_nkey: "),
    ];
    for (request, words) in causes {
        let mark = requester.pair.gate.mark();
        requester.send(&request.build(), "_INBOX.unread").await;
        let reported = requester.pair.gate.record(mark, &["dropped a request", words]).await;
        assert_eq!(reported["outcome"], "dropped");
    }
    let (mark, reason) = (requester.pair.gate.mark(), "wrong_audience_request");
    requester.send(&requester.request().subject(&other()).build(), "_INBOX.unread").await;
    requester.pair.gate.metric_reaches(&sample(reason), 3.0).await;
    requester.answer_to(&requester.request().password("u", "u").build()).await;
    requester.pair.gate.record(mark, &["admitted"]).await;
    let warnings = requester.pair.gate.records(mark);
    assert!(warnings.iter().all(|record| record["level"] != "WARN"), "{warnings:?}");
}

/// Dropped, counted and never answered; later valid requests are answered.
#[tokio::test]
async fn invalid_and_foreign_requests_are_dropped_and_counted() {
    let requester = Requester::start(json!({ "u": { "pass": "u", "account": "APP" } })).await;
    let good = || requester.request().password("u", "u");
    let clear = RequestBuilder::new(&requester.pair.issuer.public(), now()).password("u", "u");
    let mut flipped = good().build();
    *flipped.payload.last_mut().unwrap() ^= 1;
    let mut cut = good().build();
    cut.payload.truncate(cut.payload.len() / 2);
    let mut garbage = good().build();
    garbage.payload = b"garbage".to_vec();
    let mut large = good().build();
    large.payload = vec![b'x'; 1_000_000];
    let mut empty = good().build();
    empty.payload.clear();
    let cases = [
        ("garbage", garbage, "not_encrypted"),
        ("empty", empty, "not_encrypted"),
        ("1 MB", large, "bad_request"),
        ("flipped", flipped, "cannot_decrypt"),
        ("cut", cut, "cannot_decrypt"),
        ("in clear", clear.build(), "not_encrypted"),
        ("no xkey header", good().xkey_header(None).build(), "cannot_decrypt"),
        (
            "replayed",
            good().issued_at(now() - 120).expires_at(now() - 118).build(),
            "stale_request",
        ),
        (
            "from the future",
            good().issued_at(now() + 90).expires_at(now() + 92).build(),
            "stale_request",
        ),
        ("ends before it began", good().expires_at(now() - 5).build(), "bad_request"),
        ("corrupt signature", good().corrupt_signature().build(), "bad_request"),
        ("signed by another", good().signed_by(&Nkey::server()).build(), "bad_request"),
        (
            "alg none",
            good().jwt_header(json!({"typ": "JWT", "alg": "none"})).build(),
            "bad_request",
        ),
        ("another audience", good().audience("nats-something").build(), "wrong_audience_request"),
        (
            "another callout",
            good().subject(&Nkey::account().public()).build(),
            "wrong_audience_request",
        ),
    ];
    for (index, (what, request, reason)) in cases.iter().enumerate() {
        let counted = dropped(&requester, reason).await;
        requester.send(request, &format!("_INBOX.answer.{index}")).await;
        requester.pair.gate.metric_reaches(&sample(reason), counted + 1.0).await;
        assert_eq!(dropped(&requester, reason).await, counted + 1.0, "{what}");
    }
    // Only the valid request is answered, and the service is still ready.
    let mut answers = requester.client.subscribe("_INBOX.answer.*").await.unwrap();
    for (_, request, _) in &cases {
        requester.send(request, "_INBOX.answer.again").await;
    }
    let request = good().build();
    requester.send(&request, "_INBOX.answer.good").await;
    let first = futures_util::StreamExt::next(&mut answers).await.unwrap();
    assert_eq!(first.subject.as_str(), "_INBOX.answer.good");
    assert!(matches!(request.open_response(&first.payload), Response::Admitted(_)));
    assert_eq!(requester.pair.gate.get("/readyz").await.0, 200);
}

fn headers(request: &SignedRequest) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("X-Test", "1");
    if let Some(xkey) = &request.xkey_header {
        headers.insert("Nats-Server-Xkey", xkey.as_str());
    }
    headers
}

fn sample(reason: &str) -> String {
    format!("callgate_dropped_total{{reason=\"{reason}\"}}")
}

async fn dropped(requester: &Requester, reason: &str) -> f64 {
    requester.pair.gate.metric(&sample(reason)).await
}

#[tokio::test]
async fn malformed_credential_is_refused_with_logged_reason() {
    let robot = Nkey::user();
    let requester = Requester::start(json!({
        "u": { "pass": "u", "account": "APP" },
        "t": { "token": "t", "account": "APP" },
        "robot": { "nkey": robot.public(), "account": "APP" },
    }))
    .await;
    let good = || requester.request();
    let no_nonce = |claims: &mut Value| {
        claims["nats"]["client_info"].as_object_mut().unwrap().remove("nonce");
    };
    let cases = [
        (good().password("u", "u").token("t"), "ambiguous_credential"),
        (
            good().password("u", "u").nonce("a-nonce-of-some-length").nkey(&robot),
            "ambiguous_credential",
        ),
        (good().nonce("a-nonce-of-some-length").nkey(&robot), "admitted"),
        (
            good().nonce("a-nonce-of-some-length").nkey(&robot).connect("sig", "AAAA"),
            "bad_signature",
        ),
        (good().nonce("a-nonce-of-some-length").nkey(&robot).connect("sig", ""), "bad_signature"),
        (good().nkey(&robot).mutate(no_nonce), "bad_signature"),
        (good(), "no_credential"),
        (good().password("u", ""), "bad_password"),
    ];
    for (request, reason) in cases {
        let request = request.build();
        let mark = requester.pair.gate.mark();
        let answer = request.open_response(&requester.answer_to(&request).await);
        assert_eq!(matches!(answer, Response::Admitted(_)), reason == "admitted", "{reason}");
        let decision = requester.pair.gate.decision(mark).await;
        assert_eq!(decision["reason"], reason, "{decision}");
    }
}

/// Standard error is a pipe that is read only later.
#[tokio::test]
async fn unread_log_delays_no_answer_and_losses_are_logged() {
    let mut requester = Requester::start(json!({ "u": { "pass": "u", "account": "APP" } })).await;
    requester.pair.gate.terminate().await;
    let pipe = requester.pair.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opened for reading and writing, so that opening does not block.
    let reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let admin = format!("127.0.0.1:{}", free_port());
    let arguments = ["--config", "callgate.toml", "--admin-listen", &admin].map(str::to_owned);
    let launch = Launch {
        arguments: arguments.to_vec(),
        stderr: Some(pipe),
        admin: Some(admin.clone()),
        ..Launch::of(CALLGATE)
    };
    let mut gate = Service::start(requester.pair.folder.path(), &launch).await;
    gate.ready().await;

    let refused = || requester.request().token("unknown").client("name", "x".repeat(200)).build();
    let lost = eventually("records to be lost", LONG, async || {
        let together: Vec<_> = (0..100).map(|_| refused()).collect();
        join_all(together.iter().map(|request| requester.answer_to(request))).await;
        Some(gate.metric("callgate_log_lost_total").await).filter(|lost| *lost > 0.0)
    });
    lost.await;
    assert_eq!(gate.get("/readyz").await.0, 200);

    let reported = tokio::task::spawn_blocking(move || {
        // All lines are complete, and the last one reports the loss.
        let mut lines = BufReader::new(&reader).lines().map(Result::unwrap);
        let reported = lines.find_map(|line| {
            let record: Value = serde_json::from_str(&line).unwrap();
            line.contains("log records were lost").then_some(record)
        });
        drop(lines);
        // Kept open, because writes fail without a reader.
        (reader, reported.unwrap())
    });
    let (_reader, reported) = timeout(LONG, reported).await.expect("the log goes on").unwrap();
    assert_eq!(reported["level"], "WARN");
    assert!(reported["records"].as_u64().unwrap() > 0, "{reported}");
    gate.terminate().await;
}
