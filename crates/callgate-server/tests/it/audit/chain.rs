//! Records, their chain and their seals.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use callgate_testkit::Nkey;
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};

use super::support::{alice, assert_chained, audited, lines, record, records};
use crate::support::{Credential, Pair, callgate_in, has, serve};

#[tokio::test]
async fn every_decision_is_a_chained_record() {
    let mut pair = audited("").await;
    let path = pair.path("audit.jsonl");
    pair.admits(&alice()).await;
    pair.refuses(&Credential::password("alice", "wrong")).await;
    let admitted = record(&path, json!({ "outcome": "admitted" })).await;
    assert_eq!(admitted["type"], "decision");
    for (member, value) in [
        ("v", json!(1)),
        ("reason", json!("admitted")),
        ("user", json!("alice")),
        ("authenticator", json!("staff")),
        ("account", json!("APP")),
        ("client_host", json!("127.0.0.1")),
        ("connection", json!("nats")),
        ("client_name", json!("tester")),
        ("groups", json!([])),
        ("roles", json!([])),
        ("bindings", json!([])),
    ] {
        assert_eq!(admitted[member], value, "{member}");
    }
    let logged = pair.gate.decisions(0);
    for member in ["request", "client_id", "server", "server_id", "user_nkey", "expires"] {
        assert_eq!(admitted[member], logged[0][member], "{member}");
    }
    assert_eq!(admitted["grant_hash"].as_str().unwrap().len(), 64);
    let refused = record(&path, json!({ "outcome": "refused" })).await;
    assert_eq!(refused["reason"], "bad_password");
    pair.gate.terminate().await;
    let kinds: Vec<Value> =
        records(&path).into_iter().map(|record| record["type"].clone()).collect();
    assert_eq!(kinds, ["start", "config", "decision", "decision", "stop"]);
    assert_chained(&lines(&path));
}

#[tokio::test]
async fn seal_at_the_stop_signs_the_line_above() {
    let key = Nkey::user();
    let config =
        "[audit]\nkey = { file = \"audit.nk\" }\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n";
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let builder = Pair::builder(users).gate_config(config);
    let mut pair = builder.private_file("audit.nk", &key.seed()).start().await;
    pair.admits(&alice()).await;
    pair.gate.terminate().await;
    let records = records(&pair.path("audit.jsonl"));
    let [.., stop, seal] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&stop["type"], &seal["type"]), (&json!("stop"), &json!("seal")));
    assert_eq!(seal["key"], key.public());
    let signature = BASE64URL_NOPAD.decode(seal["sig"].as_str().unwrap().as_bytes()).unwrap();
    let signed = HEXLOWER.decode(seal["prev"].as_str().unwrap().as_bytes()).unwrap();
    let public = BASE32_NOPAD.decode(key.public().as_bytes()).unwrap();
    let public = UnparsedPublicKey::new(&ED25519, &public[1..33]);
    public.verify(&signed, &signature).unwrap();
    assert_chained(&lines(&pair.path("audit.jsonl")));
}

#[tokio::test]
async fn new_process_names_the_last_line_of_the_previous_one() {
    let mut pair = audited("").await;
    pair.admits(&alice()).await;
    pair.gate.terminate().await;
    pair.gate = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
    pair.gate.ready().await;
    pair.admits(&alice()).await;
    pair.gate.terminate().await;
    let path = pair.path("audit.jsonl");
    assert_chained(&lines(&path));
    let records = records(&path);
    let starts: Vec<_> = records.iter().filter(|record| record["type"] == "start").collect();
    assert_eq!(starts.len(), 2);
    assert_ne!(starts[0]["boot"], starts[1]["boot"]);
    assert!(starts[0]["after"].is_null() && starts[1]["after"].is_string());
}

#[tokio::test]
async fn reloads_of_configuration_and_users_are_recorded() {
    let pair = audited("").await;
    let path = pair.path("audit.jsonl");
    record(&path, json!({ "type": "config", "result": "loaded" })).await;
    pair.write("users.json", json!({ "bob": { "pass": "bob", "account": "APP" } }).to_string());
    record(&path, json!({ "type": "users", "authenticator": "staff", "result": "loaded" })).await;
    pair.rewrite_config(|text| format!("nonsense = 1\n{text}"));
    let rejected = record(&path, json!({ "type": "config", "result": "rejected" })).await;
    assert!(rejected["detail"].as_str().unwrap().contains("nonsense"), "{rejected}");
    assert_eq!(rejected["hash"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn newlines_and_lone_surrogates_in_names_stay_in_their_record() {
    let pair = audited("").await;
    let path = pair.path("audit.jsonl");
    let forged = "x\n{\"v\":1,\"type\":\"lock\"}\u{2028}\u{202e}\u{7f}";
    pair.refuses(&Credential::password(forged, "wrong")).await;
    // Half of a pair of UTF-16 units, in UTF-8 as some clients encode it: not valid UTF-8.
    let mut raw = std::net::TcpStream::connect(("127.0.0.1", pair.server.port())).unwrap();
    let connect = b"CONNECT {\"user\":\"sur\xed\xa0\x80rogate\",\"pass\":\"p\",\"verbose\":false}\r\nPING\r\n";
    std::io::Write::write_all(&mut raw, connect).unwrap();
    let mut escaped = std::net::TcpStream::connect(("127.0.0.1", pair.server.port())).unwrap();
    let connect =
        b"CONNECT {\"user\":\"esc\\ud800aped\",\"pass\":\"p\",\"verbose\":false}\r\nPING\r\n";
    std::io::Write::write_all(&mut escaped, connect).unwrap();
    let found =
        callgate_testkit::eventually("three refusals", callgate_testkit::wait::LONG, async || {
            let records = records(&path);
            let refused: Vec<_> =
                records.into_iter().filter(|it| it["type"] == "decision").collect();
            (refused.len() >= 3).then_some(refused)
        })
        .await;
    assert!(found.iter().all(|record| record["outcome"] == "refused"), "{found:?}");
    let lines = lines(&path);
    assert_chained(&lines);
    assert!(lines.iter().all(|line| line.is_ascii()), "{lines:?}");
}

#[tokio::test]
async fn second_process_on_a_file_is_a_start_error() {
    let pair = audited("").await;
    let second = callgate_in(pair.folder.path(), &["serve", "--config", "callgate.toml"]);
    assert_eq!(second.code, 2, "{second:?}");
    has(&second.text(), &["audit.jsonl", "in use by another process"]);
}

#[tokio::test]
async fn unwritable_audit_path_is_a_start_error_not_an_outage() {
    let pair = audited("").await;
    let text = std::fs::read_to_string(pair.path("callgate.toml")).unwrap();
    for (path, why) in [("absent/audit.jsonl", "No such file"), (".", "not a regular file")] {
        let text = text.replace("\"audit.jsonl\"", &format!("\"{path}\""));
        std::fs::write(pair.path("other.toml"), &text).unwrap();
        let ran = callgate_in(pair.folder.path(), &["serve", "--config", "other.toml"]);
        assert_eq!(ran.code, 2, "{path}: {ran:?}");
        has(&ran.text(), &[why]);
    }
    pair.admits(&alice()).await;
}
