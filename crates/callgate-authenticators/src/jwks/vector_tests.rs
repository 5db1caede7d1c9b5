//! Project Wycheproof's JSON Web Signature and Key vectors. They are not part of this project:
//! `CALLGATE_VECTORS` names their folder, and `make test` enables the cargo feature `vectors` if it is
//! set, so that otherwise these tests are left out rather than passed.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::KeySet;
use crate::jws::{Algorithm, Compact};

fn vectors(file: &str) -> Value {
    let folder = std::env::var_os("CALLGATE_VECTORS").expect("CALLGATE_VECTORS is not set");
    let path = PathBuf::from(folder).join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn accepts(set: &Value, token: &str) -> bool {
    let Ok(keys) = KeySet::parse(set.to_string().as_bytes(), &Algorithm::ALL) else { return false };
    let Ok(compact) = Compact::split(token) else { return false };
    let (Ok(header), Ok(signature)) = (compact.header(), compact.signature()) else { return false };
    let Ok(algorithm) = header.algorithm.parse() else { return false };
    let Ok(key) = keys.find(header.key_id.as_deref(), algorithm) else { return false };
    key.verifies(algorithm, compact.signed(), &signature)
}

/// Runs one file; `differences` are the numbers of the tests with intentionally different results.
fn run(file: &str, differences: &[u64]) {
    let vectors = vectors(file);
    let mut seen = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        // Groups without a public key are for symmetric keys, which are not accepted.
        let (keys, symmetric) = match &group["public"] {
            Value::Null => (&group["private"], true),
            public => (public, false),
        };
        let set = if keys.get("keys").is_some() { keys.clone() } else { json!({"keys": [keys]}) };
        for test in group["tests"].as_array().unwrap() {
            let number = test["tcId"].as_u64().unwrap();
            let token = test["jws"].as_str().map_or(test["jws"].to_string(), str::to_owned);
            let expected = test["result"] == "valid" && !symmetric;
            let expected = expected != differences.contains(&number);
            assert_eq!(accepts(&set, &token), expected, "{file} {number}: {}", test["comment"]);
            seen += 1;
        }
    }
    assert_eq!(Some(seen), vectors["numberOfTests"].as_u64());
}

#[test]
fn json_web_signatures_agree_with_wycheproof() {
    // Empty payloads: claims must not be empty.
    let empty = [259, 264, 268, 272, 320, 325];
    // P-521 is not supported.
    let large_curve = [347, 351];
    // RFC 7520's PS384 token with a key for PS256: a key is for its own `alg` only.
    let other_algorithm = [346, 350];
    let differences = [&empty[..], &large_curve, &other_algorithm].concat();
    run("json_web_signature_test.json", &differences);
}

#[test]
fn json_web_keys_agree_with_wycheproof() {
    run("json_web_key_test.json", &[]);
}
