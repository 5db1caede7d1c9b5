//! Key sets of an issuer: a key id means one key, private and symmetric keys count for nothing.

#![no_main]

use std::sync::LazyLock;

use callgate_authenticators::{jwks::KeySet, jws::Algorithm};
use callgate_fuzz::assert_printable;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static ALL: LazyLock<Vec<Algorithm>> = LazyLock::new(|| {
    let names = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    names.iter().map(|name| name.parse().unwrap()).collect()
});

fuzz_target!(|data: &[u8]| {
    let set = match KeySet::parse(data, &ALL) {
        Ok(set) => set,
        Err(error) => return assert_printable(&[error.to_string()]),
    };
    assert_printable(set.remarks());
    let document: Value = serde_json::from_slice(data).expect("what is strict is also JSON");
    let keys = document["keys"].as_array().unwrap();
    assert!((1..=keys.len()).contains(&set.len()) && !set.is_empty());
    for key in keys {
        let id = key["kid"].as_str();
        for algorithm in ALL.iter().copied() {
            let Ok(found) = set.find(id, algorithm) else { continue };
            assert!(set.contains(found) && found.permits(algorithm));
            assert!(id.is_none() || found.id() == id, "a key id is exact");
        }
        let private = ["d", "k"].iter().any(|member| key.get(member).is_some());
        if let (Some(id), true) = (id, private) {
            let one = keys.iter().filter(|key| key["kid"] == id).count() == 1;
            assert!(!one || ALL.iter().all(|algorithm| set.find(Some(id), *algorithm).is_err()));
        }
    }
    // The algorithms of the configuration bound those of the set.
    if let Ok(narrow) = KeySet::parse(data, &ALL[..1]) {
        assert!(narrow.len() <= set.len());
        for key in keys {
            assert!(narrow.find(key["kid"].as_str(), ALL[6]).is_err());
        }
    }
});
