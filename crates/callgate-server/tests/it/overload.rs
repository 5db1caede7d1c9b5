//! More passwords than the service can hash; the test plays the server.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_nats::{Client, HeaderMap, Subscriber};
use callgate_testkit::{RequestBuilder, Response, SignedRequest, eventually};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::timeout};

use crate::support::{Pair, PairBuilder, WebService, connect};

/// Output of `callgate hash-password` for `right`; takes 20 ms on an ordinary core.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$KHwBjTp1Q9B5EH7U2Dw/NQ$NVBScOKcnRGTIJsgekWKufFwPSMjH+Mlr5pdfbKTbzo";
const PATIENCE: Duration = Duration::from_secs(30);
/// For what begins with a reload.
const LONG: Duration = Duration::from_secs(120);

/// A client's credential.
type Say = fn(RequestBuilder) -> RequestBuilder;

/// Callgate with one password thread, and a client that sends requests in place of the server.
struct Requester {
    pair: Pair,
    client: Client,
    answers: Subscriber,
    inbox: String,
    sent: HashMap<String, SignedRequest>,
}

impl Requester {
    async fn start(users: Value) -> Self {
        Self::of(Pair::builder(users).gate_config("[admission]\npassword_workers = 1\n")).await
    }

    async fn of(builder: PairBuilder) -> Self {
        let pair = builder.without_callout().start().await;
        let client = connect(&pair.server.url(), "watcher", "watcher").await.unwrap().client;
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.unwrap();
        // The subscription is active once a message published after it has arrived.
        client.flush().await.unwrap();
        Self { pair, client, answers, inbox, sent: HashMap::new() }
    }

    /// Sends a request; its answer is identified by this name.
    async fn send(
        &mut self,
        name: &str,
        host: &str,
        say: impl Fn(RequestBuilder) -> RequestBuilder,
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let request = RequestBuilder::new(&self.pair.issuer.public(), i64::try_from(now).unwrap());
        let request = request.sealed_for(&self.pair.xkey.public()).host(host).auth_timeout(60);
        let request = say(request).build();
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Server-Xkey", request.xkey_header.as_deref().unwrap());
        let (reply, payload) = (format!("{}.{name}", self.inbox), request.payload.clone());
        let sent = self.client.publish_with_reply_and_headers(
            "$SYS.REQ.USER.AUTH",
            reply,
            headers,
            payload.into(),
        );
        sent.await.unwrap();
        self.sent.insert(name.to_owned(), request);
    }

    /// A wrong password from the address of an attacker.
    async fn attack(&mut self, attacker: usize, number: usize) {
        let user = format!("unknown-{number}");
        let say = |request: RequestBuilder| request.password(&user, "wrong").auth_timeout(10);
        let host = format!("10.1.{attacker}.1");
        self.send(&format!("attacker-{attacker}-{number}"), &host, say).await;
    }

    /// The name and text of the next answer.
    async fn next(&mut self) -> (String, Response) {
        let answer = timeout(PATIENCE, self.answers.next()).await.expect("an answer in time");
        let answer = answer.expect("the subscription lasts");
        let name = answer.subject.rsplit('.').next().unwrap().to_owned();
        let request = self.sent.remove(&name).expect("one answer to each request");
        let response = request.open_response(&answer.payload);
        (name, response)
    }

    /// The answer to `name`, and how many others were decided by password before it.
    async fn answer(&mut self, name: &str) -> (Response, usize) {
        let mut before = 0;
        loop {
            let (whose, response) = self.next().await;
            if whose == name {
                return (response, before);
            }
            before += usize::from(is_true(&response));
        }
    }
}

/// Decided by password, not `temporarily unavailable`.
fn is_true(response: &Response) -> bool {
    match response {
        Response::Admitted(_) => true,
        Response::Refused(text) => text == "authorization failed",
    }
}

#[tokio::test]
async fn decisions_beyond_the_queue_of_shadow_are_skipped() {
    const WAITING: usize = 1024;
    const SKIPPED: usize = 16;
    const BATCH: usize = 16;
    let users = json!({ "bob": { "pass": "bob", "account": "APP" } });
    let shadow = "[shadow]\nconfig = \"next.toml\"\n";
    let mut requester = Requester::of(Pair::builder(users).gate_config(shadow)).await;
    // The candidate's seed comes from a pipe, so that loading it waits for this test.
    let pipe = requester.pair.path("seed.pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let live = fs::read_to_string(requester.pair.path("callgate.toml")).unwrap();
    assert!(live.contains("\"issuer.nk\""), "{live}");
    let candidate = live.replace(shadow, "").replace("\"issuer.nk\"", "\"seed.pipe\"");
    requester.pair.write("next.toml", candidate);
    let path = pipe.clone();
    // Opens when the other end is open.
    let writer = spawn_blocking(move || OpenOptions::new().write(true).open(path));
    let writer = timeout(LONG, writer).await.expect("the candidate is loaded").unwrap().unwrap();
    fs::remove_file(&pipe).unwrap();
    for batch in 0..(WAITING + SKIPPED) / BATCH {
        for number in 0..BATCH {
            let name = format!("bob-{batch}-{number}");
            requester.send(&name, "127.0.0.1", |request| request.password("bob", "bob")).await;
        }
        for _ in 0..BATCH {
            let (name, response) = requester.next().await;
            assert!(matches!(response, Response::Admitted(_)), "{name}: {response:?}");
        }
    }
    let sample = |result: &str| format!("callgate_shadow_decisions_total{{result=\"{result}\"}}");
    requester.pair.gate.metric_reaches(&sample("skipped"), SKIPPED as f64).await;
    drop(writer);
    // Its seed is empty, so this candidate decides nothing.
    requester.pair.gate.metric_reaches(&sample("failed"), WAITING as f64).await;
    assert_eq!(requester.pair.gate.metric(&sample("skipped")).await, SKIPPED as f64);
    assert_eq!(requester.pair.gate.metric(&sample("failed")).await, WAITING as f64);
}

fn users() -> Value {
    json!({
        "alice": { "password": HASH, "account": "APP" },
        "machine": { "token": "a-token", "account": "APP" },
    })
}

#[tokio::test]
async fn password_flood_delays_only_its_own_source() {
    let mut requester = Requester::start(users()).await;
    const FLOOD: usize = 400;
    for number in 0..FLOOD {
        let user = format!("unknown-{number}");
        requester.send(&user, "127.0.0.2", |request| request.password(&user, "wrong")).await;
    }
    // The flood occupies the password thread.
    let mut answered = 1;
    while !is_true(&requester.next().await.1) {
        answered += 1;
    }
    let logins: [(&str, &str, Say); 4] = [
        ("wrong", "127.0.0.1", |request| request.password("alice", "wrong")),
        ("right", "127.0.0.1", |request| request.password("alice", "right")),
        ("remembered", "127.0.0.2", |request| request.password("alice", "right")),
        ("token", "127.0.0.2", |request| request.token("a-token")),
    ];
    for (name, host, say) in logins {
        requester.send(name, host, say).await;
        let (response, before) = requester.answer(name).await;
        let admitted = matches!(response, Response::Admitted(_));
        assert_eq!(admitted, name != "wrong", "{name} from {host}: {response:?}");
        assert!(is_true(&response), "{name}: {response:?}");
        assert!(before < 40, "{name} waited for {before} of the flood");
        answered += before + 1;
    }
    assert!(answered < FLOOD, "the flood was at work all the time: {answered}");
}

#[tokio::test]
async fn overload_gives_correct_answers_or_fast_refusals() {
    let mut requester = Requester::start(users()).await;
    const SENT: usize = 300;
    for number in 0..SENT {
        let (user, host) = (format!("unknown-{number}"), format!("10.0.{}.1", number % 20));
        let say = |request: RequestBuilder| request.password(&user, "wrong").auth_timeout(1);
        requester.send(&user, &host, say).await;
    }
    let (mut decided, mut refused) = (0, 0);
    for _ in 0..SENT {
        let (name, response) = requester.next().await;
        match response {
            Response::Refused(text) if text == "authorization failed" => decided += 1,
            Response::Refused(text) if text == "temporarily unavailable" => refused += 1,
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(decided + refused, SENT, "each was answered");
    assert!(decided > 0, "what can be done is done");
    eventually("nothing in flight", PATIENCE, async || {
        (requester.pair.gate.metric("callgate_in_flight").await == 0.0).then_some(())
    })
    .await;
}

/// Attackers from 200 addresses retry without a pause; now and then, another client logs in.
#[tokio::test]
async fn occasional_clients_are_admitted_while_200_addresses_attack() {
    const ATTACKERS: usize = 200;
    const CLIENTS: usize = 20;
    // Without remembered passwords, every login needs a hash.
    let pair = Pair::builder(users())
        .gate_config("[admission]\npassword_workers = 1\n[cache]\npasswords = \"0s\"\n");
    let mut requester = Requester::of(pair).await;
    let mut sent = 0;
    // More than can be hashed in time.
    for number in 0..3 * ATTACKERS {
        sent += 1;
        requester.attack(number % ATTACKERS, sent).await;
    }
    let mut hashed = 0;
    let mut clients = 0;
    let mut answered = 0;
    let mut admitted = 0;
    let began = Instant::now();
    while answered < CLIENTS {
        assert!(began.elapsed() < PATIENCE * 10, "{answered} of {CLIENTS} after {hashed} hashes");
        let (name, response) = requester.next().await;
        let Some(attacker) = name.strip_prefix("attacker-") else {
            answered += 1;
            admitted += usize::from(matches!(response, Response::Admitted(_)));
            continue;
        };
        let attacker = attacker.split('-').next().unwrap().parse().unwrap();
        sent += 1;
        requester.attack(attacker, sent).await;
        hashed += usize::from(is_true(&response));
        // Once each attacker has failed, a client after every five hashes.
        if clients < CLIENTS && hashed >= ATTACKERS + 5 * clients {
            clients += 1;
            let name = format!("client{clients}");
            let host = format!("10.9.{clients}.1");
            let say = |request: RequestBuilder| request.password("alice", "right").auth_timeout(10);
            requester.send(&name, &host, say).await;
        }
    }
    assert!(admitted * 100 >= CLIENTS * 95, "{admitted} of {CLIENTS} were admitted");
}

/// A service decides about passwords; tokens are known without it.
fn decided_by(service: &WebService, more: &str) -> PairBuilder {
    let robots = json!({ "robot": { "token": "robot", "account": "APP" } });
    Pair::builder(robots).authenticators(&format!(
        "[[authenticators]]
[authenticators.users]
file = \"users.json\"
fall_through = true
[[authenticators]]
name = \"team\"
account = \"APP\"
[authenticators.http]
url = \"{}\"
{more}
[authenticators.ceiling]
roles = [\"reader\"]
[roles.reader]
subscribe = [\"news\"]
",
        service.url()
    ))
}

/// How many clients reconnect at once.
const CLIENTS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_of_a_hanging_backend_leave_the_others_their_slots() {
    let service = WebService::start().await;
    service.delay(Duration::from_secs(3600));
    let mut requester = Requester::of(decided_by(&service, "")).await;
    const BATCH: usize = 500;
    for first in (0..CLIENTS).step_by(BATCH) {
        for number in first..first + BATCH {
            let (user, host) = (format!("user-{number}"), format!("10.0.{}.1", number % 200));
            requester.send(&user, &host, |request| request.password(&user, "secret")).await;
        }
        let name = format!("robot-{first}");
        requester.send(&name, "10.1.0.1", |request| request.token("robot")).await;
        let (response, _) = requester.answer(&name).await;
        assert!(matches!(response, Response::Admitted(_)), "{name}: {response:?}");
    }
    // No client of the backend was admitted, and none is left waiting.
    while requester.pair.gate.metric("callgate_in_flight").await > 0.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let records = requester.pair.gate.decisions(0);
    let of = |reason: &str| records.iter().filter(|record| record["reason"] == reason).count();
    assert_eq!(of("admitted"), CLIENTS / BATCH);
    let refused = of("backend_unavailable") + of("overloaded");
    assert_eq!(refused + of("admitted"), records.len());
    assert!(of("backend_unavailable") > 0 && refused > CLIENTS / 2, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_reconnecting_clients_ask_once_for_each_credential() {
    const USERS: usize = 100;
    let service = WebService::start().await;
    for number in 0..USERS {
        let allow = json!({ "result": "allow", "roles": ["reader"], "cache": "1h" });
        service.answer(&format!("user-{number}"), allow);
    }
    let mut requester = Requester::of(decided_by(&service, "remember = \"1h\"")).await;
    for number in 0..CLIENTS {
        let user = format!("user-{}", number % USERS);
        // The host is part of the question, and a client reconnects from where it was.
        let host = format!("10.0.{}.1", number % USERS);
        let say = |request: RequestBuilder| request.password(&user, "secret");
        requester.send(&format!("client-{number}"), &host, say).await;
    }
    let mut admitted = 0;
    while admitted < CLIENTS / 2 {
        admitted += usize::from(matches!(requester.next().await.1, Response::Admitted(_)));
    }
    let questions = service.questions();
    assert!(questions.len() <= USERS, "{} questions", questions.len());
}
