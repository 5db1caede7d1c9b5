//! What the audit must not contain.

use std::fs;

use callgate_testkit::Nkey;
use serde_json::json;

use super::support::{alice, audited, record, records};
use crate::support::{Credential, Pair, WebService, connect_to};

const HIDE_KEY: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn password_typed_as_user_name_is_never_stored_in_clear_text() {
    let pair = audited(&format!("hide_key = \"{HIDE_KEY}\"")).await;
    let path = pair.path("audit.jsonl");
    let typed = Credential::password("canary-hunter2", "canary-wrong");
    assert_eq!(pair.refuses(&typed).await, "unknown_user");
    pair.refuses(&typed).await;
    pair.admits(&alice()).await;
    record(&path, json!({ "outcome": "admitted", "user": "alice" })).await;
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("canary"), "{text}");
    let metrics = pair.gate.get("/metrics").await.1;
    assert!(!metrics.contains("canary"));
    let refused: Vec<_> =
        records(&path).into_iter().filter(|it| it["reason"] == "unknown_user").collect();
    assert!(refused[0]["user"].as_str().unwrap().starts_with("hmac:"));
    assert_eq!(refused[0]["user"], refused[1]["user"], "the same name has the same hash");
}

#[tokio::test]
async fn hidden_fields_appear_nowhere_in_a_record() {
    let keys = format!("hide = [\"user\", \"source\", \"client_name\"]\nhide_key = \"{HIDE_KEY}\"");
    let pair = audited(&keys).await;
    let path = pair.path("audit.jsonl");
    pair.admits(&alice()).await;
    pair.refuses(&Credential::password("alice", "wrong")).await;
    record(&path, json!({ "reason": "bad_password" })).await;
    let text = fs::read_to_string(&path).unwrap();
    for hidden in ["alice", "127.0.0.1", "tester"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
}

#[tokio::test]
async fn facts_are_the_claims_that_policy_names_and_no_others() {
    const TEAM: &str = "[[authenticators]]
name = \"team\"
timeout = \"10s\"
account = \"APP\"
[authenticators.http]
url = \"URL\"
[[bindings]]
when = \"claims.level > 1\"
roles = [\"tenant\"]
[roles.tenant]
publish = [\"tenants.{{ claims.tenant }}.>\"]
[[accounts]]
name = \"APP\"
";
    let service = WebService::start().await;
    let claims = json!({ "tenant": "t1", "level": 2, "salary": "canary-salary" });
    service.answer("alice", json!({ "result": "allow", "claims": claims }));
    for (facts, expected) in [(true, json!({ "tenant": "t1", "level": 2 })), (false, json!(null))] {
        let audit = format!("[audit]\nfacts = {facts}\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n");
        let builder = Pair::builder(json!({})).authenticators(&TEAM.replace("URL", service.url()));
        let pair = builder.gate_config(&audit).start().await;
        pair.admits(&alice()).await;
        let path = pair.path("audit.jsonl");
        let admitted = record(&path, json!({ "outcome": "admitted" })).await;
        assert_eq!(admitted["facts"], expected, "{admitted}");
        assert!(!fs::read_to_string(&path).unwrap().contains("canary"));
    }
}

#[tokio::test]
async fn no_secret_of_a_login_is_in_the_audit() {
    for version in ["2.10.26", "2.15.1"] {
        let robot = Nkey::user();
        let users = json!({
            "clear": { "pass": "canary-clear", "account": "APP" },
            "sensor": { "token": "canary-token", "account": "APP" },
            "robot": { "nkey": robot.public(), "account": "APP" },
        });
        let config = "[audit]\nfacts = true\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n";
        let builder = Pair::builder(users).gate_config(config).version(version);
        let mut pair = builder.start().await;
        let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.canary-signature";
        for credential in [
            Credential::password("clear", "canary-clear"),
            Credential::password("clear", "canary-wrong"),
            Credential::token("canary-token"),
            Credential::token("canary-token-wrong"),
            Credential::token(jwt),
            Credential::nkey(&robot),
            Credential::password(jwt, "canary-wrong"),
            Credential::password("Bearer canary-opaque", "canary-wrong"),
            Credential::password(&robot.seed(), "canary-wrong"),
        ] {
            let _ = connect_to(&pair.server.url(), &credential).await;
        }
        pair.gate.terminate().await;
        let text = fs::read_to_string(pair.path("audit.jsonl")).unwrap();
        assert_eq!(text.matches("\"type\":\"decision\"").count(), 9, "{version}: {text}");
        assert!(!text.contains("canary"), "{version}: {text}");
        assert!(!text.contains(&robot.seed()), "{version}: {text}");
    }
}
