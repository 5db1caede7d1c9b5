//! `callgate explain`

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use callgate::clock::UnixTime;
use callgate_testkit::{CurveKey, Nkey, RequestBuilder, oidc_provider::SigningKey};
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
fn answer_comes_first_and_the_trace_on_request() {
    let folder = folder();
    let ran = explain(folder.path(), &BOB);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let labels =
        ["decision", "identity", "account", "may publish", "may subscribe", "may reply to"];
    let printed: Vec<_> = ran.stdout.lines().map(|line| line[..16].trim()).collect();
    assert_eq!(printed[..6], labels, "{ran:?}");
    let answer = [
        "decision        admitted\n",
        "identity        bob (of users)\n",
        "account         APP\n",
        "may publish     bob.>\n",
        "may subscribe   bob.>\n",
        "max 1, ttl 120s\n",
        "session ends    ",
    ];
    has(&ran.stdout, &answer);
    let trace = [
        "credential      password",
        "users: identified `bob`",
        "publish: by nats-server",
        "limits          connection_types nats, websocket, mqtt (from the default)",
        "connection_types: by Callgate",
    ];
    assert!(trace.iter().all(|line| !ran.stdout.contains(line)), "{ran:?}");
    let why = explain(folder.path(), &[&BOB[..], &["--why"]].concat());
    assert!(why.stdout.starts_with("decision        admitted\n"), "{why:?}");
    has(&why.stdout, &[&answer[..], &trace].concat());
}

/// Runs `explain` on a terminal, which the command `script` of util-linux provides.
fn on_a_terminal(folder: &Path, variables: &[(&str, &str)]) -> String {
    let command = format!(
        "{} explain --config callgate.toml --user bob --password env:BOB",
        crate::support::CALLGATE
    );
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(folder).env("BOB", "bob");
    script.env_remove("NO_COLOR").envs(variables.iter().copied());
    let ran = script.output().expect("`script`, which is part of util-linux");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn colour_needs_a_terminal_and_obeys_no_color() {
    let folder = folder();
    const GREEN: &str = "\u{1b}[32madmitted\u{1b}[0m";
    has(&on_a_terminal(folder.path(), &[]), &[GREEN]);
    has(&on_a_terminal(folder.path(), &[("NO_COLOR", "")]), &[GREEN]);
    let plain = on_a_terminal(folder.path(), &[("NO_COLOR", "1")]);
    assert!(plain.contains("admitted") && !plain.contains('\u{1b}'), "{plain:?}");
    let piped = explain(folder.path(), &BOB).stdout;
    assert!(piped.contains("admitted") && !piped.contains('\u{1b}'), "{piped:?}");
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
        has(&ran.stdout, &[&format!("reason          {reason}")]);
        assert!(ran.stdout.starts_with("decision        refused\n"), "{ran:?}");
        // The trace is printed without --why.
        let asked = ran.stdout.contains("\nasked           users: ");
        assert_eq!(asked, !arguments.is_empty(), "{ran:?}");
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
            "pub:test  only as a reply, no publish allow covers it; `responses` (max 1, ttl 120s)",
            "sub:bob.x  yes, subscribe allow `bob.>`",
            "sub:test  no, ",
            "pub:bob.>  yes, publish allow `bob.>` covers all of it",
            "pub:*.x  only as a reply, no publish allow covers all of it",
        ],
    );
    let json = explain(folder.path(), &[&BOB[..], &questions, &["--json"]].concat()).json();
    let answers = json["can"].as_array().unwrap();
    let answers: Vec<_> =
        answers.iter().map(|answer| (&answer["allowed"], &answer["as_reply"])).collect();
    let (yes, no) = (&json!(true), &json!(false));
    assert_eq!(answers, [(yes, no), (no, yes), (yes, no), (no, no), (yes, no), (no, yes)]);
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
    let bob = explain(folder.path(), &[&BOB[..], &["--why"]].concat());
    assert!(!bob.stdout.contains("source:") && !bob.stdout.contains("times:"), "{bob:?}");
    let far = ["--user", "far", "--password", "env:BOB"];
    let ran = explain(folder.path(), &[&far[..], &["--why"]].concat());
    has(
        &ran.stdout,
        &[
            "limits          source 127.0.0.0/8, 10.0.0.0/8 (from the entry)",
            "limits          connection_types nats, mqtt (from the entry): by Callgate, at login",
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
    let ran = explain(folder.path(), &["--nkey-seed", "@robot.nk", "--why"]);
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
    has(&ran.stdout, &["identity        bob (of users)", "decision        admitted"]);
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

/// A users file and a token provider with a ceiling.
fn folder_with_provider() -> tempfile::TempDir {
    let folder = folder();
    let path = folder.path().join("callgate.toml");
    let more = r#"
[[authenticators]]
name = "sso"
[authenticators.ceiling]
roles = ["reader"]
[authenticators.oidc]
issuer = "https://id.example"
audience = ["nats"]
jwks_file = "keys.json"
groups_claim = "groups"
required_claims = { plan = "gold" }
[[bindings]]
authenticator = "sso"
account = "APP"
roles = ["base", "{{ groups }}"]
[roles.base]
publish = ["base.{{ user }}"]
[roles.reader]
subscribe = ["news.>"]
[roles.admin]
publish = ["admin.>"]
"#;
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + more).unwrap();
    let key = SigningKey::generate("k", "ES256").jwk();
    fs::write(folder.path().join("keys.json"), json!({ "keys": [key] }).to_string()).unwrap();
    folder
}

#[test]
fn user_is_explained_without_a_credential() {
    let folder = folder();
    let ran = explain(folder.path(), &["--as", "users/bob", "--can", "sub:bob.x", "--why"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = [
        "decision        admitted",
        "identity        bob (of users)",
        "sub:bob.x  yes",
        "credential      none: the identity is given",
    ];
    has(&ran.stdout, &expected);
    let json = explain(folder.path(), &["--as", "users/bob", "--json"]).json();
    assert_eq!((&json["assumed"], &json["credential"]), (&json!(true), &json!(null)));
    assert_eq!((&json["user"], &json["account"]), (&json!("bob"), &json!("APP")));
    // The connection counts as for a login.
    let leaf = explain(folder.path(), &["--as", "users/bob", "--client-type", "leafnode"]);
    has(&leaf.stdout, &["reason          connection_type_not_allowed"]);
    let unknown = explain(folder.path(), &["--as", "users/pam"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    has(&unknown.stdout, &["reason          unknown_user: `pam` is not in users.json"]);
    for (arguments, errors) in [
        (["--as", "bob", "--why"].as_slice(), ["AUTHENTICATOR/USER", "`users`"]),
        (&["--as", "other/bob"], ["AUTHENTICATOR/USER", "`users`"]),
        (&["--as", "users/bob", "--user", "bob"], ["--as", "cannot be used with"]),
        (&["--claims", "absent.json"], ["--claims", "cannot read `absent.json`"]),
    ] {
        let wrong = explain(folder.path(), arguments);
        assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""), "{wrong:?}");
        has(&wrong.stderr, &errors);
    }
}

#[test]
fn claims_are_explained_without_a_token() {
    let folder = folder_with_provider();
    let claims = |claims: &Value| {
        fs::write(folder.path().join("claims.json"), claims.to_string()).unwrap();
        explain(folder.path(), &["--claims", "claims.json", "--json"])
    };
    let good = json!({ "sub": "anna", "plan": "gold", "groups": ["reader"] });
    let ran = claims(&good);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json = ran.json();
    assert_eq!((&json["user"], &json["authenticator"]), (&json!("anna"), &json!("sso")));
    assert_eq!(json["roles"], json!(["base", "reader"]));
    assert!(json["claims"].as_array().unwrap().contains(&json!("plan")), "{json}");
    // What every check of the token's claims says.
    let past = json!({ "sub": "anna", "plan": "gold", "exp": 1_000_000_000 });
    for (changed, reason, cause) in [
        (json!({ "sub": "anna", "plan": "free" }), "bad_token", "claims"),
        (json!({ "sub": "anna", "plan": "gold", "aud": "other" }), "wrong_audience", ""),
        (json!({ "sub": "anna", "plan": "gold", "iss": "https://x" }), "bad_token", "issuer"),
        (past, "token_expired", ""),
    ] {
        let ran = claims(&changed);
        assert_eq!(ran.code, 1, "{ran:?}");
        let json = ran.json();
        assert_eq!((&json["reason"], &json["cause"]), (&json!(reason), &json!(cause)), "{json}");
    }
    claims(&json!({ "plan": "gold" }));
    let named = explain(folder.path(), &["--as", "sso/ben", "--claims", "claims.json", "--why"]);
    assert_eq!(named.code, 0, "{named:?}");
    has(&named.stdout, &["identity        ben (of sso)", "may publish     base.ben"]);
    let alone = explain(folder.path(), &["--as", "sso/ben"]);
    assert_eq!(alone.code, 2, "{alone:?}");
    has(&alone.stderr, &["`sso` cannot look up users without a credential", "--claims FILE"]);
    claims(&good);
    let other = explain(folder.path(), &["--as", "sso/ben", "--claims", "claims.json"]);
    assert_eq!(other.code, 2, "{other:?}");
    has(&other.stderr, &["those of the user `anna`, not of `ben`"]);
    // Values of claims only on request.
    let values = ["--claims", "claims.json", "--why", "--show-claims"];
    has(&explain(folder.path(), &values).stdout, &["plan = \"gold\""]);
    assert!(!explain(folder.path(), &values[..3]).stdout.contains("gold"));
}

#[test]
fn dropped_roles_name_the_missing_ceiling_entry() {
    let folder = folder_with_provider();
    let claims = json!({ "sub": "anna", "plan": "gold", "groups": ["reader", "admin", "none"] });
    fs::write(folder.path().join("claims.json"), claims.to_string()).unwrap();
    let ran = explain(folder.path(), &["--claims", "claims.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "dropped         role `admin`: the ceiling does not list it (missing: `admin` in `ceiling.roles`)",
            "dropped         role `none`: there is no such role",
        ],
    );
    let json = explain(folder.path(), &["--claims", "claims.json", "--json"]).json();
    let dropped = json!([
        { "kind": "role", "requested": "admin", "key": "ceiling.roles", "missing": "admin",
          "because": "the ceiling does not list it" },
        { "kind": "role", "requested": "none", "key": "roles", "missing": null,
          "because": "there is no such role" },
    ]);
    assert_eq!(json["ceiling_dropped"], dropped);
}

#[test]
fn holders_of_a_permission_are_listed() {
    let folder = folder_with_provider();
    let users = json!({
        "bob": { "pass": "bob", "account": "APP", "permissions": { "pub": ["bob.>", "x"] } },
        "eve": { "pass": "eve", "account": "APP", "permissions": { "pub": ["y"], "resp": true } },
        "far": { "pass": "far", "account": "APP", "source": ["10.0.0.0/8"] },
        "off": { "pass": "off", "account": "APP", "disabled": true },
        "root": { "pass": "root", "account": "OPS" },
    });
    fs::write(folder.path().join("users.json"), users.to_string()).unwrap();
    let who = |arguments: &[&str]| {
        let ran = explain(folder.path(), &[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let json = ran.json();
        let user = |identity: &Value| identity["user"].as_str().unwrap().to_owned();
        let users: Vec<_> = json["identities"].as_array().unwrap().iter().map(user).collect();
        assert_eq!(json["unlisted"], json!(["sso"]));
        users
    };
    assert_eq!(who(&["--who", "pub:x"]), ["bob", "root"]);
    assert_eq!(who(&["--who", "pub:x", "--source", "10.0.0.1"]), ["bob", "far", "root"]);
    assert_eq!(who(&["--who", "sub:anything", "--source", "10.0.0.1"]), ["far", "root"]);
    let text = explain(folder.path(), &["--who", "pub:bob.>"]);
    has(&text.stdout, &["users/bob", " in APP: publish allow `bob.>` covers all of it\n"]);
    has(&text.stderr, &["note: `sso` cannot list its users"]);
    fs::write(folder.path().join("users.json"), "{}").unwrap();
    let none = explain(folder.path(), &["--who", "pub:nothing"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, "no listed identity has pub:nothing\n"));
    assert_eq!(explain(folder.path(), &["--who", "pub:x", "--can", "pub:x"]).code, 2);
}
