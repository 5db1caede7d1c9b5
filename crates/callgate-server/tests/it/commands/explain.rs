//! `callgate explain`

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use callgate::clock::UnixTime;
use callgate_testkit::{CurveKey, Nkey, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{CommandOutput, callgate_in, command, has, run, write_private};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    folder
}

/// `explain` with the password `bob` in a variable.
fn explain(folder: &Path, arguments: &[&str]) -> CommandOutput {
    let arguments = [&["explain", "--config", "callgate.toml"], arguments].concat();
    run(command(folder, &arguments).env("BOB", "bob"), b"")
}

const BOB: [&str; 4] = ["--user", "bob", "--password", "env:BOB"];

#[test]
fn admission_is_explained_step_by_step() {
    let folder = folder();
    let ran = explain(folder.path(), &BOB);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    has(
        &ran.stdout,
        &[
            "credential      password",
            "users: identified `bob`",
            "account         APP",
            "may publish     bob.>",
            "may subscribe   bob.>",
            "max 1, ttl 120s",
            "session ends",
            "publish: by nats-server",
            "limits          connection_types nats, websocket, mqtt (from the default)",
            "connection_types: by Callgate",
            "decision        admitted",
        ],
    );
}

#[test]
fn refusal_is_explained_with_its_reason() {
    let folder = folder();
    let cases: [(&[&str], &str); 4] = [
        (&["--user", "alice", "--password", "env:BOB"], "bad_password"),
        (&["--user", "pam", "--password", "env:BOB"], "unknown_user"),
        (&["--token", "env:BOB"], "bad_token"),
        (&[], "no_credential"),
    ];
    for (arguments, reason) in cases {
        let ran = explain(folder.path(), arguments);
        assert_eq!(ran.code, 1, "{ran:?}");
        has(&ran.stdout, &[&format!("reason          {reason}"), "decision        refused"]);
        let json = explain(folder.path(), &[arguments, &["--json"]].concat());
        assert_eq!((json.code, json.json()["reason"].clone()), (1, json!(reason)));
        assert_eq!(json.json()["outcome"], "refused");
    }
}

#[test]
fn can_answers_with_the_rule_that_decides() {
    let folder = folder();
    let questions = [
        "--can",
        "pub:bob.x",
        "--can",
        "pub:test",
        "--can",
        "sub:bob.x",
        "--can",
        "sub:test",
        "--can",
        "pub:bob.>",
        "--can",
        "pub:*.x",
    ];
    let ran = explain(folder.path(), &[&BOB[..], &questions].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "pub:bob.x  yes, publish allow `bob.>`",
            "pub:test  yes, by responses",
            "sub:bob.x  yes, subscribe allow `bob.>`",
            "sub:test  no, ",
            "pub:bob.>  yes, publish allow `bob.>` covers all of it",
            "pub:*.x  no, no publish allow covers all of it",
        ],
    );
    let json = explain(folder.path(), &[&BOB[..], &questions, &["--json"]].concat()).json();
    let allowed: Vec<_> =
        json["can"].as_array().unwrap().iter().map(|answer| answer["allowed"].clone()).collect();
    assert_eq!(allowed, [true, true, true, false, true, false].map(Value::from));
    assert_eq!(json["account"], "APP");
    assert_eq!(json["permissions"]["publish"]["allow"], json!(["bob.>"]));
    for question in ["publish:x", "pub:a..b", "pub:a b", "pub:>.a", "pub:"] {
        let wrong = explain(folder.path(), &["--can", question]);
        assert_eq!(wrong.code, 2, "{wrong:?}");
        has(&wrong.stderr, &["--can"]);
    }
    has(&explain(folder.path(), &["--can", "publish:x"]).stderr, &["pub:", "sub:"]);
}

#[test]
fn source_and_connection_type_are_checked() {
    let folder = folder();
    let users = json!({
        "bob": { "pass": "bob", "account": "APP", "source": ["10.0.0.0/8"] },
        "web": { "pass": "bob", "account": "APP", "connection_types": ["websocket"] },
    });
    fs::write(folder.path().join("users.json"), users.to_string()).unwrap();
    let web = ["--user", "web", "--password", "env:BOB"];
    let cases: [(&[&str], &[&str], Option<&str>); 6] = [
        (&BOB, &[], Some("source_not_allowed")),
        (&BOB, &["--source", "10.1.2.3"], None),
        (&BOB, &["--source", "10.1.2.3", "--client-type", "mqtt"], None),
        (
            &BOB,
            &["--source", "10.1.2.3", "--client-type", "leafnode"],
            Some("connection_type_not_allowed"),
        ),
        (&web, &[], Some("connection_type_not_allowed")),
        (&web, &["--client-type", "websocket"], None),
    ];
    for (who, how, reason) in cases {
        let ran = explain(folder.path(), &[who, how].concat());
        assert_eq!(ran.code, i32::from(reason.is_some()), "{how:?} {ran:?}");
        has(&ran.stdout, &[reason.unwrap_or("admitted")]);
    }
}

/// Limits that are not set are not printed.
#[test]
fn limits_are_printed_with_value_and_enforcer() {
    let folder = folder();
    let users = json!({
        "bob": { "pass": "bob", "account": "APP" },
        "far": { "pass": "bob", "account": "APP", "source": ["127.0.0.0/8", "10.0.0.0/8"],
                 "connection_types": ["mqtt", "nats"] },
    });
    fs::write(folder.path().join("users.json"), users.to_string()).unwrap();
    let bob = explain(folder.path(), &BOB);
    assert!(!bob.stdout.contains("source:") && !bob.stdout.contains("times:"), "{bob:?}");
    let far = ["--user", "far", "--password", "env:BOB"];
    let ran = explain(folder.path(), &far);
    has(
        &ran.stdout,
        &[
            "limits          source 127.0.0.0/8, 10.0.0.0/8 (from the entry)",
            "limits          connection_types nats, mqtt (from the entry)",
            "enforced        source: by Callgate, at login",
        ],
    );
    let json = explain(folder.path(), &[&far[..], &["--json"]].concat()).json();
    let source = json!({ "limit": "source", "value": "127.0.0.0/8, 10.0.0.0/8",
        "from": "the entry", "enforced_by": "callgate" });
    assert_eq!(json["limits"][0], source);
    assert_eq!(json["limits"].as_array().unwrap().len(), 2);
}

#[test]
fn nkey_signs_a_generated_nonce() {
    let folder = folder();
    let robot = Nkey::user();
    let users = json!({ "robot": { "nkey": robot.public(), "account": "APP" } });
    fs::write(folder.path().join("users.json"), users.to_string()).unwrap();
    write_private(&folder.path().join("robot.nk"), &robot.seed());
    let ran = explain(folder.path(), &["--nkey-seed", "@robot.nk"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stdout, &["credential      nkey", "identified `robot`"]);
    has(&ran.text(), &["generated nonce", "at least one nkey user"]);
    let account = explain(folder.path(), &["--nkey-seed", "@issuer.nk"]);
    assert_eq!(account.code, 2, "{account:?}");
    has(
        &account.stderr,
        &["--nkey-seed: this is an account seed (SA…), but a user seed (SU…) is needed"],
    );
}

#[test]
fn password_on_the_command_line_causes_a_warning() {
    let folder = folder();
    let ran = explain(folder.path(), &["--user", "bob", "--password", "bob"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stderr, &["warning: --password", "@FILE or env:NAME"]);
}

#[test]
fn request_file_is_explained() {
    let folder = folder();
    let seed = fs::read_to_string(folder.path().join("xkey.xk")).unwrap();
    let issuer = fs::read_to_string(folder.path().join("issuer.nk")).unwrap();
    let (xkey, issuer) = (CurveKey::from_seed(seed.trim()), Nkey::from_seed(issuer.trim()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Judged as of when it was made, however old it is.
    let made = i64::try_from(now).unwrap() - 86_400;
    let request = RequestBuilder::new(&issuer.public(), made)
        .password("bob", "bob")
        .sealed_for(&xkey.public())
        .build();
    fs::write(folder.path().join("request"), &request.payload).unwrap();
    let header = request.xkey_header.unwrap();
    let ran = explain(folder.path(), &["--request", "request", "--server-xkey", &header]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stdout, &["identified `bob`", "decision        admitted"]);
    let yesterday = UnixTime::from_seconds(made).to_string();
    has(&ran.stdout, &[&format!("evaluated       as of {yesterday}, when the request was made")]);
    let stdin = ["explain", "--config", "callgate.toml", "--request", "-", "--json"];
    let stdin = [&stdin[..], &["--server-xkey", &header]].concat();
    let piped = run(&mut command(folder.path(), &stdin), &request.payload);
    assert_eq!((piped.code, piped.json()["as_of"].clone()), (0, json!(yesterday)), "{piped:?}");
    // Options that contradict the request are rejected.
    for other in [["--source", "10.1.2.3"], ["--client-type", "mqtt"], ["--user", "bob"]] {
        let ran = explain(folder.path(), &[&["--request", "request"], &other[..]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        has(&ran.stderr, &["--request", other[0]]);
    }
    // An unencrypted request would be dropped, and the reason is printed.
    fs::write(folder.path().join("clear"), &request.token).unwrap();
    let clear = explain(folder.path(), &["--request", "clear"]);
    assert_eq!(clear.code, 1, "{clear:?}");
    has(
        &clear.stdout,
        &["reason          not_encrypted: ", "decision        dropped without an answer"],
    );
    let json = explain(folder.path(), &["--request", "clear", "--json", "--can", "pub:a"]);
    assert_eq!(json.code, 1, "{json:?}");
    let json = json.json();
    assert_eq!((&json["outcome"], &json["reason"]), (&json!("dropped"), &json!("not_encrypted")));
    assert_eq!((&json["can"][0]["allowed"], &json["account"]), (&json!(false), &json!(null)));
    let missing = explain(folder.path(), &["--request", "nowhere"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    has(&missing.stderr, &["cannot read `nowhere`"]);
}

#[test]
fn configuration_errors_are_printed_as_json() {
    let folder = folder();
    let path = folder.path().join("callgate.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("max_lifetime", "max_lifetme").replace("xkeys", "# xkeys"))
        .unwrap();
    let text = explain(folder.path(), &BOB);
    assert_eq!((text.code, text.stdout.as_str()), (2, ""), "{text:?}");
    has(&text.stderr, &["error: session.max_lifetme: unknown key"]);
    let json = explain(folder.path(), &[&BOB[..], &["--json"]].concat());
    assert_eq!((json.code, json.stderr.as_str()), (2, ""), "{json:?}");
    assert_eq!(json.json()["ok"], false);
    assert_eq!(json.json()["faults"][0]["path"], "session.max_lifetme");
    assert_eq!(json.json()["warnings"][0]["path"], "issuer.xkeys");
}

#[test]
fn fall_through_without_a_later_password_authenticator_warns() {
    let folder = folder();
    let path = folder.path().join("callgate.toml");
    let text = fs::read_to_string(&path).unwrap();
    let key = Nkey::user().public();
    let services = format!(
        "fall_through = true\n\n[[authenticators]]\nname = \"services\"\n[[authenticators.service_tokens.services]]\n\
         public_key = \"{key}\"\nuser = \"svc\"\naccount = \"APP\"\npermissions = {{ pub = [\"a.>\"], sub = [\"a.>\"], resp = true }}\n"
    );
    let with_services =
        text.replace("file = \"users.json\"\n", &format!("file = \"users.json\"\n{services}"));
    assert_ne!(text, with_services);
    fs::write(&path, with_services).unwrap();
    let check = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
    assert_eq!(check.code, 0, "{check:?}");
    has(
        &check.stdout,
        &[
            "fall_through: no later authenticator takes passwords",
            "services[0].permissions: the publish and subscribe permissions overlap",
        ],
    );
    let ran = explain(folder.path(), &["--user", "pam", "--password", "env:BOB"]);
    assert_eq!(ran.code, 1);
    has(&ran.stdout, &["unknown_user"]);
}
