//! Tokens: what is taken for one has exactly one spelling, and typed claims.

#![no_main]

use std::time::Duration;

use callgate::clock::UnixTime;
use callgate_authenticators::jws::{Compact, MAX_SUBJECT, RegisteredClaims, TimeRules};
use callgate_fuzz::NOW;
use data_encoding::BASE64URL_NOPAD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const RULES: TimeRules =
    TimeRules { leeway: Duration::from_secs(30), max_lifetime: Some(Duration::from_secs(3600)) };

fuzz_target!(|data: &[u8]| {
    // Either a token as it is, or header and claims in clear on two lines.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let made = text.split_once('\n').map(|(header, claims)| {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.{}", part(header), part(claims), part("signature"))
    });
    let token = made.as_deref().unwrap_or(text);
    let Ok(compact) = Compact::split(token) else { return };
    assert_eq!(token.matches('.').count(), 2);
    assert_eq!(compact.signed(), token.rsplit_once('.').unwrap().0.as_bytes());
    if let Ok(signature) = compact.signature() {
        assert!(token.ends_with(&format!(".{}", BASE64URL_NOPAD.encode(&signature))));
    }
    if let Ok(header) = compact.header() {
        let json = BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap();
        let plain: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(plain["alg"], header.algorithm);
        assert!(plain.get("crit").is_none() && plain.get("b64").is_none());
        assert_eq!(plain["kid"].as_str(), header.key_id.as_deref());
    }
    let Ok(claims) = compact.claims() else { return };
    let json = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), Value::from(claims.clone()));
    let Ok(registered) = RegisteredClaims::read(&claims) else { return };
    assert_eq!(claims["sub"], registered.subject);
    assert!((1..=MAX_SUBJECT).contains(&registered.subject.len()));
    // A fraction of a second never extends the lifetime.
    assert_eq!(claims["exp"].as_f64().map(f64::floor), Some(registered.expires.seconds() as f64));
    if registered.check_times(UnixTime::from_seconds(NOW), &RULES).is_ok() {
        let issued = registered.issued.expect("a lifetime needs a beginning").seconds();
        assert!(registered.expires.seconds() > NOW && issued <= NOW + 30);
        assert!(registered.expires.seconds() - issued <= 3600);
    }
});
