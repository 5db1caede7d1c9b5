//! Changes while the service runs: taken up whole, or not at all.

use std::{fs, time::Duration};

use callgate_testkit::{CurveKey, eventually, oidc_provider::Authority, wait::PATIENCE};
use serde_json::{Value, json};

use crate::support::{Credential, Pair, connect, has};

const OK: &str = "callgate_config_reloads_total{result=\"ok\"}";
const FAILED: &str = "callgate_config_reloads_total{result=\"failed\"}";
const SUCCESSFUL: &str = "callgate_config_last_reload_successful";
const TIMESTAMP: &str = "callgate_config_last_reload_timestamp_seconds";

fn alice() -> Credential {
    Credential::password("alice", "alice")
}

fn user(password: &str) -> Value {
    json!({ "pass": password, "account": "APP" })
}

/// `callgate_config_in_sync` of a file; -1 without a sample.
async fn in_sync(pair: &Pair, name: &str) -> f64 {
    let sample = format!("callgate_config_in_sync{{file=\"{name}\"}}");
    let metrics = pair.gate.metrics().await;
    metrics.iter().find(|(found, _)| *found == sample).map_or(-1.0, |(_, value)| *value)
}

async fn in_sync_becomes(pair: &Pair, name: &str, value: f64) {
    eventually(&format!("in_sync of {name} to be {value}"), PATIENCE, async || {
        (in_sync(pair, name).await == value).then_some(())
    })
    .await;
}

fn carol() -> Credential {
    Credential::password("carol", "carol")
}

#[tokio::test]
async fn changed_users_file_is_in_force_for_the_next_connection() {
    let dave = json!({ "pass": "dave", "account": "APP" });
    let alice_too = json!({ "pass": "alice", "account": "APP" });
    let pair = Pair::of(json!({ "alice": alice_too, "dave": dave, "erin": dave })).await;
    let live = pair.admits(&alice()).await;
    let may_nothing = json!({ "pass": "dave", "account": "APP", "permissions": {} });
    let carol_too = json!({ "pass": "carol", "account": "APP" });
    let users = json!({ "carol": carol_too, "dave": may_nothing, "erin": dave });
    pair.write("users.json", users.to_string());
    pair.gate.metric_reaches(OK, 1.0).await;
    pair.admits(&carol()).await;
    assert_eq!(pair.refuses(&alice()).await, "unknown_user");
    // What was granted lasts, and the log says for how long.
    live.talks_to_itself_on("still.here").await;
    has(&pair.gate.log(), &["1 user was removed or disabled", "session.max_lifetime"]);
    has(&pair.gate.log(), &["the changed file is in force: 3 users", "1 user was changed"]);
    assert_eq!(pair.gate.record(0, &["1 user was changed"]).await["users"], "dave");
}

#[tokio::test]
async fn bad_users_file_keeps_the_old_one_in_force() {
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let pair = Pair::of(users.clone()).await;
    let path = pair.path("users.json");
    let bad: [(&str, &dyn Fn(), &str); 6] = [
        ("broken", &|| pair.write("users.json", "{ alice"), "users.json:1:"),
        ("truncated", &|| pair.write("users.json", "{\"alice\":{\"pass\":\"ali"), "unclosed quote"),
        ("empty", &|| pair.write("users.json", ""), "is empty"),
        ("a bad hash", &|| pair.write("users.json", "{\"a\":{\"pass\":\"$2b$10$x\"}}"), "bcrypt"),
        ("missing", &|| fs::remove_file(&path).unwrap(), "No such file"),
        ("a folder", &|| fs::create_dir(&path).unwrap(), "Is a directory"),
    ];
    let mut marks = Vec::new();
    for (index, (what, spoil, words)) in bad.iter().enumerate() {
        let mark = pair.gate.mark();
        spoil();
        let failures = u32::try_from(index + 1).unwrap();
        pair.gate.metric_reaches(FAILED, failures.into()).await;
        pair.admits(&alice()).await;
        marks.push((*what, mark, *words));
    }
    for (what, mark, words) in marks {
        pair.gate.says(mark, words).await;
        let kept = pair.gate.record(mark, &["the old users stay in force"]).await;
        assert_eq!(kept["level"], "ERROR", "{what}");
    }
    // And it recovers.
    fs::remove_dir(pair.path("users.json")).unwrap();
    pair.write("users.json", users.to_string());
    pair.gate.metric_reaches(OK, 1.0).await;
    pair.admits(&alice()).await;
}

#[tokio::test]
async fn changed_configuration_swaps_authenticators() {
    let pair = Pair::of(json!({ "alice": { "pass": "alice", "account": "APP" } })).await;
    pair.write("others.json", json!({ "t": { "token": "carol", "account": "APP" } }).to_string());
    assert_eq!(pair.refuses(&Credential::token("carol")).await, "bad_token");
    let more =
        "\n[[authenticators]]\nname = \"robots\"\n[authenticators.users]\nfile = \"others.json\"\n";
    let mark = pair.gate.mark();
    pair.rewrite_config(|text| text + more);
    pair.gate.says(mark, "configuration reloaded").await;
    let (outcome, decision) = pair.attempt(&Credential::token("carol")).await;
    outcome.unwrap();
    assert_eq!(decision["authenticator"], "robots");
    assert_eq!(pair.gate.metric(OK).await, 1.0);
}

#[tokio::test]
async fn bad_configuration_keeps_the_old_one_in_force() {
    let pair = Pair::of(json!({ "alice": { "pass": "alice", "account": "APP" } })).await;
    let bad = [("\nnonsense = 1\n", "unknown key"), ("\n[[", "callgate.toml")];
    for (index, (text, words)) in bad.into_iter().enumerate() {
        let mark = pair.gate.mark();
        pair.rewrite_config(|config| config + text);
        pair.gate.says(mark, "keeping the previous configuration").await;
        has(&pair.gate.log()[mark..], &[words]);
        assert_eq!(pair.gate.metric(FAILED).await, f64::from(u32::try_from(index + 1).unwrap()));
        pair.admits(&alice()).await;
    }
    assert_eq!(pair.gate.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn change_during_a_reload_is_not_lost() {
    let pair = Pair::of(json!({ "alice": { "pass": "alice", "account": "APP" } })).await;
    let url = pair.server.url();
    let mut in_force = "users.json".to_owned();
    for round in 0..3 {
        let name = |which: &str| format!("{which}{round}.json");
        for (which, user) in [("first", "bob"), ("second", "carol")] {
            let user = format!("{user}{round}");
            let entry = json!({ user: { "pass": "pass", "account": "APP" } });
            pair.write(&name(which), entry.to_string());
        }
        let mark = pair.gate.mark();
        pair.rewrite_config(|text| text.replace(&in_force, &name("first")));
        pair.gate.says(mark, "configuration file changed; reloading").await;
        pair.rewrite_config(|text| text.replace(&name("first"), &name("second")));
        eventually("the second change in force", PATIENCE, async || {
            connect(&url, &format!("carol{round}"), "pass").await.ok()
        })
        .await;
        in_force = name("second");
    }
}

#[tokio::test]
async fn files_of_authenticators_are_watched_too() {
    let pair = Pair::of(json!({ "alice": { "pass": "alice", "account": "APP" } })).await;
    let authority = Authority::new("ours");
    pair.write("ca.pem", authority.pem());
    let more = "[[authenticators]]\nname = \"sso\"\nrequired = false\n[authenticators.oidc]\n\
                issuer = \"https://127.0.0.1:1\"\naudience = [\"nats\"]\nca = \"ca.pem\"\n";
    pair.rewrite_config(|text| text + more);
    pair.gate.metric_reaches(OK, 1.0).await;
    let mark = pair.gate.mark();
    pair.write("ca.pem", "nonsense");
    pair.gate.metric_reaches(FAILED, 1.0).await;
    pair.gate.says(mark, "authenticators[1].oidc.ca").await;
    pair.write("ca.pem", authority.pem());
    pair.gate.metric_reaches(OK, 2.0).await;
}

#[tokio::test]
async fn keys_rotate_without_an_outage_and_sighup_reads_again() {
    let mut pair = Pair::of(json!({ "alice": { "pass": "alice", "account": "APP" } })).await;
    let fresh = CurveKey::generate();
    crate::support::write_private(&pair.path("new.xk"), &fresh.seed());
    // First the gate knows both, then the server changes, then the old one goes.
    let mark = pair.gate.mark();
    let both = "xkeys = [{ file = \"new.xk\" }, { file = \"xkey.xk\" }]";
    pair.rewrite_config(|text| text.replace("xkeys = [{ file = \"xkey.xk\" }]", both));
    pair.gate.process.signal("HUP");
    pair.gate.says(mark, "reloading configuration on SIGHUP").await;
    pair.gate.says(mark, "configuration reloaded").await;
    pair.admits(&alice()).await;

    // nats-server reads its auth_callout block only when it starts.
    let path = pair.server.folder().join("nats-server.conf");
    let old = fs::read_to_string(&path).unwrap();
    fs::write(&path, old.replace(&pair.xkey.public(), &fresh.public())).unwrap();
    let mark = pair.gate.mark();
    pair.server.restart().await;
    pair.gate.says(mark, "ready: answering").await;
    pair.admits(&alice()).await;

    let mark = pair.gate.mark();
    pair.rewrite_config(|text| text.replace(both, "xkeys = [{ file = \"new.xk\" }]"));
    pair.gate.says(mark, "configuration reloaded").await;
    pair.admits(&alice()).await;
}

#[tokio::test]
async fn what_needs_a_restart_is_said_and_not_done() {
    let pair = Pair::of(json!({ "alice": { "pass": "alice", "account": "APP" } })).await;
    let mark = pair.gate.mark();
    pair.rewrite_config(|text| text.replace("[issuer]", "queue = \"other\"\n[issuer]"));
    let told = pair.gate.record(mark, &["takes effect after a restart"]).await;
    assert_eq!((&told["level"], &told["section"]), (&json!("WARN"), &json!("[nats]")));
    pair.gate.says(mark, "configuration reloaded").await;
    pair.admits(&alice()).await;
}

#[tokio::test]
async fn changed_password_ends_remembered_verifications() {
    let hash = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let pair = Pair::of(json!({ "u": { "pass": hash, "account": "APP" } })).await;
    pair.admits(&Credential::password("u", "U*U")).await;
    pair.write("users.json", json!({ "u": { "pass": "new", "account": "APP" } }).to_string());
    pair.gate.metric_reaches(OK, 1.0).await;
    assert_eq!(pair.refuses(&Credential::password("u", "U*U")).await, "bad_password");
    pair.admits(&Credential::password("u", "new")).await;
}

#[tokio::test]
async fn changes_without_free_descriptors_take_effect_without_a_signal() {
    let pair = Pair::of(json!({ "alice": user("alice"), "carol": user("carol") })).await;
    let mark = pair.gate.mark();
    pair.gate.process.keep_descriptors_exhausted().await.unwrap();
    pair.write("users.json", json!({ "carol": user("carol") }).to_string());
    pair.rewrite_config(|text| text + "\n[session]\nmax_lifetime = \"30m\"\n");
    pair.gate.says(mark, "the old users stay in force").await;
    pair.gate.says(mark, "keeping the previous configuration").await;
    pair.admits(&alice()).await;
    pair.gate.process.limit("nofile", 1024).unwrap();
    eventually("the removed user to be refused", PATIENCE, async || {
        connect(&pair.server.url(), "alice", "alice").await.err()
    })
    .await;
    pair.gate.says(mark, "configuration reloaded").await;
    pair.admits(&carol()).await;
    for file in ["users.json", "callgate.toml"] {
        in_sync_becomes(&pair, file, 1.0).await;
    }
    assert_eq!(pair.gate.metric(SUCCESSFUL).await, 1.0);
    // Each error is counted once, however often the attempt is repeated.
    assert!(pair.gate.metric(FAILED).await >= 2.0);
}

#[tokio::test]
async fn metrics_show_which_files_differ_from_memory() {
    let pair = Pair::of(json!({ "alice": user("alice") })).await;
    let started = pair.gate.metric(TIMESTAMP).await;
    assert!(started > 1.7e9, "{started}");
    for file in ["users.json", "callgate.toml", "issuer.nk"] {
        assert_eq!(in_sync(&pair, file).await, 1.0, "{file}");
    }
    pair.write("users.json", "{");
    in_sync_becomes(&pair, "users.json", 0.0).await;
    pair.gate.metric_reaches(FAILED, 1.0).await;
    assert_eq!(pair.gate.metric(SUCCESSFUL).await, 0.0);
    assert_eq!(in_sync(&pair, "callgate.toml").await, 1.0);
    // A configuration with an error elsewhere does not hide that.
    pair.rewrite_config(|text| text + "\nnonsense = 1\n");
    in_sync_becomes(&pair, "callgate.toml", 0.0).await;
    pair.gate.metric_reaches(FAILED, 2.0).await;
    pair.write("users.json", json!({ "carol": user("carol") }).to_string());
    in_sync_becomes(&pair, "users.json", 1.0).await;
    pair.admits(&carol()).await;
    assert_eq!(pair.gate.metric(SUCCESSFUL).await, 0.0, "the configuration still has an error");
    pair.rewrite_config(|text| text.replace("\nnonsense = 1\n", ""));
    in_sync_becomes(&pair, "callgate.toml", 1.0).await;
    assert_eq!(pair.gate.metric(SUCCESSFUL).await, 1.0);
    assert!(pair.gate.metric(TIMESTAMP).await >= started);
}

#[tokio::test]
async fn configuration_that_failed_because_of_a_users_file_is_loaded_later() {
    let pair = Pair::of(json!({ "alice": user("alice") })).await;
    pair.write("others.json", "{");
    let mark = pair.gate.mark();
    pair.rewrite_config(|text| text.replace("users.json", "others.json"));
    pair.gate.says(mark, "keeping the previous configuration").await;
    pair.admits(&alice()).await;
    // The configuration itself stays the same.
    pair.write("others.json", json!({ "carol": user("carol") }).to_string());
    pair.gate.says(mark, "configuration reloaded").await;
    pair.admits(&carol()).await;
    assert_eq!(pair.refuses(&alice()).await, "unknown_user");
    assert_eq!(in_sync(&pair, "users.json").await, -1.0, "no longer a file of the configuration");
    in_sync_becomes(&pair, "others.json", 1.0).await;
    assert_eq!(pair.gate.metric(FAILED).await, 1.0);
}

#[tokio::test]
async fn continually_changing_files_are_loaded() {
    let pair = Pair::of(json!({ "alice": user("alice") })).await;
    let users = pair.path("users.json");
    let config = pair.path("callgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let writer = tokio::spawn(async move {
        for round in 0.. {
            let files = [
                (&users, json!({ "alice": user(&format!("pass-{round}")) }).to_string()),
                (&config, format!("{text}\n# {round}\n")),
            ];
            for (path, text) in files {
                let new = path.with_extension("new");
                crate::support::write_private(&new, &text);
                fs::rename(&new, path).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (mark, deadline) = (pair.gate.mark(), PATIENCE);
    for what in ["the changed file is in force", "configuration reloaded"] {
        eventually(&format!("`{what}` twice"), deadline, async || {
            (pair.gate.log()[mark..].matches(what).count() > 1).then_some(())
        })
        .await;
    }
    writer.abort();
}

#[tokio::test]
async fn files_that_need_a_restart_stay_out_of_sync() {
    let pair = Pair::of(json!({ "alice": user("alice") })).await;
    let mark = pair.gate.mark();
    pair.rewrite_config(|text| text.replace("[issuer]", "queue = \"other\"\n[issuer]"));
    pair.gate.says(mark, "configuration reloaded").await;
    in_sync_becomes(&pair, "callgate.toml", 0.0).await;
    let mark = pair.gate.mark();
    pair.rewrite_config(|text| text.replace("queue = \"other\"\n", ""));
    pair.gate.says(mark, "configuration reloaded").await;
    in_sync_becomes(&pair, "callgate.toml", 1.0).await;
}
