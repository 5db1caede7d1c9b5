//! Service tokens with a valid signature: the first line is the header, the rest the claims.

#![no_main]

use std::sync::{Arc, LazyLock};

use callgate::{clock::UnixTime, keys::KeyPair};
use callgate_authenticators::{
    kind::{BuildContext, SharedResources},
    service_tokens::{ServiceTokens, Settings},
};
use callgate_config::{Document, Format, Report, Sources, Table};
use callgate_fuzz::{NOW, first_line};
use callgate_testkit::Nkey;
use data_encoding::BASE64URL_NOPAD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

struct World {
    tokens: ServiceTokens,
    key: KeyPair,
    public: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let key = Nkey::user();
    let text = format!(
        "audience = [\"callgate\"]\n[[services]]\npublic_key = \"{}\"\nuser = \"svc:a\"\nroles = [\"r\"]",
        key.public()
    );
    let document = Document::parse(text.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut context =
        BuildContext::new("tokens", sources.clone(), Arc::new(SharedResources::new(1)));
    context.policy.roles = Arc::new(["r".to_owned()].into());
    let settings = Settings::read(&context, Table::root(&document, "", &report, &sources));
    let settings = settings.unwrap_or_else(|| panic!("{:?}", report.faults()));
    let pair = callgate::keys::Seed::parse(&key.seed()).and_then(KeyPair::from_seed).unwrap();
    World { tokens: ServiceTokens::new(settings), key: pair, public: key.public() }
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = text.replace("@KEY", &WORLD.public);
    let (header, claims) = first_line(text.as_bytes());
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(claims));
    let signature = WORLD.key.sign(signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
    let now = UnixTime::from_seconds(NOW);
    let Ok(identity) = WORLD.tokens.identify(&token, now) else { return };
    let claims: Value = serde_json::from_slice(claims).unwrap();
    let header: Value = serde_json::from_slice(header).unwrap();
    assert!(["EdDSA", "ed25519-nkey"].contains(&header["alg"].as_str().unwrap()));
    assert_eq!((identity.user.as_str(), &claims["sub"]), ("svc:a", &Value::from("svc:a")));
    assert_eq!(claims["iss"], WORLD.public);
    // Times may have fractions, which are rounded against the token.
    let seconds = |name: &str| claims[name].as_f64().unwrap();
    let (issued, expires) = (seconds("iat").ceil() as i64, seconds("exp").floor() as i64);
    assert!(expires > NOW && expires - issued <= 3600, "{claims}");
    assert_eq!(identity.expires_at.map(UnixTime::seconds), Some(expires));
    let audience = &claims["aud"];
    assert!(audience == "callgate" || audience.as_array().unwrap().contains(&"callgate".into()));
    // Of the same claims with another signature nothing is left.
    let other = signed.len() + 1 + signature.len() / 2;
    let mut spoilt = token.into_bytes();
    spoilt[other] = if spoilt[other] == b'A' { b'B' } else { b'A' };
    assert!(WORLD.tokens.identify(std::str::from_utf8(&spoilt).unwrap(), now).is_err());
});
