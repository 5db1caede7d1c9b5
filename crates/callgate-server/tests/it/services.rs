//! Services that decide, over HTTP and on a subject.

use std::{path::PathBuf, time::Duration};

use async_nats::Client;
use callgate_testkit::{
    Nkey, Process, eventually, pages::checkout, ports::free_port, tools, wait::PATIENCE,
};
use futures_util::{StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Credential, Pair, SERVICE_SUBJECT, ServiceIn, WebService, callgate_in, connect, connect_to,
    has, write_private,
};

/// An authenticator that asks a web service, and what bounds its answers.
fn http(url: &str) -> String {
    format!(
        "[[authenticators]]
name = \"team\"
timeout = \"10s\"
[authenticators.http]
url = \"{url}\"
[authenticators.ceiling]
accounts = [\"APP\"]
roles = [\"reader\"]
publish = [\"app.{{{{ user }}}}.>\"]
subscribe = [\"app.>\"]
[[accounts]]
name = \"APP\"
[roles.reader]
subscribe = [\"news\"]
[roles.admin]
publish = [\">\"]
subscribe = [\">\"]
"
    )
}

fn nats(timeout: &str) -> String {
    format!(
        "[[authenticators]]
name = \"team\"
timeout = \"{timeout}\"
[authenticators.nats]
subject = \"{SERVICE_SUBJECT}\"
[authenticators.ceiling]
accounts = [\"APP\"]
subscribe = [\"app.>\"]
[[accounts]]
name = \"APP\"
"
    )
}

fn alice() -> Credential {
    Credential::password("alice", "secret")
}

#[tokio::test]
async fn http_answer_cannot_exceed_the_ceiling() {
    let service = WebService::start().await;
    let pair = Pair::builder(json!({})).authenticators(&http(service.url())).start().await;
    let allow = |more: Value| {
        let mut answer = json!({ "result": "allow", "account": "APP" });
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        answer
    };
    for (user, answer, reason) in [
        (
            "sys",
            json!({ "account": "SYS", "permissions": { "sub": ["app.>"] } }),
            "account_not_allowed",
        ),
        (
            "auth",
            json!({ "account": "AUTH", "permissions": { "sub": ["app.>"] } }),
            "account_not_allowed",
        ),
        (
            "none",
            json!({ "account": "NONE", "permissions": { "sub": ["app.>"] } }),
            "account_not_allowed",
        ),
        ("bare", json!({}), "no_binding"),
        ("admin", json!({ "roles": ["admin"] }), "no_binding"),
    ] {
        service.answer(user, allow(answer));
        assert_eq!(pair.refuses(&Credential::password(user, "x")).await, reason, "{user}");
    }
    for (user, permissions, dropped) in [
        ("all", json!({ "pub": [">"], "sub": [">", "app.news"] }), "2: "),
        (
            "system",
            json!({ "pub": ["$SYS.>", "app.other.>"], "sub": ["$SYS.>", "app.news"] }),
            "3: ",
        ),
    ] {
        service.answer(user, allow(json!({ "permissions": permissions })));
        let (session, record) = pair.attempt(&Credential::password(user, "x")).await;
        let texts = record["ceiling_dropped"].as_str().unwrap();
        assert!(texts.starts_with(dropped), "{record}");
        let mut session = session.unwrap();
        for subject in ["other", "$SYS.REQ.SERVER.PING", "app.other.x"] {
            session.is_refused_to_publish(subject).await;
        }
        session.is_refused_to_subscribe(">").await;
    }
    // Absent and empty permissions are none, never all.
    service.answer("empty", allow(json!({ "permissions": {} })));
    let mut session = pair.admits(&Credential::password("empty", "x")).await;
    session.is_refused_to_publish("app.empty.x").await;
    session.is_refused_to_subscribe("app.x").await;
    service.answer(
        "good",
        allow(json!({ "permissions": { "pub": ["app.good.>"], "sub": ["app.good.>"] } })),
    );
    let mut session = pair.admits(&Credential::password("good", "x")).await;
    session.talks_to_itself_on("app.good.x").await;
    session.is_refused_to_publish("app.other.x").await;
}

#[tokio::test]
async fn nats_no_responders_is_unavailable_at_once() {
    let pair = Pair::builder(json!({}))
        .authenticators(&nats("10s"))
        .service(ServiceIn::CalloutAccount)
        .start()
        .await;
    let started = Instant::now();
    let (outcome, record) = pair.attempt(&alice()).await;
    assert!(outcome.is_err());
    assert_eq!(record["reason"], "backend_unavailable");
    has(&record["detail"].to_string(), &["no responders"]);
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}

/// Answers every question on a subject after a delay.
async fn respond(client: Client, subject: &'static str, delay: Duration, answer: Value) {
    let mut questions = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            tokio::time::sleep(delay).await;
            let reply = question.reply.unwrap();
            client.publish(reply, answer.to_string().into()).await.unwrap();
        }
    });
}

#[tokio::test]
async fn nats_only_the_first_answer_on_the_right_inbox_counts() {
    let pair = Pair::builder(json!({}))
        .authenticators(&nats("10s"))
        .service(ServiceIn::CalloutAccount)
        .start()
        .await;
    let url = pair.server.url();
    let client = async || connect(&url, "team", "team").await.unwrap().client;
    let allow = json!({ "result": "allow", "account": "APP", "permissions": { "sub": ["app.>"] } });
    // A member of the account that is not in the queue group, and one that guesses at inboxes.
    respond(client().await, SERVICE_SUBJECT, Duration::ZERO, json!({ "result": "deny" })).await;
    respond(client().await, SERVICE_SUBJECT, Duration::from_millis(300), allow.clone()).await;
    let guesser = client().await;
    let guesses = tokio::spawn(async move {
        loop {
            for inbox in ["_INBOX.x", "_INBOX.callgate", SERVICE_SUBJECT] {
                if inbox != SERVICE_SUBJECT {
                    guesser.publish(inbox, allow.to_string().into()).await.unwrap();
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    for _ in 0..5 {
        assert_eq!(pair.refuses(&alice()).await, "bad_password");
    }
    guesses.abort();
    let metrics = pair.gate.get("/metrics").await.1;
    has(
        &metrics,
        &[
            "callgate_backend_up{authenticator=\"team\"} 1",
            "callgate_backend_answers_total{authenticator=\"team\",result=\"rejected\"} 5",
        ],
    );
}

#[tokio::test]
async fn hanging_backend_leaves_the_others_their_slots() {
    let service = WebService::start().await;
    service.delay(Duration::from_secs(3600));
    let users = "[[authenticators]]
name = \"tokens\"
[authenticators.users]
file = \"users.json\"
fall_through = true
";
    let authenticators = format!(
        "{users}{}",
        http(service.url()).replace("timeout = \"10s\"", "timeout = \"1500ms\"")
    );
    let robots = json!({ "robot": { "token": "robot", "account": "APP" } });
    let pair = Pair::builder(robots).authenticators(&authenticators).start().await;
    let url = pair.server.url();
    let storm = (0..500).map(|number| {
        let url = url.clone();
        tokio::spawn(async move {
            for _ in 0..2 {
                let user = format!("user-{number}");
                // The records count: a server that waits long sends a `PING`, which the client takes
                // for success.
                drop(connect(&url, &user, "secret").await);
            }
        })
    });
    let storm: Vec<_> = storm.collect();
    eventually("the service is asked", PATIENCE, async || {
        (!service.questions().is_empty()).then_some(())
    })
    .await;
    let mark = pair.gate.mark();
    for _ in 0..20 {
        connect_to(&url, &Credential::token("robot")).await.expect("tokens need no backend");
    }
    assert!(join_all(storm).await.into_iter().all(|client| client.is_ok()));
    let records = pair.gate.decisions(mark);
    let admitted = records.iter().filter(|record| record["reason"] == "admitted").count();
    assert_eq!(admitted, 20);
    let others = records.iter().filter(|record| record["reason"] != "admitted");
    for record in others {
        let reason = record["reason"].as_str().unwrap();
        assert!(["backend_unavailable", "overloaded"].contains(&reason), "{record}");
    }
    has(&pair.gate.get("/metrics").await.1, &["callgate_backend_up{authenticator=\"team\"} 0"]);
    // It recovers without a restart.
    service.delay(Duration::ZERO);
    service.answer("alice", json!({ "result": "allow", "account": "APP", "roles": ["reader"] }));
    eventually("alice is admitted", PATIENCE, async || connect(&url, "alice", "secret").await.ok())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_services_are_shown_nowhere() {
    let service = WebService::start().await;
    service.answer(
        "alice",
        json!({
            "result": "allow", "user": "alice", "account": "APP", "roles": ["reader"],
            "claims": { "note": "canary-claim" },
        }),
    );
    service.answer("bob", json!({ "result": "deny", "canary-member": 1 }));
    let authenticators = http(service.url()).replace(
        "[authenticators.ceiling]",
        "bearer = { file = \"bearer\" }\nheaders = { X-Key = { file = \"header\" } }\n\
         [authenticators.ceiling]",
    );
    let log = "[log]\nlevel = \"trace\"\nformat = \"json\"\n";
    let builder = Pair::builder(json!({})).authenticators(&authenticators).gate_config(log);
    let builder = builder.private_file("bearer", "canary-bearer");
    let pair = builder.private_file("header", "canary-header").start().await;
    let url = pair.server.url();
    for user in ["alice", "bob", "carol"] {
        let _ = connect(&url, user, "canary-password").await;
    }
    write_private(&pair.path("password"), "canary-password");
    let run = |arguments: &[&str]| {
        callgate_in(pair.folder.path(), &[arguments, &["--config", "callgate.toml"]].concat())
            .text()
    };
    let texts = [
        pair.gate.log(),
        pair.gate.get("/metrics").await.1,
        run(&["check"]),
        run(&["check", "--connect", "--probe"]),
        run(&["check", "--connect", "--probe", "--json"]),
        run(&["explain", "--user", "alice", "--password", "@password"]),
        run(&["explain", "--user", "bob", "--password", "@password", "--json"]),
    ];
    for text in texts {
        let shown = text.find("canary-").map(|at| &text[at.saturating_sub(200)..]);
        // The names of unknown members are shown, so that they can be found.
        let is_name = shown.is_some_and(|shown| shown.contains("canary-member"));
        assert!(shown.is_none() || is_name, "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connect_reaches_services_as_logins_would() {
    let service = WebService::start().await;
    let pair = Pair::builder(json!({}))
        .authenticators(&http(service.url()))
        .service(ServiceIn::CalloutAccount)
        .start()
        .await;
    let check = |more: &[&str]| {
        let arguments = [&["check", "--config", "callgate.toml", "--connect"], more].concat();
        callgate_in(pair.folder.path(), &arguments)
    };
    let good = check(&[]);
    assert_eq!(good.code, 0, "{good:?}");
    has(&good.stdout, &["nats: ok\n", "team: ok\n"]);
    assert_eq!(service.questions().len(), 0);
    service.answer("", json!({ "result": "ignore" }));
    let probed = check(&["--probe"]);
    assert_eq!(probed.code, 0, "{probed:?}");
    has(&probed.stdout, &["team: ok; the service answers questions\n"]);
    assert_eq!(service.questions()[0]["credential"], json!({ "kind": "probe" }));
    service.answer("", json!({ "result": "allow", "user": "x" }));
    assert_eq!(check(&["--probe"]).code, 2);
    pair.rewrite_config(|text| text.replace(service.url(), "http://127.0.0.1:1/"));
    let bad = check(&[]);
    assert_eq!(bad.code, 2, "{bad:?}");
    has(&bad.stdout, &["error: team: no connection to `127.0.0.1:1`"]);
    pair.rewrite_config(|text| {
        let (before, after) = text.split_once("[[authenticators]]").unwrap();
        let (_, after) = after.split_once("[admin]").unwrap();
        format!("{before}{}[admin]{after}", nats("2s"))
    });
    let silent = check(&[]);
    assert_eq!(silent.code, 2, "{silent:?}");
    has(&silent.stdout, &["error: team: no responders"]);
    let client = connect(&pair.server.url(), "team", "team").await.unwrap().client;
    respond(client, SERVICE_SUBJECT, Duration::ZERO, json!({ "result": "ignore" })).await;
    let answered = check(&[]);
    assert_eq!(answered.code, 0, "{answered:?}");
    has(&answered.stdout, &["team: ok; the service answers questions\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_asks_the_service_on_a_subject() {
    let pair = Pair::builder(json!({}))
        .authenticators(&nats("2s"))
        .service(ServiceIn::CalloutAccount)
        .start()
        .await;
    write_private(&pair.path("password"), "secret");
    let explain = || {
        let login = ["--user", "alice", "--password", "@password", "--json"];
        let arguments = [&["explain", "--config", "callgate.toml"][..], &login].concat();
        callgate_in(pair.folder.path(), &arguments).json()
    };
    let silent = explain();
    assert_eq!(silent["reason"], "backend_unavailable", "{silent}");
    has(silent["detail"].as_str().unwrap(), &["no responders"]);
    let client = connect(&pair.server.url(), "team", "team").await.unwrap().client;
    let allow = json!({ "result": "allow", "account": "APP", "permissions": { "sub": ["app.>"] } });
    respond(client, SERVICE_SUBJECT, Duration::ZERO, allow).await;
    let admitted = explain();
    assert_eq!(admitted["outcome"], "admitted", "{admitted}");
    assert_eq!((&admitted["user"], &admitted["account"]), (&json!("alice"), &json!("APP")));
}

/// A responder of `examples/responders`.
fn example(name: &str) -> PathBuf {
    checkout("examples/responders").join(name)
}

/// Starts a responder on a subject, lets it decide, and expects that it decides rightly.
async fn responder_decides(start: impl Fn(&str, &str) -> Process, account: ServiceIn) {
    let pair = Pair::builder(json!({})).authenticators(&nats("10s")).service(account).start().await;
    let subject = match account {
        ServiceIn::CalloutAccount => SERVICE_SUBJECT,
        ServiceIn::OtherAccount => "decide.login",
    };
    let url = pair.server.url();
    let mut responder = start(&url, subject);
    // Until it subscribes, there is no answer.
    eventually("the responder admits alice", PATIENCE, async || {
        assert!(responder.exit_status().is_none(), "{}", responder.stderr());
        connect_to(&url, &alice()).await.ok()
    })
    .await;
    assert_eq!(pair.attempt(&alice()).await.1["account"], "APP");
    assert_eq!(pair.refuses(&Credential::password("alice", "wrong")).await, "bad_password");
    let check = ["check", "--config", "callgate.toml", "--connect"];
    let check = callgate_in(pair.folder.path(), &check);
    has(&check.stdout, &["team: ok; the service answers questions\n"]);
}

#[tokio::test]
async fn python_responder_decides_with_and_without_import() {
    let start = |url: &str, subject: &str| {
        let program = example("python/nats_responder.py");
        Process::builder("responder", tools::python()).arg(program).args([url, subject]).start()
    };
    responder_decides(start, ServiceIn::CalloutAccount).await;
    responder_decides(start, ServiceIn::OtherAccount).await;
}

#[cfg(feature = "node")]
#[tokio::test]
async fn javascript_responder_decides_with_and_without_import() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(tools::node_modules(), folder.path().join("node_modules")).unwrap();
    let program = folder.path().join("responder.mjs");
    std::fs::copy(example("javascript/nats_responder.mjs"), &program).unwrap();
    let start = |url: &str, subject: &str| {
        Process::builder("responder", tools::node()).arg(&program).args([url, subject]).start()
    };
    responder_decides(start, ServiceIn::CalloutAccount).await;
    responder_decides(start, ServiceIn::OtherAccount).await;
}

#[cfg(feature = "go")]
#[tokio::test]
async fn go_responder_decides_with_and_without_import() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(example("go/main.go"), folder.path().join("main.go")).unwrap();
    let build = tools::go(folder.path()).args(["build", "-o", "responder", "."]).output().unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let program = folder.path().join("responder");
    let start = |url: &str, subject: &str| {
        Process::builder("responder", &program).args([url, subject]).start()
    };
    responder_decides(start, ServiceIn::CalloutAccount).await;
    responder_decides(start, ServiceIn::OtherAccount).await;
}

/// Starts a web service on a port, and expects that it decides rightly.
async fn web_responder_decides(start: impl Fn(&str) -> Process) {
    let port = free_port();
    let mut responder = start(&port.to_string());
    let pair = Pair::builder(json!({}))
        .authenticators(&http(&format!("http://127.0.0.1:{port}/")))
        .start()
        .await;
    assert!(responder.exit_status().is_none(), "{}", responder.stderr());
    assert_eq!(pair.attempt(&alice()).await.1["account"], "APP");
    assert_eq!(pair.refuses(&Credential::password("alice", "wrong")).await, "bad_password");
    let check = ["check", "--config", "callgate.toml", "--connect", "--probe"];
    let check = callgate_in(pair.folder.path(), &check);
    has(&check.stdout, &["team: ok; the service answers questions\n"]);
}

#[tokio::test]
async fn python_web_service_decides() {
    let program = example("python/http_responder.py");
    web_responder_decides(|port| {
        Process::builder("responder", tools::python()).arg(&program).arg(port).start()
    })
    .await;
}

#[cfg(feature = "node")]
#[tokio::test]
async fn javascript_web_service_decides() {
    let program = example("javascript/http_responder.mjs");
    web_responder_decides(|port| {
        Process::builder("responder", tools::node()).arg(&program).arg(port).start()
    })
    .await;
}

#[tokio::test]
async fn anonymous_is_never_the_answer_to_a_bad_credential() {
    let authenticators = "[[authenticators]]
name = \"staff\"
timeout = \"10s\"
[authenticators.users]
file = \"users.json\"
fall_through = true
[[authenticators]]
name = \"team\"
required = false
[authenticators.http]
url = \"http://127.0.0.1:1/\"
[[authenticators]]
name = \"guests\"
[authenticators.anonymous]
user = \"guest\"
account = \"APP\"
roles = [\"public\"]
[roles.public]
subscribe = [\"news.>\"]
";
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let pair = Pair::builder(users).authenticators(authenticators).start().await;
    let (session, record) = pair.attempt(&Credential::Nothing).await;
    let mut session = session.unwrap();
    assert_eq!((&record["user"], &record["authenticator"]), (&json!("guest"), &json!("guests")));
    session.is_refused_to_publish("news.x").await;
    for (credential, reason) in [
        (Credential::password("alice", "wrong"), "bad_password"),
        (Credential::password("alice", ""), "bad_password"),
        (Credential::password("guest", ""), "bad_password"),
        (Credential::password("", "x"), "no_credential"),
        // Unknown to `staff`; the service that decides is down.
        (Credential::password("bob", "x"), "backend_unavailable"),
        (Credential::token("unknown"), "bad_token"),
        (Credential::nkey(&Nkey::user()), "bad_signature"),
    ] {
        assert_eq!(pair.refuses(&credential).await, reason, "{credential:?}");
    }
}
