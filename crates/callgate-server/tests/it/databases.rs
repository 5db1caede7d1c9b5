//! Users of a database, on a real server.

use callgate_testkit::{databases::Postgres, eventually, wait::PATIENCE};
use serde_json::{Value, json};

use crate::support::{Credential, Pair, callgate_in, has, write_private};

/// A cheap hash of `canary-right`.
const HASH: &str =
    "$pbkdf2-sha256$i=1000$c2FsdHNhbHRzYWx0c2FsdA$v1r4usu9ssibDUvwd6uJwPFqJaE+EeNZx8Yk4AEcpk0";

const AUTHENTICATORS: &str = r#"
[[authenticators]]
name = "app"
timeout = "4s"
[authenticators.sql]
url = "postgres://callgate@127.0.0.1:PORT/postgres"
password = { file = "database.pw" }
query = "SELECT name AS user, hash AS password, account, permissions, team FROM users WHERE name = $1"
connect_timeout = "4s"
fall_through = true
[authenticators.ceiling]
accounts = ["APP"]
subscribe = ["orders.>"]

[[authenticators]]
name = "staff"
[authenticators.users]
file = "users.json"

[[accounts]]
name = "APP"
"#;

async fn database() -> Postgres {
    Postgres::start(&format!(
        "create role callgate login password 'canary-service';\n\
         create table users (name text, hash text, account text, permissions jsonb, team text);\n\
         insert into users values ('alice', '{HASH}', 'APP', '{{\"subscribe\": [\"orders.>\"]}}', 'blue');\n\
         insert into users values ('eve', '{HASH}', 'SYS', '{{\"subscribe\": [\">\"]}}', null);\n\
         grant select on users to callgate;\n"
    ))
    .await
}

async fn pair(database: &Postgres) -> Pair {
    // The file accepts any password that the database should have checked.
    let user = json!({ "pass": "canary-right", "account": "APP" });
    Pair::builder(json!({ "alice": user, "fred": user }))
        .authenticators(&AUTHENTICATORS.replace("PORT", &database.port().to_string()))
        .private_file("database.pw", "canary-service")
        .start()
        .await
}

fn login(user: &str) -> Credential {
    Credential::password(user, "canary-right")
}

#[tokio::test]
async fn database_decides_and_its_outage_reaches_no_other_authenticator() {
    let mut database = database().await;
    let pair = pair(&database).await;
    let (session, decision) = pair.attempt(&login("alice")).await;
    let mut session = session.unwrap_or_else(|error| panic!("{error}: {decision}"));
    assert_eq!([&decision["user"], &decision["authenticator"]], ["alice", "app"]);
    session.is_refused_to_publish("orders.new").await;
    assert_eq!(pair.refuses(&Credential::password("alice", "canary-wrong")).await, "bad_password");
    assert_eq!(pair.refuses(&login("eve")).await, "account_not_allowed");
    let (_, decision) = pair.attempt(&login("fred")).await;
    assert_eq!(decision["authenticator"], "staff", "{decision}");

    database.stop().await;
    assert_eq!(pair.refuses(&login("alice")).await, "backend_unavailable");
    assert_eq!(pair.refuses(&login("fred")).await, "backend_unavailable");
    has(&pair.gate.get("/metrics").await.1, &["callgate_backend_up{authenticator=\"app\"} 0"]);
    database.start_again().await;
    eventually("a login", PATIENCE, async || pair.attempt(&login("alice")).await.0.ok()).await;
    let metrics = pair.gate.get("/metrics").await.1;
    has(&metrics, &["callgate_backend_up{authenticator=\"app\"} 1"]);
    for text in [metrics, pair.gate.log()] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn check_and_explain_show_the_query_without_values() {
    let database = database().await;
    let pair = pair(&database).await;
    let folder = pair.folder.path();
    write_private(&pair.path("password"), "canary-right");
    let check = callgate_in(folder, &["check", "--config", "callgate.toml", "--connect"]);
    let columns = "columns user TEXT, password TEXT, account TEXT, permissions JSONB, team TEXT";
    has(&check.text(), &["app: ok; `query`: parameter TEXT;", columns]);
    let explain = |arguments: &[&str]| {
        let login = ["explain", "--config", "callgate.toml", "--user", "alice"];
        callgate_in(
            folder,
            &[&login[..], &["--password", "@password", "--why"], arguments].concat(),
        )
        .text()
    };
    let online = explain(&[]);
    has(&online, &["one row with the columns user, password", "orders.>"]);
    let offline = explain(&["--offline"]);
    has(&offline, &["would be asked"]);
    let json: Value = serde_json::from_str(&explain(&["--json"])).unwrap();
    for text in [check.text(), online, offline, json.to_string()] {
        assert!(!text.contains("canary") && !text.contains(HASH), "{text}");
    }
    // A service password that the database refuses.
    write_private(&pair.path("database.pw"), "canary-other");
    let check = callgate_in(folder, &["check", "--config", "callgate.toml", "--connect"]);
    has(&check.text(), &["password authentication failed"]);
    assert!(!check.text().contains("canary"), "{}", check.text());
}
