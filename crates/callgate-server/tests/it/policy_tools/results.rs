//! What `callgate test` prints and writes, and tests that log in.

use std::fs;

use callgate_testkit::{Nkey, RequestBuilder};
use serde_json::{Value, json};

use super::tests::folder;
use crate::support::has;

#[test]
fn every_kind_of_login_is_asked() {
    let folder = folder();
    let key = Nkey::user();
    folder.users(&json!({
        "ann": { "pass": "ann", "permissions": { "pub": ["ann.>"] } },
        "job": { "token": "a-token-of-job", "permissions": { "pub": ["job.>"] } },
        "robot": { "nkey": key.public(), "permissions": { "pub": ["robot.>"] } },
    }));
    let issuer = Nkey::from_seed(fs::read_to_string(folder.path("issuer.nk")).unwrap().trim());
    let text = fs::read_to_string(folder.path("callgate.toml")).unwrap();
    let clear = "[issuer]\ninsecure_allow_plaintext = true\n";
    folder.write("callgate.toml", &text.replace("[issuer]\n", clear));
    // Judged as of when it was made, however old it is.
    let made = 1_764_496_800;
    let request = RequestBuilder::new(&issuer.public(), made).password("ann", "ann").build();
    folder.write("request.jwt", &request.token);
    let tests = format!(
        r#"
[[tests]]
name = "password"
login = {{ user = "ann", password = "ann" }}
may = ["pub:ann.x"]
[[tests]]
name = "token"
login = {{ token = "a-token-of-job" }}
may = ["pub:job.x"]
[[tests]]
name = "nkey"
login = {{ nkey_seed = "{}" }}
may = ["pub:robot.x"]
[[tests]]
name = "request"
login = {{ request = "request.jwt" }}
may = ["pub:ann.x"]
[[tests]]
name = "unknown token"
login = {{ token = "another-token" }}
expect = {{ outcome = "refused" }}
may_not = ["pub:job.x"]
"#,
        key.seed()
    );
    let ran = folder.test(&tests, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "5 passed, 0 failed\n"), "{ran:?}");
    let ran = folder.test(&tests.replace("pub:robot.x", "pub:ann.x"), &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &["nkey: may pub:ann.x: expected allowed, actual no publish allow covers it", "4 passed"],
    );
    assert!(!format!("{ran:?}").contains(&key.seed()), "{ran:?}");
}

#[test]
fn json_has_every_result_and_why() {
    let tests = r#"
[[tests]]
name = "good"
identity = { user = "bob" }
may = ["pub:bob.x"]
[[tests]]
name = "bad"
identity = { user = "bob" }
may = ["pub:alice.x"]
[[tests]]
name = "warns"
identity = { user = "jobs" }
may_not = ["sub:jobs.1"]
[[never]]
may = ["pub:bob.secret"]
except_roles = ["worker"]
"#;
    let ran = folder().test(tests, &["--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let counts = (&report["passed"], &report["failed"], &report["coverage"]);
    assert_eq!(counts, (&json!(2), &json!(2), &Value::Null));
    let all = report["tests"].as_array().unwrap();
    let names: Vec<_> = all.iter().map(|test| (&test["name"], &test["passed"])).collect();
    let expected =
        [("good", true), ("bad", false), ("warns", true), ("never pub:bob.secret", false)]
            .map(|(name, passed)| (json!(name), json!(passed)));
    assert_eq!(names, expected.iter().map(|(name, passed)| (name, passed)).collect::<Vec<_>>());
    assert_eq!(all[0]["failures"], json!([]));
    assert_eq!(
        all[1]["failures"],
        json!([{
            "what": "may pub:alice.x", "expected": "allowed", "actual": "no publish allow covers it",
        }])
    );
    assert!(!all[1]["because"].as_array().unwrap().is_empty(), "{report}");
    assert_eq!((&all[1]["file"], &all[1]["line"]), (&json!("tests.toml"), &json!(6)));
    assert_eq!(all[2]["warnings"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(all[3]["failures"][0]["what"], "entry `staff/bob`: pub:bob.secret");
}

#[test]
fn filter_selects_tests_and_nevers_by_name() {
    let folder = folder();
    let tests = r#"
[[tests]]
name = "bob writes"
identity = { user = "bob" }
may = ["pub:bob.x"]
[[tests]]
name = "wrong"
identity = { user = "bob" }
may = ["pub:alice.x"]
[[never]]
may = ["pub:bob.>"]
except_roles = ["worker"]
"#;
    for (filter, code, last) in [
        ("bob writes", 0, "1 passed, 0 failed\n"),
        ("wro", 1, "0 passed, 1 failed\n"),
        ("never pub:bob", 1, "0 passed, 1 failed\n"),
    ] {
        let ran = folder.test(tests, &["--filter", filter]);
        assert_eq!((ran.code, ran.stdout.ends_with(last)), (code, true), "{filter}: {ran:?}");
    }
}

#[test]
fn junit_has_every_test_and_escapes_text() {
    let tests = r#"
[[tests]]
name = "a <good> \"one\""
identity = { user = "bob" }
may = ["pub:bob.x"]
[[tests]]
name = "bad & ugly"
identity = { user = "bob" }
may = ["pub:alice.>"]
"#;
    let folder = folder();
    let ran = folder.test(tests, &["--junit", "report.xml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let xml = fs::read_to_string(folder.path("report.xml")).unwrap();
    has(
        &xml,
        &[
            "<testsuites name=\"callgate test\" tests=\"2\" failures=\"1\" errors=\"0\">",
            "<testsuite name=\"tests.toml\" tests=\"2\" failures=\"1\"",
            "name=\"a &lt;good&gt; &quot;one&quot;\" file=\"tests.toml\" line=\"2\"",
            "name=\"bad &amp; ugly\"",
            "<failure message=\"may pub:alice.&gt;: expected allowed, actual `alice.",
        ],
    );
    let ran = folder.test(tests, &["--junit", "absent/report.xml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}
