//! `callgate check`

use std::fs;

use serde_json::json;

use crate::support::{callgate_in, command, has, run, without_positions};

/// The configuration of `init`, changed.
pub(super) fn configuration(change: impl Fn(String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    let path = folder.path().join("callgate.toml");
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    folder
}

const CHECK: [&str; 3] = ["check", "--config", "callgate.toml"];

#[test]
fn valid_configuration_exits_with_zero() {
    let folder = configuration(|text| text);
    let ran = callgate_in(folder.path(), &CHECK);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    has(&ran.stdout, &["the configuration is valid", "0 errors"]);
}

#[test]
fn all_errors_are_reported_at_once_with_paths_and_suggestions() {
    let folder = configuration(|text| {
        text.replace("max_lifetime", "max_lifetme").replace("xkeys", "xkey")
            + "jitter = 7\n[[bindings]]\nroles = [\"missing\"]\n[log]\nlevel = \"loud\"\n"
    });
    fs::write(folder.path().join("users.json"), r#"{"al":{"pass":"x","acount":"APP"},"bo":{}}"#)
        .unwrap();
    let ran = callgate_in(folder.path(), &CHECK);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "error: session.max_lifetme: unknown key; did you mean `max_lifetime`?",
            "error: issuer.xkey: unknown key; did you mean `xkeys`?",
            "error: session.jitter: ",
            "error: bindings[0].roles",
            "error: log.level: must be off, error, warn, info, debug or trace",
        ],
    );
    let json = callgate_in(folder.path(), &[&CHECK[..], &["--json"]].concat());
    assert_eq!(json.code, 2);
    let (json, text) = (json.json(), ran.stdout);
    assert_eq!(json["ok"], false);
    for fault in json["faults"].as_array().unwrap() {
        has(&text, &[fault["path"].as_str().unwrap(), fault["message"].as_str().unwrap()]);
    }
}

#[test]
fn findings_name_file_line_and_column() {
    let folder = configuration(|text| text);
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("conf")).unwrap();
    let users =
        "\u{feff}{\r\n\t\"al\": {\"pass\": \"x\", \"acount\": \"APP\"},\r\n\t\"bo\": {}\r\n}";
    fs::write(path("conf/users.json"), users).unwrap();
    fs::write(path("conf/users.yaml"), "al:\n  pass: x\n  acount: APP\nbo: {}\n").unwrap();
    let configuration = |users: &str| {
        format!(
            "\u{feff}[nats]\r\nservers = []\r\n[[authenticators]]\r\n\
             users = {{ file = \"{users}\", fall_thruogh = true }}\r\n[issuer]\r\n"
        )
    };
    for (users, account, entry) in [("users.json", (2, 22), (3, 2)), ("users.yaml", (3, 3), (4, 1))]
    {
        fs::write(path("conf/c.toml"), configuration(users)).unwrap();
        let ran = callgate_in(folder.path(), &["check", "--config", "conf/c.toml"]);
        let at = |(line, column)| format!("error: conf/{users}:{line}:{column}: ");
        has(
            &ran.stdout,
            &[
                "error: conf/c.toml:2:1: nats.servers: names no server",
                "error: conf/c.toml:5:2: issuer.seed: is missing",
                "error: conf/c.toml:4:32: authenticators[0].users.fall_thruogh: unknown key; did \
                 you mean `fall_through`?",
                &format!("{}al.acount: unknown key; did you mean `account`?", at(account)),
                &format!("{}bo: has no credential", at(entry)),
            ],
        );
        let json = callgate_in(folder.path(), &["check", "--config", "conf/c.toml", "--json"]);
        let servers = json!({ "file": "conf/c.toml", "line": 2, "column": 1,
            "path": "nats.servers", "message": "names no server" });
        assert!(json.json()["faults"].as_array().unwrap().contains(&servers), "{json:?}");
    }
}

#[test]
fn syntax_errors_name_file_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, words) in [
        ("a.toml", "[nats]\nservers = \"x\ny = 1\n", "a.toml:2:13: "),
        ("a.json", "{\n  \"nats\": }", "a.json:2:11: expected a value: text in double quotes"),
        ("a.yaml", "nats:\n  a: 1\n---\nb: 2\n", ": more than one YAML document"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
        let ran = callgate_in(folder.path(), &["check", "--config", name]);
        assert_eq!(ran.code, 2, "{ran:?}");
        has(&ran.stdout, &[&format!("error: {name}:"), words]);
    }
}

#[test]
fn common_spellings_of_values_work_and_mistakes_are_reported_once() {
    let good = "the configuration is valid: 0 errors";
    let callout = "default_account: `AUTH` is the callout account";
    for (section, line, words) in [
        ("session", "jitter = 0", good),
        ("refusal", "silent_max = 0", good),
        ("admin", "listen = \"localhost:8280\"", good),
        ("admin", "listen = \":8280\"", good),
        ("log", "level = \"INFO\"\nformat = \"JSON\"", good),
        ("log", "level = \"off\"", good),
        ("session", "max_lifetime = \"0s\"", "session.max_lifetime: must be at least \"1s\""),
        (
            "",
            "default_account = \"tenant-*\"",
            "default_account: must be the name of one account, not a pattern",
        ),
        ("", "default_account = \"AUTH\"", callout),
        (
            "issuer",
            "insecure_share_callout_account = true",
            "insecure_share_callout_account: users",
        ),
    ] {
        let key = line.split(' ').next().unwrap();
        let folder = configuration(|text| {
            let others = |line: &&str| !line.starts_with(&format!("{key} "));
            let text: String = text.lines().filter(others).map(|l| format!("{l}\n")).collect();
            match section {
                "" => format!("{line}\n{text}"),
                _ if text.contains(&format!("[{section}]")) => {
                    text.replace(&format!("[{section}]"), &format!("[{section}]\n{line}"))
                }
                _ => format!("{text}[{section}]\n{line}\n"),
            }
        });
        let said = callgate_in(folder.path(), &CHECK).text();
        assert_eq!(said.matches(words).count(), 1, "{line}: {said}");
        assert!(said.matches(key).count() <= 1, "{line}: {said}");
    }
}

/// The same fault, however permissions are spelled.
#[test]
fn fault_in_permissions_has_the_path_that_was_written() {
    for (written, path) in [
        ("[roles.r]\npub = { allow = [\"a\", \"a..b\"] }", "roles.r.pub.allow[1]"),
        ("[roles.r]\nsub = { deny = [\"a..b\"] }", "roles.r.sub.deny[0]"),
        ("[roles.r]\npublish = [\"a..b\"]", "roles.r.publish[0]"),
        ("[roles.r]\nsubscribe = \"a..b\"", "roles.r.subscribe"),
        ("[roles.r]\nsubscribe = { allow = [\"a..b\"] }", "roles.r.subscribe.allow[0]"),
        ("[roles.\"r s\"]\npub = [\"a..b\"]", "roles.\"r s\".pub[0]"),
        ("[roles.\"r s\"]\ntags = [\"{{ x }}\"]", "roles.\"r s\".tags[0]"),
        ("[authenticators.ceiling]\npub = [\"a..b\"]", "authenticators[0].ceiling.pub[0]"),
        (
            "[authenticators.ceiling]\nsub = { allow = [\"a..b\"] }",
            "authenticators[0].ceiling.sub.allow[0]",
        ),
        ("[authenticators.ceiling]\npublish = \"a..b\"", "authenticators[0].ceiling.publish"),
        (
            "[authenticators.ceiling]\npub = { deny = [\"a\"] }",
            "authenticators[0].ceiling.pub.deny[0]",
        ),
    ] {
        let folder = configuration(|text| text + "\n" + written + "\n");
        let ran = callgate_in(folder.path(), &CHECK);
        has(&ran.stdout, &[&format!("error: {path}: ")]);
    }
}

#[test]
fn one_slip_in_the_hours_of_a_role_is_one_fault() {
    for (written, path) in [
        ("times = []", "roles.r.times"),
        ("times = 8", "roles.r.times"),
        ("times = [{ start = \"8\", end = \"18:00:00\" }]", "roles.r.times[0].start"),
        ("times = [{ start = \"08:00:00\" }]\ntimezone = \"UTC\"", "roles.r.times[0]"),
        ("times = [{ start = \"08:00:00\", end = \"08:00:00\" }]", "roles.r.times[0]"),
        (
            "times = [{ start = \"08:00:00\", end = \"09:00:00\" }]\ntimezone = \"Berlin\"",
            "roles.r.timezone",
        ),
    ] {
        let folder = configuration(|text| text + "\n[roles.r]\n" + written + "\n");
        let report = callgate_in(folder.path(), &[&CHECK[..], &["--json"]].concat()).json();
        let paths = |list: &str| {
            let all =
                report[list].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap());
            all.filter(|path| path.starts_with("roles")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            (paths("faults"), paths("warnings")),
            (vec![path.to_owned()], vec![]),
            "{written}"
        );
    }
}

#[test]
fn star_names_all_authenticators_in_a_list_too() {
    for (written, fault) in [
        ("\"*\"", None),
        ("[\"*\"]", None),
        ("[\"*\", \"users\"]", Some("unknown authenticator `*`")),
        ("[]", Some("an empty list matches no identity")),
        ("7", Some("must be text")),
    ] {
        let binding =
            format!("\n[[bindings]]\nroles = [\"r\"]\nauthenticator = {written}\n[roles.r]\n");
        let folder = configuration(|text| text + &binding);
        let report = callgate_in(folder.path(), &[&CHECK[..], &["--json"]].concat()).json();
        let faults = report["faults"].as_array().unwrap();
        assert_eq!(faults.len(), usize::from(fault.is_some()), "{written}: {faults:?}");
        assert!(
            fault.is_none_or(|fault| faults[0]["message"].as_str().unwrap().contains(fault)),
            "{faults:?}"
        );
    }
}

#[test]
fn limits_of_single_users_are_explained_wherever_they_are_written() {
    const KEY: &str = "UAZK6ZYFAAW5ZZYYBDQMEIOHA46QLGACDSU37SOOEHFEJRHLGZEUCQIN";
    let tokens = |more: &str| {
        format!(
            "[[authenticators]]\n[authenticators.service_tokens]\n\
             services = [{{ public_key = \"{KEY}\", user = \"u\", roles = [], {more} }}]"
        )
    };
    let services = "authenticators[1].service_tokens.services[0]";
    for (written, path) in [
        ("[roles.r]\nsubs = 5".to_owned(), "roles.r.subs".to_owned()),
        ("[roles.r]\nlimits = { payload = 5 }".to_owned(), "roles.r.limits".to_owned()),
        ("[[bindings]]\nroles = []\ndata = 5".to_owned(), "bindings[0].data".to_owned()),
        (
            "[[bindings]]\nroles = []\nlimits = { data = 5 }".to_owned(),
            "bindings[0].limits".to_owned(),
        ),
        (
            "[authenticators.ceiling]\nsubs = 5".to_owned(),
            "authenticators[0].ceiling.subs".to_owned(),
        ),
        ("[[authenticators]]\npayload = 5".to_owned(), "authenticators[1].payload".to_owned()),
        (tokens("subs = 5"), format!("{services}.subs")),
        (tokens("limits = { subs = 5 }"), format!("{services}.limits")),
    ] {
        let folder = configuration(|text| text + "\n" + &written + "\n");
        let ran = callgate_in(folder.path(), &CHECK);
        has(&ran.stdout, &[&format!("error: {path}: nats-server never enforces")]);
    }
    let folder = configuration(|text| format!("subs = 5\n{text}"));
    let users = r#"{"al": {"pass": "x", "limits": {"subs": 5}}, "bo": {"pass": "x", "data": 5}}"#;
    fs::write(folder.path().join("users.json"), users).unwrap();
    let ran = callgate_in(folder.path(), &CHECK);
    has(&ran.stdout, &["error: subs: nats-server never enforces"]);
    let folder = configuration(|text| text);
    fs::write(folder.path().join("users.json"), users).unwrap();
    let ran = callgate_in(folder.path(), &CHECK);
    has(
        &ran.stdout,
        &["al.limits: nats-server never enforces", "bo.data: nats-server never enforces"],
    );
}

#[test]
fn faults_of_the_users_file_are_reported_with_the_user_and_the_key() {
    let folder = configuration(|text| text);
    let users = r#"{"al":{"pass":"x","acount":"APP"},"bo":{},"cy":{"pass":null},"di":{"pass":""},
        "ed":{"pass":"a","password":"b"},"flo":{"token":"t"},"gil":{"token":"t"},
        "hal":{"pass":"x","payload":5},"ida":{"pass":"x","roles":["missing"]}}"#;
    fs::write(folder.path().join("users.json"), users).unwrap();
    let ran = callgate_in(folder.path(), &CHECK);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "users.json: al.acount: unknown key; did you mean `account`?",
            "users.json: bo: has no credential",
            "users.json: cy.pass: must not be null",
            "users.json: di.pass: must not be empty",
            "users.json: ed.password: `pass` and `password` mean the same",
            "users.json: gil.token: `flo` has the same one",
            "users.json: hal.payload: nats-server never enforces",
            "users.json: ida.roles[0]: there is no role `missing`",
        ],
    );
}

/// What is wrong in one place hides nothing of what is wrong in another.
#[test]
fn faults_of_the_policy_are_reported_with_those_of_every_authenticator() {
    let policy = [
        ("[roles.r]\npublish = [\"a..b\"]\n", "error: roles.r.publish"),
        (
            "[[accounts]]\nname = \"A\"\n[[accounts]]\nname = \"A\"\n",
            "error: accounts[1].name: duplicate account `A`",
        ),
        ("[[bindings]]\nroles = [\"missing\"]\n", "error: bindings[0].roles[0]: unknown role"),
        ("[[bindings]]\nwhen = \"(((\"\naccount = \"A\"\n", "error: bindings[0].when"),
        (
            "[[authenticators]]\nname = \"t\"\n[authenticators.ldp]\n",
            "authenticators[1].ldp: unknown",
        ),
        (
            "[[authenticators]]\nname = \"users\"\n[authenticators.service_tokens]\n",
            "duplicate name `users`",
        ),
    ];
    let more = "[[authenticators]]\nname = \"last\"\naccount = \"A\"\nexpires_after = \"0s\"\n[authenticators.service_tokens]\nservices = []\n";
    for (fault, words) in policy {
        let folder = configuration(|text| text + fault + more);
        fs::write(folder.path().join("users.json"), r#"{"al":{"pas":"x"},"bo":{"pass":""}}"#)
            .unwrap();
        let ran = callgate_in(folder.path(), &CHECK);
        assert_eq!(ran.code, 2, "{ran:?}");
        has(&ran.stdout, &[words, "users.json: al.pas: unknown", "users.json: bo.pass: must not"]);
        let last = 1 + fault.matches("[[authenticators]]").count();
        let last = |key: &str| format!("error: authenticators[{last}].{key}: ");
        has(&ran.stdout, &[&last("expires_after"), &last("service_tokens")]);
        assert_eq!(
            ran.stdout.matches("duplicate").count(),
            usize::from(words.contains("duplicate"))
        );
    }
}

#[test]
fn warnings_alone_are_exit_code_zero() {
    let folder = configuration(|text| text.replace("xkeys = ", "# xkeys = "));
    let ran = callgate_in(folder.path(), &CHECK);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "warning: issuer.xkeys: no xkey",
            "`callgate key curve`",
            "warning: users.json: the permissions of `bob`: ",
            "`responses` is not a boundary",
            "2 warnings",
        ],
    );
    let json = callgate_in(folder.path(), &[&CHECK[..], &["--json"]].concat());
    assert_eq!((json.code, json.json()["ok"].clone()), (0, json!(true)));
    assert_eq!(json.json()["warnings"][0]["path"], "issuer.xkeys");
}

#[test]
fn refusal_delay_beyond_the_server_timeout_is_a_warning() {
    for (delay, warned) in [("1900ms", false), ("2s", true), ("4s", true)] {
        let folder = configuration(|text| format!("{text}\n[refusal]\ndelay = \"{delay}\"\n"));
        let ran = callgate_in(folder.path(), &CHECK);
        assert_eq!(ran.code, 0, "{ran:?}");
        let warning = "warning: refusal.delay: servers wait only 2 s";
        assert_eq!(without_positions(&ran.stdout).contains(warning), warned, "{delay}: {ran:?}");
    }
}

#[test]
fn plaintext_secret_is_a_warning_and_unset_one_an_error() {
    let secret = |password: &str| {
        let line = format!("user = \"auth\"\npassword = {password}");
        configuration(move |text| text.replace("nkey = { file = \"auth.nk\" }", &line))
    };
    let plain = callgate_in(secret("\"canary\"").path(), &CHECK);
    assert_eq!(plain.code, 0, "{plain:?}");
    has(&plain.stdout, &["warning: nats.password"]);
    assert!(!plain.text().contains("canary"));
    let folder = secret("{ env = \"CALLGATE_TEST_SECRET\" }");
    let unset = callgate_in(folder.path(), &CHECK);
    assert_eq!(unset.code, 2, "{unset:?}");
    has(&unset.stdout, &["nats.password", "`CALLGATE_TEST_SECRET` is not set"]);
    let empty = run(command(folder.path(), &CHECK).env("CALLGATE_TEST_SECRET", ""), b"");
    has(&empty.stdout, &["nats.password", "`CALLGATE_TEST_SECRET` is empty"]);
    let set = run(command(folder.path(), &CHECK).env("CALLGATE_TEST_SECRET", "x"), b"");
    assert_eq!(set.code, 0, "{set:?}");
}

#[test]
fn unknown_kind_lists_the_known_ones() {
    let folder = configuration(|text| text.replace("authenticators.users", "authenticators.ldp"));
    let ran = callgate_in(folder.path(), &CHECK);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stdout, &["authenticators[0].ldp", "unknown kind", "this build has: ", "users"]);
}

#[test]
fn configuration_can_be_yaml_or_json_too() {
    let folder = configuration(|text| text);
    let json = json!({
        "nats": { "servers": "nats://127.0.0.1:4222", "nkey": { "file": "auth.nk" } },
        "issuer": { "seed": { "file": "issuer.nk" }, "xkeys": [{ "file": "xkey.xk" }] },
        "authenticators": [{ "users": { "file": "users.json" } }],
    });
    let yaml = "nats: { servers: [\"nats://127.0.0.1:4222\"], nkey: { file: auth.nk } }
issuer:
  seed: { file: issuer.nk }
  xkeys: [{ file: xkey.xk }]
authenticators:
  - users: { file: users.json }
";
    for (name, text) in [("c.json", json.to_string()), ("c.yaml", yaml.to_owned())] {
        fs::write(folder.path().join(name), text).unwrap();
        let ran = callgate_in(folder.path(), &["check", "--config", name]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let other = callgate_in(folder.path(), &["check", "--config", "users.ini"]);
    assert_eq!(other.code, 2, "{other:?}");
    has(&other.stdout, &[".toml", ".yaml", ".json"]);
}

#[test]
fn servers_may_be_separated_by_commas_in_the_file_too() {
    for (servers, code) in [
        ("\"nats://a:1, nats://b:2\"", 0),
        ("[\"nats://a:1,tls://b\", \"nats://c\"]", 0),
        ("\"nats://a:1, nats://b:no-port\"", 2),
    ] {
        let folder = configuration(|text| text.replace("[\"nats://127.0.0.1:4222\"]", servers));
        let ran = callgate_in(folder.path(), &CHECK);
        assert_eq!(ran.code, code, "{servers}: {ran:?}");
    }
}

#[test]
fn flags_alone_are_checked_like_a_file() {
    let folder = configuration(|text| text);
    let flags = [
        "check",
        "--nats-url",
        "nats://127.0.0.1:4222",
        "--nats-user",
        "auth",
        "--nats-password",
        "env:CALLGATE_TEST_SECRET",
        "--issuer-seed",
        "@issuer.nk",
        "--xkey-seed",
        "@xkey.xk",
        "--users",
        "users.json",
    ];
    let ran = run(command(folder.path(), &flags).env("CALLGATE_TEST_SECRET", "x"), b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    let missing = callgate_in(folder.path(), &["check", "--users", "users.json"]);
    assert_eq!(missing.code, 2);
    has(&missing.stdout, &["nats.servers", "--nats-url", "issuer", "--issuer-seed"]);
}

#[test]
fn unlisted_accounts_of_templates_are_named() {
    let folder = configuration(|text| text);
    let users =
        r#"{ "al": { "pass": "x", "account": "AUTH" }, "bo": { "pass": "x", "account": "APP" } }"#;
    fs::write(folder.path().join("users.json"), users).unwrap();
    let ran = callgate_in(folder.path(), &CHECK);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(
        &ran.stdout,
        &["warning: users.json: al.account: `AUTH` is the callout account", "1 warning"],
    );
    let folder = configuration(|text| {
        "default_account = \"\"\n".to_owned()
            + &text.replace("name = \"users\"", "name = \"users\"\naccount = \"\"")
    });
    let ran = callgate_in(folder.path(), &CHECK);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "error: authenticators[0].account: must not be empty",
            "error: default_account: must not be empty",
            "2 errors",
        ],
    );
}

#[test]
fn second_factor_names_a_certificate_authenticator() {
    let second_factor = "[authenticators.second_factor]\ncertificate = \"staff\"\n";
    let folder = configuration(|text| {
        text.replace("[authenticators.users]", &format!("{second_factor}[authenticators.users]"))
    });
    let ran = callgate_in(folder.path(), &CHECK);
    assert_eq!(ran.code, 2, "{ran:?}");
    let key = "authenticators[0].second_factor.certificate";
    let error = format!("{key}: there is no `certificate` authenticator `staff`");
    has(&ran.stdout, &[&error, "1 error,"]);
}
