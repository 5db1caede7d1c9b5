//! `callgate key` and `callgate hash-password`

use std::{fs, os::unix::fs::PermissionsExt};

use callgate_testkit::{CurveKey, NatsServer, Nkey};
use serde_json::json;

use crate::support::{Credential, Pair, callgate, callgate_in, command, connect, has, run};

const TYPES: [(&str, char, &str); 5] = [
    ("account", 'A', "SA"),
    ("user", 'U', "SU"),
    ("curve", 'X', "SX"),
    ("server", 'N', "SN"),
    ("operator", 'O', "SO"),
];

/// The public key of a seed, computed by another implementation.
fn public_of(seed: &str) -> String {
    match seed.starts_with("SX") {
        true => CurveKey::from_seed(seed).public(),
        false => Nkey::from_seed(seed).public(),
    }
}

#[test]
fn each_key_type_is_printed_with_its_seed() {
    for (kind, public, seed) in TYPES {
        let ran = callgate(&["key", kind]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let lines: Vec<_> = ran.stdout.lines().collect();
        assert!(lines[0].starts_with(public) && lines[1].starts_with(seed), "{lines:?}");
        assert_eq!(public_of(lines[1]), lines[0]);
        let json = callgate(&["key", kind, "--json"]).json();
        assert_eq!(public_of(json["seed"].as_str().unwrap()), json["public_key"]);
    }
}

#[test]
fn seed_file_is_private_and_seed_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, ..) in TYPES {
        let name = format!("{kind}.nk");
        let ran = callgate_in(folder.path(), &["key", kind, "--out", &name]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let path = folder.path().join(&name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let seed = fs::read_to_string(&path).unwrap();
        assert_eq!(ran.stdout.trim(), public_of(seed.trim()));
        let again = callgate_in(folder.path(), &["key", kind, "--out", &name]);
        assert_eq!(again.code, 2, "{again:?}");
        has(&again.stderr, &[&name, "already exists", "nothing was written"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), seed);
    }
}

#[tokio::test]
async fn hashed_password_logs_in() {
    let folder = tempfile::tempdir().unwrap();
    // Only a byte-order mark and the line end are not part of the password.
    let input = "\u{feff} pass wörd \n".as_bytes();
    let ran = run(&mut command(folder.path(), &["hash-password"]), input);
    assert_eq!(ran.code, 0, "{ran:?}");
    let hash = ran.stdout.trim();
    assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
    let pair = Pair::of(json!({ "u": { "password": hash, "account": "APP" } })).await;
    pair.admits(&Credential::password("u", " pass wörd ")).await;
    assert_eq!(pair.refuses(&Credential::password("u", "pass wörd")).await, "bad_password");
}

/// On the oldest and the newest supported server.
#[tokio::test]
async fn bcrypt_hash_logs_in_to_nats_server() {
    let hash = |input: &[u8]| {
        run(&mut command(".".as_ref(), &["hash-password", "--bcrypt", "--json"]), input)
    };
    // The longest password that bcrypt supports.
    let password = format!(" {}ö", "x".repeat(69));
    let ran = hash(format!("{password}\n").as_bytes());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let hashed = ran.json()["hash"].as_str().unwrap().to_owned();
    for version in ["2.10", "2.15"] {
        let config =
            format!("authorization {{ users: [{{ user: sys, password: \"{hashed}\" }}] }}");
        let server = NatsServer::builder().version(version).config(&config).start().await;
        let login = |password: String| {
            let url = server.url();
            async move { connect(&url, "sys", &password).await }
        };
        assert!(login(password.clone()).await.is_ok(), "{version}");
        assert!(login(format!("{}x", &password[..70])).await.is_err(), "{version}");
    }
    for (input, error) in [(format!("{password}x"), "73 bytes"), ("a\0b".to_owned(), "NUL byte")] {
        let ran = hash(input.as_bytes());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        has(&ran.stderr, &[error]);
    }
}

#[test]
fn empty_password_is_not_hashed() {
    for input in [&b""[..], b"\n"] {
        let ran = run(&mut command(".".as_ref(), &["hash-password"]), input);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        has(&ran.stderr, &["the password is empty"]);
    }
}

#[test]
fn overlong_password_is_not_hashed() {
    let hashed = |input: &[u8]| run(&mut command(".".as_ref(), &["hash-password"]), input);
    for (length, end) in [(1025, ""), (1025, "\r\n"), (5000, "\n"), (70_000, "")] {
        let ran = hashed(format!("{}{end}", "x".repeat(length)).as_bytes());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{length} {end:?}");
        has(&ran.stderr, &["more than 1024 bytes"]);
    }
    let longest = hashed(format!("{}\r\n", "x".repeat(1024)).as_bytes());
    assert_eq!(longest.code, 0, "{longest:?}");
    let binary = hashed(b"\xff\xfe");
    assert_eq!(binary.code, 2, "{binary:?}");
    has(&binary.stderr, &["not UTF-8"]);
}

#[test]
fn token_lifetime_above_default_limit_is_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["key", "user", "--out", "u.nk"]).code, 0);
    let token = |more: &[&str]| {
        let arguments = ["token", "--seed", "@u.nk", "--user", "svc"];
        callgate_in(folder.path(), &[&arguments[..], more].concat())
    };
    for (ttl, warned) in [("1h", false), ("2h", true)] {
        let ran = token(&["--ttl", ttl]);
        assert_eq!((ran.code, ran.stderr.contains("max_token_lifetime")), (0, warned), "{ran:?}");
        assert_eq!(ran.stdout.trim().matches('.').count(), 2, "{ran:?}");
    }
    let json = token(&["--json", "--ttl", "15m"]).json();
    let shown = callgate(&["decode", "--json", json["token"].as_str().unwrap()]).json();
    assert_eq!(json["expires_at"], shown["claims"]["exp"]);
    let empty = token(&["--audience", ""]);
    assert_eq!((empty.code, empty.stdout.as_str()), (2, ""), "{empty:?}");
    has(&empty.stderr, &["the audience is empty"]);
}

#[test]
fn init_prints_files_and_passwords_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let modes = [("plain", &[][..]), ("demo", &["--demo"]), ("operator", &["--operator"])];
    for (name, arguments) in modes {
        let ran = callgate_in(folder.path(), &[&["init", name, "--json"], arguments].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let json = ran.json();
        let files = json["files"].as_array().unwrap();
        let there = |file: &serde_json::Value| folder.path().join(file.as_str().unwrap()).is_file();
        assert!(files.len() > 5 && files.iter().all(there), "{json}");
        let passwords = json["passwords"].as_object().unwrap();
        let kept = fs::read_to_string(folder.path().join(name).join("passwords.txt")).unwrap();
        assert_eq!(passwords.len(), kept.lines().count(), "{json}");
        assert!(passwords.contains_key(if name == "operator" { "alice" } else { "break-glass" }));
        for (user, password) in passwords {
            has(&kept, &[&format!("{user}  {}\n", password.as_str().unwrap())]);
        }
    }
}
