//! `callgate test`

use serde_json::{Value, json};

use super::{Folder, example};
use crate::support::has;

const POLICY: &str = r#"
[roles.device]
publish = ["devices.{{ encode(user) }}.>"]
subscribe = ["commands.{{ encode(user) }}.*"]
[roles.reader]
subscribe = ["reports.>"]
[roles.worker]
subscribe = ["jobs.* workers"]
responses = { max = 1 }
[roles.admin]
publish = ["$JS.API.>"]
[[bindings]]
when = '"devices" in groups'
roles = ["device"]
"#;

pub(super) fn folder() -> Folder {
    let users = json!({
        "dev1": { "pass": "dev1", "roles": [] },
        "bob": { "pass": "bob", "permissions": { "pub": ["bob.>"] } },
        "jobs": { "pass": "jobs", "roles": ["worker"] },
        "old": { "pass": "old", "disabled": true, "roles": ["reader"] },
    });
    Folder::new(&users, POLICY)
}

#[test]
fn example_policy_passes_its_tests_and_is_covered() {
    let ran = example(&["test", "tests.toml", "-c", "callgate.toml", "--min-coverage", "100"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "13 passed, 0 failed\n"), "{ran:?}");
}

#[test]
fn failure_names_expected_and_actual_and_what_decides() {
    let ran = folder().test(
        r#"
[[tests]]
name = "devices"
identity = { user = "dev1", groups = ["devices"] }
expect = { account = "OTHER", roles = ["device", "reader"], ends_within = "5m" }
may = ["pub:devices.dev2.x", "pub:devices.dev1.>"]
may_not = ["pub:devices.*.temp", "sub:>"]
[[tests]]
name = "refused"
identity = { user = "dev1" }
may_not = ["pub:x"]
[[tests]]
name = "good"
identity = { user = "bob" }
may = ["pub:bob.x"]
"#,
        &[],
    );
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "FAIL  tests.toml:2: devices: account: expected OTHER, actual APP\n",
            "devices: roles: expected device, reader, actual device\n",
            "devices: ends_within: expected by ",
            "devices: may pub:devices.dev2.x: expected allowed, actual no publish allow covers it\n",
            "devices: may_not pub:devices.*.temp: expected not allowed, actual `devices.dev1.temp` is \
             allowed: publish allow `devices.dev1.>`\n",
            "        binding         bindings[0] matches\n",
            "        role            device (from bindings[0]) applies\n",
            "FAIL  tests.toml:8: refused: decision: expected admitted, actual no_binding: ",
            "1 passed, 2 failed\n",
        ],
    );
    assert_eq!(ran.stdout.matches("FAIL").count(), 6, "{ran:?}");
}

#[test]
fn identities_bring_what_their_entry_has() {
    let tests = r#"
[[tests]]
name = "own permissions"
identity = { authenticator = "staff", user = "bob" }
may = ["pub:bob.>"]
may_not = ["pub:alice.>", "sub:>"]
[[tests]]
name = "other roles"
identity = { user = "bob", roles = ["reader"] }
expect = { roles = ["reader"] }
may = ["sub:reports.*"]
may_not = ["pub:bob.x"]
[[tests]]
name = "disabled"
identity = { user = "old" }
expect = { reason = "user_disabled" }
[[tests]]
name = "not there yet"
identity = { user = "new", groups = ["devices"], unknown = true }
expect = { outcome = "admitted" }
[[tests]]
name = "login"
login = { user = "bob", password = "bob" }
may = ["pub:bob.x"]
[[tests]]
name = "wrong password"
login = { user = "bob", password = "wrong" }
expect = { outcome = "refused", reason = "bad_password" }
"#;
    let ran = folder().test(tests, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "6 passed, 0 failed\n"), "{ran:?}");
    // A user that the file does not have is a mistake of the test, whatever it expects.
    for expect in ["outcome = \"admitted\"", "reason = \"unknown_user\""] {
        let ran = folder().test(
            &format!(
                "[[tests]]\nname = \"x\"\nidentity = {{ user = \"bobb\" }}\nexpect = {{ {expect} }}\n"
            ),
            &[],
        );
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        has(
            &ran.stderr,
            &[
                "error: tests.toml:3:14: test `x`: `staff` does not know the user `bobb`",
                "`unknown = true`",
            ],
        );
    }
}

#[test]
fn may_not_wildcard_fails_if_responses_reach_one_subject() {
    let tests = r#"
[[tests]]
name = "worker"
identity = { user = "jobs" }
may = ["sub:jobs.* workers"]
may_not = ["pub:$SYS.>", "sub:jobs.1"]
"#;
    let ran = folder().test(tests, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &["may_not pub:$SYS.>: expected not allowed, actual reachable as a reply: `responses`"],
    );
    assert!(!ran.stdout.contains("may_not sub:jobs.1"), "{ran:?}");
    has(
        &ran.stderr,
        &[
            "warning: tests.toml:2: worker: may_not sub:jobs.1: `jobs.1` can be received in a queue group",
        ],
    );
}

#[test]
fn never_holds_for_every_role_and_entry() {
    let never = |may: &str, except: &str| {
        format!("[[never]]\nmay = [\"{may}\"]\nexcept_roles = [{except}]\n")
    };
    let folder = folder();
    let ran = folder.test(&never("pub:$JS.API.STREAM.UPDATE.*", ""), &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "role `admin`: pub:$JS.API.STREAM.UPDATE.*: expected not allowed, actual `$JS.API.STREAM.UPDATE.",
            "role `worker`: pub:$JS.API.STREAM.UPDATE.*: expected not allowed, actual reachable as a reply",
            "0 passed, 1 failed",
        ],
    );
    let ran = folder.test(&never("pub:$JS.API.STREAM.UPDATE.*", "\"admin\", \"worker\""), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    // A template stands for any safe value.
    let ran = folder.test(&never("pub:devices.victim.x", "\"worker\""), &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(&ran.stdout, &["(with {{ encode(user) }} = `victim`)"]);
    let ran = folder.test(&never("pub:other.>", "\"worker\""), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    // An entry without permissions and roles is unrestricted.
    folder.users(&json!({ "open": { "pass": "open" } }));
    let ran = folder.test(&never("sub:secret.>", ""), &[]);
    has(
        &ran.stdout,
        &["entry `staff/open`: sub:secret.>: expected not allowed", "account is open"],
    );
    folder.users(&json!({ "bob": { "pass": "bob", "permissions": { "pub": ["bob.>"] } } }));
    // What an entry may do by itself.
    let ran = folder.test(&never("pub:bob.secret", "\"worker\""), &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(&ran.stdout, &["entry `staff/bob`: pub:bob.secret"]);
}

#[test]
fn test_file_without_tests_fails() {
    let folder = folder();
    for text in ["", "# nothing\n", "tests = []\n", "tests = []\nnever = []\n"] {
        let ran = folder.test(text, &[]);
        assert_eq!(ran.code, 2, "{text:?}: {ran:?}");
        has(&ran.stderr, &["tests.toml", "has no test"]);
    }
    let one = "[[tests]]\nname = \"one\"\nidentity = { user = \"bob\" }\nmay = [\"pub:bob.x\"]\n";
    assert_eq!(folder.test(one, &[]).code, 0);
    let ran = folder.test(one, &["--filter", "two"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    // One file with tests does not excuse another.
    folder.write("empty.toml", "");
    folder.write("tests.toml", one);
    let ran = folder.run(&["test", "tests.toml", "empty.toml", "--config", "callgate.toml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn mistakes_in_a_test_file_have_positions() {
    let folder = folder();
    let table = [
        (
            "[[tests]]\nnam = \"x\"\n",
            "tests.toml:2:1: tests[0].nam: unknown key; did you mean `name`?",
        ),
        (
            "[[tests]]\nname = \"x\"\nidentity = { user = \"bob\", roles = [\"reeder\"] }\nexpect = {}\n",
            "tests.toml:3:37: tests[0].identity.roles[0]: unknown role `reeder`; did you mean `reader`?",
        ),
        (
            "[[tests]]\nname = \"x\"\nidentity = { authenticator = \"stuff\", user = \"bob\" }\nexpect = {}\n",
            "tests[0].identity.authenticator: unknown authenticator `stuff`; did you mean `staff`?",
        ),
        (
            "[[tests]]\nname = \"x\"\nidentity = { user = \"bob\" }\nexpect = { reason = \"no_bindings\" }\n",
            "unknown reason `no_bindings`; did you mean `no_binding`?",
        ),
        (
            "[[tests]]\nname = \"x\"\nidentity = { user = \"bob\" }\nmay = [\"publish:x\"]\n",
            "begin with `pub:` or `sub:`",
        ),
        ("[[tests]]\nname = \"x\"\nidentity = { user = \"bob\" }\n", "tests[0]: checks nothing"),
        (
            "[[tests]]\nname = \"x\"\nidentity = { user = \"bob\" }\nmay = []\nmay_not = []\n",
            "tests.toml:1:1: tests[0]: checks nothing",
        ),
        (
            "[[tests]]\nname = \"x\"\nidentity = { user = \"bob\" }\nmay = [\"pub:a b\"]\n",
            "tests.toml:4:8: tests[0].may[0]: `a b` contains white space",
        ),
        (
            "[[tests]]\nname = \"x\"\nlogin = { request = \"absent.jwt\" }\nexpect = {}\n",
            "tests.toml:3:11: tests[0].login.request: cannot read `./absent.jwt`",
        ),
        (
            "[[tests]]\nname = \"x\"\nmay = [\"pub:x\"]\n",
            "tests[0]: `identity` or `login` is missing",
        ),
        (
            "[[never]]\nmay = [\"pub:x\"]\nexcept_roles = [\"amin\"]\n",
            "unknown role `amin`; did you mean `admin`?",
        ),
        ("[[tests]\n", "tests.toml:1"),
    ];
    for (text, expected) in table {
        let ran = folder.test(text, &[]);
        assert_eq!(ran.code, 2, "{text}: {ran:?}");
        has(&ran.stderr, &[expected]);
        let ran = folder.test(text, &["--json"]);
        assert_eq!(ran.code, 2, "{text}: {ran:?}");
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["ok"], false, "{report}");
    }
    let twice = "[[tests]]\nname = \"x\"\nidentity = { user = \"bob\" }\nmay = [\"pub:bob.x\"]\n";
    let ran = folder.test(&twice.repeat(2), &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stderr, &["error: tests.toml:5:1: duplicate test name `x`, also in tests.toml"]);
}

#[test]
fn every_format_is_read() {
    let folder = folder();
    folder.write(
        "tests.yaml",
        "tests:\n- name: yaml\n  identity: { user: bob }\n  may: [\"pub:bob.x\"]\n",
    );
    let test = json!({ "name": "json", "identity": { "user": "bob" }, "may_not": "pub:alice" });
    folder.write("tests.json", &json!({ "tests": [test] }).to_string());
    let ran =
        folder.run(&["test", "tests.yaml", "tests.json", "--config", "callgate.toml", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["passed"], &report["failed"]), (&json!(2), &json!(0)), "{report}");
    assert_eq!(report["tests"][0]["name"], "yaml");
    assert_eq!(report["tests"][0]["line"], 2);
}

#[test]
fn coverage_names_what_no_test_reaches() {
    let tests = "[[tests]]\nname = \"one\"\nidentity = { user = \"jobs\" }\nexpect = {}\n";
    let folder = folder();
    let ran = folder.test(tests, &["--coverage"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "coverage 30 % (3 of 10)\n",
            "  not reached: bindings[0]\n",
            "  not reached: bindings[0].when is never true\n",
            "  not reached: role `reader`\n",
            "  not reached: entry `staff/bob`\n",
            "1 passed, 0 failed\n",
        ],
    );
    assert!(!ran.stdout.contains("never false") && !ran.stdout.contains("staff/jobs"), "{ran:?}");
    assert_eq!(folder.test(tests, &["--min-coverage", "30"]).code, 0);
    let ran = folder.test(tests, &["--min-coverage", "31"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(&ran.stderr, &["coverage is 30 %, less than 31 %"]);
    let ran = folder.test(tests, &["--coverage", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["coverage"]["percent"], 30, "{report}");
    assert_eq!(report["coverage"]["missing"]["roles"], json!(["admin", "device", "reader"]));
}

#[test]
fn missing_time_is_a_warning_if_the_policy_has_hours() {
    let policy =
        "[roles.day]\npublish = [\"a\"]\ntimes = [{ start = \"08:00:00\", end = \"18:00:00\" }]\n";
    let folder = Folder::new(&json!({ "bob": { "pass": "x", "roles": ["day"] } }), policy);
    let test = |now: &str, expect: &str| {
        format!(
            "[[tests]]\nname = \"x\"\nidentity = {{ user = \"bob\" }}\n{now}\nexpect = {{ {expect} }}\n"
        )
    };
    let day = test("now = 2026-11-30T12:00:00Z", "outcome = \"admitted\"");
    let night = test("now = \"2026-11-30T22:00:00Z\"", "reason = \"outside_hours\"");
    for text in [&day, &night] {
        let ran = folder.test(text, &[]);
        assert_eq!((ran.code, ran.stderr.contains("`now` is missing")), (0, false), "{ran:?}");
    }
    let ran = folder.test(&test("", "outcome = \"admitted\""), &[]);
    has(
        &ran.stderr,
        &["warning: tests.toml:1:1: tests[0]: `now` is missing, and the policy has hours"],
    );
}
