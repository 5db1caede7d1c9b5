//! `callgate replay`

use std::fs;

use serde_json::{Value, json};

use crate::support::{Credential, Pair, callgate_in, has};

const GATE: &str = "[roles.r]\npublish = [\"a.>\", \"b\"]\n[audit]\nfacts = true\n\
                    [[audit.sinks]]\nfile = \"audit.jsonl\"\n";

/// A service that was stopped after some logins; its audit is `audit.jsonl`.
async fn recorded() -> Pair {
    let users = json!({
        "bob": { "pass": "bob", "account": "APP", "roles": ["r"] },
        "eve": { "pass": "eve", "account": "APP", "roles": [] },
    });
    let mut pair = Pair::builder(users).gate_config(GATE).start().await;
    pair.admits(&Credential::password("bob", "bob")).await;
    pair.admits(&Credential::password("bob", "bob")).await;
    assert_eq!(pair.refuses(&Credential::password("eve", "eve")).await, "no_binding");
    assert_eq!(pair.refuses(&Credential::password("bob", "wrong")).await, "bad_password");
    pair.gate.terminate().await;
    pair
}

fn replay(pair: &Pair, change: impl FnOnce(String) -> String, arguments: &[&str]) -> (i32, String) {
    let live = fs::read_to_string(pair.path("callgate.toml")).unwrap();
    pair.write("next.toml", change(live));
    let arguments = [&["replay", "audit.jsonl", "--config", "next.toml"], arguments].concat();
    let ran = callgate_in(pair.folder.path(), &arguments);
    (ran.code, format!("{}{}", ran.stdout, ran.stderr))
}

#[tokio::test]
async fn replay_counts_the_undecidable_but_never_as_same() {
    let pair = recorded().await;
    // Two logins of bob and the refusal of eve are the same; a wrong password cannot be decided again.
    let same = "0 identities differ, 3 are the same, 1 cannot be compared without their claims\n";
    assert_eq!(replay(&pair, |text| text, &[]), (0, same.to_owned()));
    let against = ["--against", "callgate.toml"];
    assert_eq!(replay(&pair, |text| text, &against), (0, same.to_owned()));
    for all in [
        ["--since", "1h"],
        ["--since", "2020-01-01T00:00:00Z"],
        ["--until", "2099-01-01T00:00:00Z"],
    ] {
        assert_eq!(replay(&pair, |text| text, &all), (0, same.to_owned()), "{all:?}");
    }
    // An authenticator that the new configuration does not have.
    let (code, output) = replay(&pair, |text| text.replace("\"staff\"", "\"other\""), &[]);
    assert_eq!(code, 0, "{output}");
    has(&output, &["0 identities differ, 0 are the same, 4 cannot be compared"]);
}

#[tokio::test]
async fn replay_shows_what_recorded_logins_would_lose_and_gain() {
    let pair = recorded().await;
    let smaller = |text: String| text.replace("[\"a.>\", \"b\"]", "[\"a.>\"]");
    let (code, output) = replay(&pair, smaller, &[]);
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "changed staff/bob      grant     differs; --against",
            "2 identities differ, 1 is the same",
        ],
    );
    let (code, output) = replay(&pair, smaller, &["--against", "callgate.toml"]);
    assert_eq!(code, 1, "{output}");
    has(&output, &["loses   staff/bob      publish   b\n"]);
    let (_, output) = replay(&pair, smaller, &["--against", "callgate.toml", "--json"]);
    let report: Value = serde_json::from_str(&output).unwrap();
    let line =
        json!({ "kind": "loses", "identity": "staff/bob", "side": "publish", "subject": "b" });
    assert_eq!(report, json!({ "differences": [line], "same": 1, "undecided": 1 }));
    let open = |text: String| {
        format!(
            "{text}[[bindings]]\nauthenticator = \"staff\"\nwhen = 'user == \"eve\"'\nroles = [\"r\"]\n"
        )
    };
    let (code, output) = replay(&pair, open, &[]);
    assert_eq!(code, 1, "{output}");
    has(&output, &["new     staff/eve      admitted to APP (was: no_binding)\n"]);
    let (code, output) = replay(&pair, open, &["--until", "2020-01-01T00:00:00Z"]);
    assert_eq!(code, 0, "{output}");
    has(
        &output,
        &["0 identities differ, 0 are the same, 0 cannot", "warning: no decision was found"],
    );
}

/// Removes a line that begins with this.
fn without(text: &str, start: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with(start)).collect()
}

#[tokio::test]
async fn hidden_fields_need_the_key() {
    let users = json!({
        "bob": { "pass": "bob", "account": "APP", "roles": ["r"] },
        "eve": { "pass": "eve", "account": "APP", "roles": [] },
    });
    let key = "hide_key = \"0123456789abcdef0123456789abcdef\"\n";
    let hide =
        format!("[audit]\nfacts = true\nhide = [\"user\", \"source\", \"client_name\"]\n{key}");
    let gate = GATE.replace("[audit]\nfacts = true\n", &hide);
    let mut pair = Pair::builder(users).gate_config(&gate).start().await;
    pair.admits(&Credential::password("bob", "bob")).await;
    assert_eq!(pair.refuses(&Credential::password("eve", "eve")).await, "no_binding");
    assert_eq!(pair.refuses(&Credential::password("bob", "wrong")).await, "bad_password");
    pair.gate.terminate().await;
    let audit = fs::read_to_string(pair.path("audit.jsonl")).unwrap();
    assert!(audit.contains("hmac:") && !audit.contains("\"bob\""), "{audit}");
    let with_key =
        "0 identities differ, 2 are the same, 1 cannot be compared without their claims\n";
    assert_eq!(replay(&pair, |text| text, &[]), (0, with_key.to_owned()));
    let without_key = |text: String| without(&without(&text, "hide_key"), "hide =");
    let nothing =
        "0 identities differ, 0 are the same, 3 cannot be compared without their claims\n";
    assert_eq!(replay(&pair, without_key, &[]), (0, nothing.to_owned()));
    // The network of a role matters: only an address that the configuration names can be found.
    let source = |network: &str| {
        let role = format!("[roles.r]\nsource = [\"{network}\"]\n");
        move |text: String| text.replace("[roles.r]\n", &role)
    };
    let (code, output) = replay(&pair, source("192.0.2.7"), &[]);
    assert_eq!(code, 1, "{output}");
    has(&output, &["refused staff/bob      source_not_allowed (was: admitted to APP)\n"]);
    // What expressions read of a connection and records do not have.
    for condition in ["client.lang == \"rust\"", "client.name == \"x\"", "\"a\" in server.tags"] {
        let binding = format!(
            "[[bindings]]\nauthenticator = \"staff\"\nwhen = '{condition}'\nroles = [\"r\"]\n"
        );
        let (code, output) = replay(&pair, |text| format!("{text}{binding}"), &[]);
        assert_eq!((code, output), (0, nothing.to_owned()), "{condition}");
    }
}

#[tokio::test]
async fn refusal_after_policy_is_compared_by_its_grant() {
    let pair = recorded().await;
    let audit = fs::read_to_string(pair.path("audit.jsonl")).unwrap();
    // As if a lock had refused the first login: there is no account, but what policy granted.
    let locked = audit.replacen(
        "\"admitted\",\"reason\":\"admitted\"",
        "\"refused\",\"reason\":\"locked\"",
        1,
    );
    let locked = locked.replacen(",\"account\":\"APP\"", "", 1);
    assert_ne!(locked, audit);
    fs::write(pair.path("audit.jsonl"), locked).unwrap();
    let (code, output) = replay(&pair, |text| text, &["--unverified"]);
    assert_eq!(code, 0, "{output}");
    has(&output, &["0 identities differ, 3 are the same, 1 cannot be compared"]);
    let smaller = |text: String| text.replace("[\"a.>\", \"b\"]", "[\"a.>\"]");
    let (code, output) = replay(&pair, smaller, &["--unverified"]);
    assert_eq!(code, 1, "{output}");
    has(&output, &["changed staff/bob      grant", "2 identities differ, 1 is the same"]);
}

#[tokio::test]
async fn broken_chain_is_unusable_unless_accepted() {
    let pair = recorded().await;
    let audit = fs::read_to_string(pair.path("audit.jsonl")).unwrap();
    fs::write(pair.path("audit.jsonl"), audit.replacen("no_binding", "no_account", 1)).unwrap();
    let (code, output) = replay(&pair, |text| text, &[]);
    assert_eq!(code, 2, "{output}");
    has(&output, &["audit.jsonl line", "pass --unverified"]);
    let (code, output) = replay(&pair, |text| text, &["--unverified"]);
    assert_eq!(code, 0, "{output}");
    has(&output, &["warning: audit.jsonl line", "3 are the same"]);
}

#[tokio::test]
async fn records_of_a_stream_are_decided_again() {
    let config = "[audit]\nfacts = true\n[[audit.sinks]]\nstream = \"CALLGATE_AUDIT\"\ncreate = { max_age = \"90d\" }\n";
    let users =
        json!({ "bob": { "pass": "bob", "account": "APP", "permissions": { "pub": ["a", "b"] } } });
    let mut pair = Pair::builder(users).gate_config(config).audit_stream().start().await;
    pair.admits(&Credential::password("bob", "bob")).await;
    pair.admits(&Credential::password("bob", "bob")).await;
    assert_eq!(pair.refuses(&Credential::password("bob", "wrong")).await, "bad_password");
    pair.gate.terminate().await;
    // A login that may read the stream, which Callgate's own may not.
    let login = ("nkey = { file = \"auth.nk\" }", "user = \"watcher\"\npassword = \"watcher\"");
    let reader =
        |text: String| text.replace(login.0, login.1).replace("\"users.json\"", "\"next.json\"");
    let next =
        json!({ "bob": { "pass": "bob", "account": "APP", "permissions": { "pub": ["a"] } } });
    pair.write("next.json", next.to_string());
    let live = fs::read_to_string(pair.path("callgate.toml")).unwrap();
    pair.write("next.toml", reader(live));
    let arguments = [
        "replay",
        "--stream",
        "CALLGATE_AUDIT",
        "--config",
        "next.toml",
        "--against",
        "callgate.toml",
    ];
    let ran = callgate_in(pair.folder.path(), &arguments);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "loses   staff/bob      publish   b\n",
            "2 identities differ, 0 are the same, 1 cannot be compared without their claims\n",
        ],
    );
    let absent = ["replay", "--stream", "ABSENT", "--config", "next.toml"];
    let ran = callgate_in(pair.folder.path(), &absent);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stderr, &["cannot read the stream `ABSENT`"]);
    let both = ["replay", "audit.jsonl", "--stream", "CALLGATE_AUDIT", "--config", "next.toml"];
    assert_eq!(callgate_in(pair.folder.path(), &both).code, 2);
}
