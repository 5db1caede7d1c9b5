//! `[shadow]`: a candidate configuration beside the live one.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Credential, Pair, WebService};

const SHADOW: &str = "[shadow]\nconfig = \"next.toml\"\n";

/// The candidate: the live configuration without `[shadow]`, and with this change.
fn write_candidate(pair: &Pair, change: impl FnOnce(String) -> String) {
    let live = fs::read_to_string(pair.path("callgate.toml")).unwrap();
    pair.write("next.toml", change(live.replace(SHADOW, "")));
}

async fn reaches(pair: &Pair, result: &str, count: f64) {
    let sample = format!("callgate_shadow_decisions_total{{result=\"{result}\"}}");
    pair.gate.metric_reaches(&sample, count).await;
}

fn bob() -> Credential {
    Credential::password("bob", "bob")
}

fn http(url: &str) -> String {
    format!(
        "[[authenticators]]\nname = \"web\"\naccount = \"APP\"\ntimeout = \"10s\"\n\
         ceiling = {{ publish = [\"app.>\"], subscribe = [\"app.>\"] }}\n\
         [authenticators.http]\nurl = \"{url}\"\ninsecure_http = true\nremember = \"0s\"\n"
    )
}

/// What a decision's record says about the answer.
fn answer(record: &Value) -> Value {
    let mut record = record.clone();
    for volatile in
        ["time", "timestamp", "milliseconds", "request", "user_nkey", "client_id", "expires"]
    {
        record.as_object_mut().unwrap().remove(volatile);
    }
    record
}

#[tokio::test]
async fn shadow_never_changes_an_answer_or_asks_a_backend_twice() {
    const LOGINS: usize = 10;
    let mut answers = Vec::new();
    for with_shadow in [false, true] {
        let service = WebService::start().await;
        service.answer(
            "bob",
            json!({ "result": "allow", "permissions": { "pub": ["app.bob"], "sub": ["app.bob"] } }),
        );
        let mut builder = Pair::builder(json!({})).authenticators(&http(service.url()));
        if with_shadow {
            builder = builder.gate_config(SHADOW);
        }
        let pair = builder.start().await;
        if with_shadow {
            // It would refuse everything.
            let mark = pair.gate.mark();
            write_candidate(&pair, |text| text.replace("ceiling =", "#"));
            pair.gate.line(mark, &["comparing with the candidate configuration"]).await;
        }
        for _ in 0..LOGINS {
            let (session, record) = pair.attempt(&bob()).await;
            let mut session = session.unwrap();
            session.talks_to_itself_on("app.bob").await;
            session.is_refused_to_publish("app.other").await;
            answers.push((with_shadow, answer(&record)));
        }
        if with_shadow {
            reaches(&pair, "refused", LOGINS as f64).await;
        }
        assert_eq!(service.questions().len(), LOGINS, "with shadow: {with_shadow}");
    }
    let (without, with): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(shadow, _)| !shadow);
    for ((_, without), (_, with)) in without.iter().zip(&with) {
        let changed = ["server", "server_id", "client_host"];
        for (name, value) in without.as_object().unwrap() {
            assert!(changed.contains(&name.as_str()) || with[name] == *value, "{without} {with}");
        }
    }
}

const POLICY: &str = "default_account = \"APP\"\n";
const ROLES: &str = "[roles.r]\npublish = [\"a.>\", \"b\"]\nsubscribe = [\"a.>\"]\n";

async fn pair() -> Pair {
    let users =
        json!({ "bob": { "pass": "bob", "roles": ["r"] }, "eve": { "pass": "eve", "roles": [] } });
    let pair = Pair::builder(users).gate_config(ROLES).gate_config(SHADOW).start().await;
    pair.rewrite_config(|text| format!("{POLICY}{text}"));
    pair.gate.line(0, &["configuration reloaded"]).await;
    pair
}

#[tokio::test]
async fn every_kind_of_difference_is_counted_and_logged_once() {
    let pair = pair().await;
    let changes: &[(&str, &str, &str, &str)] = &[
        ("same", "", "", ""),
        ("lost", "publish = [\"a.>\", \"b\"]", "publish = [\"a.>\"]", "loses publish b"),
        ("gained", "subscribe = [\"a.>\"]", "subscribe = [\"a.>\", \"c\"]", "gains subscribe c"),
        (
            "account",
            "default_account = \"APP\"",
            "default_account = \"SYS2\"",
            "account SYS2 (was: APP)",
        ),
        ("shorter", "[roles.r]", "[roles.r]\nexpires_after = \"1m\"", "shorter session"),
        (
            "refused",
            "[roles.r]",
            "[roles.r]\nsource = [\"192.0.2.0/24\"]",
            "refused source_not_allowed",
        ),
        ("failed", "name = \"staff\"", "name = \"other\"", ""),
    ];
    for (result, from, to, logged) in changes {
        let mark = pair.gate.mark();
        write_candidate(&pair, |text| {
            let changed = if from.is_empty() { text } else { text.replace(from, to) };
            format!("{changed}# {result}\n")
        });
        pair.gate.line(mark, &["comparing with the candidate configuration"]).await;
        let mark = pair.gate.mark();
        for _ in 0..2 {
            pair.admits(&bob()).await;
        }
        reaches(&pair, result, 2.0).await;
        let said = "the candidate configuration decides differently";
        let lines = pair.gate.records(mark);
        let lines: Vec<_> =
            lines.iter().filter(|record| record.to_string().contains(said)).collect();
        assert_eq!(lines.len(), usize::from(*result != "same"), "{result}: {lines:?}");
        assert!(lines.iter().all(|line| line.to_string().contains(logged)), "{result}: {lines:?}");
    }
    // What is refused now and would be admitted.
    let mark = pair.gate.mark();
    let binding = "[[bindings]]\nauthenticator = \"staff\"\nroles = [\"r\"]\n";
    write_candidate(&pair, |text| format!("{text}{binding}"));
    pair.gate.line(mark, &["comparing with the candidate configuration"]).await;
    assert_eq!(pair.refuses(&Credential::password("eve", "eve")).await, "no_binding");
    reaches(&pair, "admitted", 1.0).await;
    // A client that no authenticator identifies has nothing to compare.
    assert_eq!(pair.refuses(&Credential::password("eve", "wrong")).await, "bad_password");
    reaches(&pair, "admitted", 1.0).await;
}

#[tokio::test]
async fn unusable_candidate_is_a_warning_and_nothing_else() {
    let pair = pair().await;
    pair.gate.line(0, &["the candidate configuration of [shadow] cannot be used"]).await;
    pair.admits(&bob()).await;
    reaches(&pair, "failed", 1.0).await;
    let mark = pair.gate.mark();
    write_candidate(&pair, |text| text.replace("[roles.r]", "[roles.r]\npublic = []"));
    pair.gate.line(mark, &["error in the candidate configuration", "public"]).await;
    let mark = pair.gate.mark();
    write_candidate(&pair, |text| text);
    pair.gate.line(mark, &["comparing with the candidate configuration"]).await;
    pair.admits(&bob()).await;
    reaches(&pair, "same", 1.0).await;
    // A broken change keeps the last candidate.
    let mark = pair.gate.mark();
    write_candidate(&pair, |text| text.replace("[roles.r]", "[roles.r"));
    pair.gate.line(mark, &["cannot be used"]).await;
    pair.admits(&bob()).await;
    reaches(&pair, "same", 2.0).await;
}

#[tokio::test]
async fn audit_record_has_the_result_and_is_never_lost() {
    let users =
        json!({ "bob": { "pass": "bob", "roles": ["r"] }, "eve": { "pass": "eve", "roles": [] } });
    let audit = "[audit]\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n";
    let builder = Pair::builder(users).gate_config(ROLES).gate_config(audit).gate_config(SHADOW);
    let mut pair = builder.start().await;
    pair.rewrite_config(|text| format!("{POLICY}{text}"));
    pair.gate.line(0, &["configuration reloaded"]).await;
    let mark = pair.gate.mark();
    write_candidate(&pair, |text| {
        text.replace("publish = [\"a.>\", \"b\"]", "publish = [\"a.>\"]")
    });
    pair.gate.line(mark, &["comparing with the candidate configuration"]).await;
    for _ in 0..20 {
        pair.admits(&bob()).await;
    }
    assert_eq!(pair.refuses(&Credential::password("eve", "eve")).await, "no_binding");
    assert_eq!(pair.refuses(&Credential::password("bob", "wrong")).await, "bad_password");
    pair.gate.terminate().await;
    let audit = fs::read_to_string(pair.path("audit.jsonl")).unwrap();
    let records: Vec<Value> =
        audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let results = |user: &str, reason: &str| -> Vec<Value> {
        let decisions = records.iter().filter(|record| record["type"] == "decision");
        let of_user =
            decisions.filter(|record| record["user"] == user && record["reason"] == reason);
        of_user.map(|record| record["shadow"].clone()).collect()
    };
    assert_eq!(results("bob", "admitted"), vec![json!("lost"); 20]);
    assert_eq!(results("eve", "no_binding"), [json!("same")]);
    assert_eq!(results("bob", "bad_password"), [Value::Null]);
    assert_eq!(records.last().unwrap()["type"], "stop");
}

#[tokio::test]
async fn shadow_starts_and_stops_with_a_reload() {
    let pair = pair().await;
    write_candidate(&pair, |text| text);
    pair.gate.line(0, &["comparing with the candidate configuration"]).await;
    pair.admits(&bob()).await;
    reaches(&pair, "same", 1.0).await;
    let mark = pair.gate.mark();
    pair.rewrite_config(|text| text.replace(SHADOW, ""));
    pair.gate.line(mark, &["configuration reloaded"]).await;
    pair.admits(&bob()).await;
    let mark = pair.gate.mark();
    pair.rewrite_config(|text| format!("{text}{SHADOW}"));
    pair.gate.line(mark, &["comparing with the candidate configuration"]).await;
    pair.admits(&bob()).await;
    reaches(&pair, "same", 2.0).await;
    let sample = "callgate_shadow_decisions_total{result=\"same\"}";
    assert_eq!(pair.gate.metric(sample).await, 2.0);
}

#[tokio::test]
async fn claim_that_only_the_candidate_needs_is_failed_and_never_same() {
    let service = WebService::start().await;
    let permissions = json!({ "pub": ["app.bob"] });
    service.answer(
        "bob",
        json!({ "result": "allow", "permissions": permissions, "claims": { "site": "b1" } }),
    );
    let builder = Pair::builder(json!({})).authenticators(&http(service.url()));
    let pair = builder.gate_config(SHADOW).start().await;
    let binding = |condition: &str| {
        format!(
            "[roles.more]\npublish = [\"app.more\"]\n[[bindings]]\nauthenticator = \"web\"\n\
             when = '{condition}'\nroles = [\"more\"]\n"
        )
    };
    for (condition, result) in [
        ("claims.team == \"a\"", "failed"),
        ("claims.site == \"b1\"", "gained"),
        ("claims.site == \"b2\"", "same"),
    ] {
        let mark = pair.gate.mark();
        write_candidate(&pair, |text| format!("{text}{}", binding(condition)));
        pair.gate.line(mark, &["comparing with the candidate configuration"]).await;
        pair.admits(&bob()).await;
        reaches(&pair, result, 1.0).await;
    }
}
