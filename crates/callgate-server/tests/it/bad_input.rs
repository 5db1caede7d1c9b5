//! Mistakes of operators, each with the words that say what to do.

use std::{fs, path::Path};

use callgate_testkit::{CurveKey, Nkey, eventually, wait::PATIENCE};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Credential, Pair, callgate_in, expect_no_admission, has, without_positions, write_private,
};

/// A good configuration in a folder, to be spoilt.
fn good() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let init = callgate_in(folder.path(), &["init", "--demo", "."]);
    assert_eq!(init.code, 0, "{init:?}");
    folder
}

fn edit(folder: &Path, change: impl Fn(&str) -> String) {
    let path = folder.join("callgate.toml");
    fs::write(&path, change(&fs::read_to_string(&path).unwrap())).unwrap();
}

/// `check` and `serve` both refuse with exit code 2 and these words.
#[track_caller]
fn refused(folder: &TempDir, words: &[&str]) {
    for command in ["check", "serve"] {
        let ran = callgate_in(folder.path(), &[command, "--config", "callgate.toml"]);
        assert_eq!(ran.code, 2, "{command}: {ran:?}");
        has(&ran.text(), words);
    }
}

type Case = (&'static str, fn(&Path), &'static [&'static str]);

fn seed_line(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("seed")).map(|line| format!("{line}\n")).collect()
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::remove_file(folder.join(name)).unwrap();
    write_private(&folder.join(name), text);
}

const KEYS: [Case; 8] = [
    (
        "no issuer key",
        |folder| edit(folder, seed_line),
        &[
            "issuer.seed",
            "is missing",
            "SA…",
            "auth_callout.issuer",
            "`callgate key account` makes one",
        ],
    ),
    (
        "a user seed where an account seed belongs",
        |folder| write(folder, "issuer.nk", &Nkey::user().seed()),
        &["issuer.seed", "this is a user seed (SU…)", "an account seed (SA…) is needed"],
    ),
    (
        "a curve seed where an account seed belongs",
        |folder| write(folder, "issuer.nk", &CurveKey::generate().seed()),
        &["issuer.seed", "this is a curve seed (SX…)", "an account seed (SA…) is needed"],
    ),
    (
        "a public key where a seed belongs",
        |folder| write(folder, "issuer.nk", &Nkey::account().public()),
        &["issuer.seed", "account public key (A…)", "a seed (S…) is needed"],
    ),
    (
        "an account seed where an xkey belongs",
        |folder| write(folder, "xkey.xk", &Nkey::account().seed()),
        &["issuer.xkeys[0]", "this is an account seed (SA…)", "a curve seed (SX…) is needed"],
    ),
    (
        "an account seed where the login's belongs",
        |folder| write(folder, "auth.nk", &Nkey::account().seed()),
        &["nats.nkey: this is an account seed (SA…)", "a user seed (SU…)"],
    ),
    (
        "no key file",
        |folder| fs::remove_file(folder.join("issuer.nk")).unwrap(),
        &["issuer.seed", "cannot read", "issuer.nk", "No such file"],
    ),
    (
        "an empty key file",
        |folder| write(folder, "issuer.nk", "\n"),
        &["issuer.seed", "issuer.nk` is empty, but a secret is needed"],
    ),
];

#[test]
fn wrong_key_is_named_with_the_required_one() {
    for (what, spoil, words) in KEYS {
        let folder = good();
        spoil(folder.path());
        let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
        assert_eq!(ran.code, 2, "{what}: {ran:?}");
        refused(&folder, words);
    }
}

const USERS: [Case; 7] = [
    (
        "missing",
        |folder| fs::remove_file(folder.join("users.json")).unwrap(),
        &["authenticators[0].users.file", "cannot read", "users.json", "No such file"],
    ),
    (
        "empty",
        |folder| write(folder, "users.json", ""),
        &["error: users.json: the file is empty", "`{}`"],
    ),
    (
        "truncated",
        |folder| write(folder, "users.json", "{\"alice\": {\"pass\": \"al"),
        &["users.json:1:22: unclosed quote"],
    ),
    (
        "a duplicate user",
        |folder| {
            write(folder, "users.json", "{\"al\": {\"pass\": \"x\"}, \"al\": {\"pass\": \"y\"}}")
        },
        &["users.json:1:", "duplicate key `al`"],
    ),
    (
        "a cut hash",
        |folder| {
            write(folder, "users.json", "{\"al\": {\"pass\": \"$argon2id$v=19$m=19456,t=2\"}}")
        },
        &["users.json: al.pass", "not a complete argon2id hash", "`password_plain`"],
    ),
    (
        "a hash of an unknown kind",
        |folder| write(folder, "users.json", "{\"al\": {\"pass\": \"{SSHA}c2FsdA==\"}}"),
        &["users.json: al.pass", "argon2id, scrypt, bcrypt", "`password_plain`"],
    ),
    (
        "a hash that would stop the machine",
        |folder| {
            let hash =
                "$argon2id$v=19$m=4194304,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg";
            write(folder, "users.json", &json!({ "al": { "pass": hash } }).to_string());
        },
        &["users.json: al.pass", "argon2 m must be at most", "1 GiB"],
    ),
];

#[test]
fn unusable_users_file_is_named_with_the_reason() {
    for (what, spoil, words) in USERS {
        let folder = good();
        spoil(folder.path());
        let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
        assert_eq!(ran.code, 2, "{what}: {ran:?}");
        refused(&folder, words);
    }
}

#[test]
fn seed_writable_by_others_is_a_fault_and_readable_a_warning() {
    let folder = good();
    set_mode(&folder.path().join("issuer.nk"), "0644");
    let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stdout, &["warning: issuer.seed", "is readable by others", "chmod 600"]);
    set_mode(&folder.path().join("issuer.nk"), "0666");
    refused(&folder, &["issuer.seed", "is writable by others", "chmod 600"]);
}

#[test]
fn credentials_file_is_as_private_as_the_seed_in_it() {
    let folder = good();
    let path = folder.path().join("nats.creds");
    let seed = Nkey::user().seed();
    let text = format!(
        "-----BEGIN NATS USER JWT-----\nx.y.z\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    write_private(&path, &text);
    edit(folder.path(), |text| {
        text.replace("nkey = { file = \"auth.nk\" }", "creds = \"nats.creds\"")
    });
    let check = ["check", "--config", "callgate.toml"];
    let flag = [&check[..], &["--nats-creds", "nats.creds"]].concat();
    for arguments in [&check[..], &flag] {
        let with_mode = |mode| {
            set_mode(&path, mode);
            callgate_in(folder.path(), arguments)
        };
        for open in ["0666", "0622", "0660"] {
            let ran = with_mode(open);
            assert_eq!(ran.code, 2, "{open}: {ran:?}");
            has(&ran.stdout, &["error: nats.creds: ", "is writable by others", "chmod 600"]);
        }
        let ran = with_mode("0644");
        has(&ran.stdout, &["warning: nats.creds: ", "is readable by others", "chmod 600"]);
        assert!(!ran.text().contains("may be written"), "{ran:?}");
        assert!(!with_mode("0600").stdout.contains("others may"), "{ran:?}");
    }
    write_private(&path, &Nkey::account().seed());
    refused(&folder, &["nats.creds: this is an account seed (SA…)", "a user seed (SU…)"]);
}

#[test]
fn seed_in_a_configuration_writable_by_others_is_an_error() {
    let folder = good();
    let path = folder.path().join("callgate.toml");
    let text = fs::read_to_string(&path).unwrap();
    let curve = CurveKey::generate().seed();
    let (user, account) = (Nkey::user().seed(), Nkey::account().seed());
    let plain = |seed: &str| format!("\"{seed}\"");
    let cases = [
        ("{ file = \"issuer.nk\" }", plain(&account), "issuer.seed"),
        ("[{ file = \"xkey.xk\" }]", plain(&curve), "issuer.xkeys"),
        (
            "[{ file = \"xkey.xk\" }]",
            format!("[{{ file = \"xkey.xk\" }}, {}]", plain(&curve)),
            "issuer.xkeys[1]",
        ),
        ("{ file = \"auth.nk\" }", plain(&user), "nats.nkey"),
    ];
    for (before, seed, key) in cases {
        assert!(text.contains(before), "{text}");
        fs::write(&path, text.replace(before, &seed)).unwrap();
        for (mode, code, words) in [
            ("0666", 2, "callgate.toml` contains a seed and is writable by others"),
            ("0620", 2, "callgate.toml` contains a seed and is writable by others"),
            ("0600", 0, "plaintext secret in the configuration"),
        ] {
            set_mode(&path, mode);
            let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
            assert_eq!(ran.code, code, "{key} {mode}: {ran:?}");
            let plain = without_positions(&ran.stdout);
            let line = plain.lines().find(|line| line.contains(words));
            assert!(line.is_some_and(|line| line.contains(&format!(" {key}: "))), "{ran:?}");
        }
    }
    // Without a seed in it, it is warned about as ever.
    fs::write(&path, &text).unwrap();
    set_mode(&path, "0666");
    let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stdout, &["warning: ", "callgate.toml` is writable by others: run `chmod go-w"]);
}

#[test]
fn login_or_address_that_can_never_work_is_an_error() {
    let seed = Nkey::user().seed();
    let seed = format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n");
    let nkey = "nkey = { file = \"auth.nk\" }";
    for (before, after, words) in [
        (nkey, "creds = \"nats.creds\"", "nats.creds: "),
        (nkey, "creds = \"users.json\"", "nats.creds: "),
        (nkey, "creds = \"auth.nk\"", "nats.creds: "),
        (nkey, "user = \"\"\npassword = \"x\"", "nats.user: must not be empty"),
        ("\"nats://127.0.0.1:4222\"", "\"\"", "nats.servers: is not a server address"),
        ("\"nats://127.0.0.1:4222\"", "\"nats://\"", "nats.servers: is not a server address"),
        ("\"nats://127.0.0.1:4222\"", "\"nats://:4222\"", "nats.servers: is not a server address"),
        (
            "\"nats://127.0.0.1:4222\"",
            "\"nats://127.0.0.1:0\"",
            "nats.servers: is not a server address",
        ),
    ] {
        let folder = good();
        write_private(&folder.path().join("nats.creds"), &seed);
        edit(folder.path(), |text| {
            assert!(text.contains(before), "{text}");
            text.replace(before, after)
        });
        refused(&folder, &[words]);
    }
}

#[test]
fn file_that_is_no_configuration_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.yaml", ""), ("b.yaml", "null\n"), ("c.json", "[]"), ("d.yml", "# x")] {
        fs::write(folder.path().join(name), text).unwrap();
        for command in ["check", "serve"] {
            let ran = callgate_in(folder.path(), &[command, "--config", name]);
            assert_eq!(ran.code, 2, "{ran:?}");
            has(&ran.text(), &[&format!("{name}: has no sections"), "`callgate init DIR`"]);
        }
    }
    let missing = callgate_in(folder.path(), &["check", "--config", "nowhere.toml"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    has(&missing.stdout, &["cannot read `nowhere.toml`", "--config", "`callgate init DIR`"]);
}

const LYING_OPEN: &str = r#"
[nats]
servers = "nats://127.0.0.1:4222"
user = "auth"
password = { env = "PASSWORD" }
tls = { cert = "cert.pem", key = "key.pem" }
[issuer]
seed = { file = "issuer.nk" }
[[authenticators]]
[authenticators.users]
file = "users.json"
"#;

#[test]
fn exposed_configuration_and_files_cause_warnings() {
    let folder = good();
    let path = |name: &str| folder.path().join(name);
    for name in ["cert.pem", "key.pem"] {
        write_private(&path(name), "x");
        set_mode(&path(name), "0666");
    }
    fs::write(path("callgate.toml"), LYING_OPEN).unwrap();
    set_mode(&path("callgate.toml"), "0666");
    set_mode(&path("users.json"), "0644");
    let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
    for (key, words) in [
        ("", "callgate.toml` is writable by others"),
        ("nats.tls.key: ", "key.pem` is writable by others"),
        ("nats.tls.key: ", "key.pem` contains a secret and is readable by others"),
        ("users.json: ", "users.json` contains a secret and is readable by others"),
    ] {
        let plain = without_positions(&ran.stdout);
        let line = plain.lines().find(|line| line.contains(words) && line.contains(key));
        assert!(line.is_some_and(|line| line.starts_with("warning: ")), "{words}: {ran:?}");
    }
}

#[test]
fn file_that_others_can_replace_is_an_error() {
    for (mode, words) in [
        ("0755", None),
        ("0775", Some("error: ")),
        ("0777", Some("error: ")),
        ("1777", Some("warning: ")),
    ] {
        let folder = good();
        fs::create_dir(folder.path().join("keys")).unwrap();
        fs::rename(folder.path().join("issuer.nk"), folder.path().join("keys/issuer.nk")).unwrap();
        let config = folder.path().join("callgate.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("issuer.nk", "keys/issuer.nk")).unwrap();
        set_mode(&folder.path().join("keys"), mode);
        let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
        let plain = without_positions(&ran.text());
        let found = plain.lines().find(|line| line.contains("issuer.seed: `./keys/issuer.nk`"));
        assert_eq!(found.is_some(), words.is_some(), "{mode}: {plain}");
        assert!(words.is_none_or(|words| found.unwrap().starts_with(words)), "{mode}: {plain}");
        assert_eq!(ran.code, if words == Some("error: ") { 2 } else { 0 }, "{mode}");
    }
    // The same for the configuration itself.
    let folder = good();
    set_mode(folder.path(), "0777");
    let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
    has(&ran.text(), &["`callgate.toml` can be replaced by others", "chmod go-w"]);
    assert_eq!(ran.code, 2);
}

fn set_mode(path: &Path, mode: &str) {
    use std::os::unix::fs::PermissionsExt;
    let mode = u32::from_str_radix(mode, 8).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn alice() -> Credential {
    Credential::password("alice", "alice")
}

fn users() -> Value {
    json!({ "alice": { "pass": "alice", "account": "APP" } })
}

/// The client waits for an answer that never comes; the log says what the server needs.
async fn drop_with(pair: Pair, reason: &str, words: &[&str]) {
    let mark = pair.gate.mark();
    expect_no_admission(&pair.server.url(), "alice", "alice").await;
    let told = pair.gate.record(mark, &["dropped a request"]).await;
    assert_eq!((&told["outcome"], &told["reason"]), (&json!("dropped"), &json!(reason)), "{told}");
    has(told["detail"].as_str().unwrap(), words);
    let sample = format!("callgate_dropped_total{{reason=\"{reason}\"}}");
    assert!(pair.gate.metric(&sample).await >= 1.0);
}

#[tokio::test]
async fn wrong_issuer_names_the_key_that_the_server_needs() {
    let stranger = Nkey::account().public();
    let pair = Pair::builder(users()).server_issuer(&stranger).start().await;
    let needed = format!("`issuer: {}`", pair.issuer.public());
    drop_with(pair, "wrong_audience_request", &[&stranger, &needed, "issuer.seed"]).await;
}

#[tokio::test]
async fn wrong_xkey_names_the_key_that_the_server_needs() {
    let stranger = CurveKey::generate().public();
    let pair = Pair::builder(users()).server_xkey(&stranger).start().await;
    let needed = format!("`xkey: {}`", pair.xkey.public());
    drop_with(pair, "cannot_decrypt", &["auth_callout", &needed]).await;
}

#[tokio::test]
async fn encrypted_request_without_an_xkey_names_the_remedy() {
    let pair = Pair::of(users()).await;
    pair.rewrite_config(|text| text.replace("xkeys = [{ file = \"xkey.xk\" }]", ""));
    pair.gate.metric_reaches("callgate_config_reloads_total{result=\"ok\"}", 1.0).await;
    drop_with(pair, "cannot_decrypt", &["no xkey is configured", "issuer.xkeys"]).await;
}

#[tokio::test]
async fn plaintext_request_despite_an_xkey_names_the_remedy() {
    let pair = Pair::builder(users()).without_xkey().start().await;
    let more = "[issuer]\nxkeys = [{ file = \"xkey.xk\" }]";
    pair.rewrite_config(|text| text.replace("[issuer]", more));
    pair.gate.metric_reaches("callgate_config_reloads_total{result=\"ok\"}", 1.0).await;
    let words = [
        "unencrypted requests although an xkey is configured",
        "`xkey: ",
        "insecure_allow_plaintext",
    ];
    drop_with(pair, "not_encrypted", &words).await;
}

#[tokio::test]
async fn requests_in_clear_are_answered_during_a_change_over() {
    let pair = Pair::builder(users()).without_xkey().start().await;
    let more = "[issuer]\ninsecure_allow_plaintext = true\nxkeys = [{ file = \"xkey.xk\" }]";
    pair.rewrite_config(|text| text.replace("[issuer]", more));
    pair.gate.metric_reaches("callgate_config_reloads_total{result=\"ok\"}", 1.0).await;
    pair.admits(&alice()).await;
}

#[tokio::test]
async fn login_that_nats_refuses_is_reported() {
    let mut pair = Pair::of(users()).await;
    let stranger = Nkey::user();
    write(pair.folder.path(), "auth.nk", &stranger.seed());
    let mut gate = crate::support::serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
    let told = gate.record(0, &["cannot connect to NATS"]).await.to_string();
    has(&told.to_lowercase(), &["authorization violation"]);
    has(&told, &["auth_callout.auth_users", &format!("the nkey {}", stranger.public())]);
    // Once, and from nowhere else, however often it is tried.
    let refused = || pair.server.log().matches("authentication error").count();
    eventually("five attempts", PATIENCE, async || (refused() > 5).then_some(())).await;
    let log = gate.log().to_lowercase();
    assert_eq!(log.lines().filter(|line| line.contains("violation")).count(), 1, "{log}");
    assert_eq!(gate.get("/readyz").await.0, 503);
    pair.gate.terminate().await;
    gate.terminate().await;
}
