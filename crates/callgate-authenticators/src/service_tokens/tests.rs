use std::collections::BTreeSet;

use callgate::{
    authn::Origin,
    keys::{KeyKind, KeyPair, Seed},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::*;
use crate::kind::SharedResources;
use callgate_config::{Document, Format, Report, Sources};

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> UnixTime {
    UnixTime::from_seconds(NOW + seconds)
}

fn key() -> KeyPair {
    KeyPair::generate(KeyKind::User).unwrap()
}

fn try_build(toml: &str) -> (Option<ServiceTokens>, Vec<String>, Vec<String>) {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut context =
        BuildContext::new("services", sources.clone(), Arc::new(SharedResources::default()));
    context.policy.roles = Arc::new(BTreeSet::from(["worker".to_owned()]));
    context.policy.knows_account = Arc::new(|name| name == "APP");
    let settings = Settings::read(&context, Table::root(&document, "", &report, &sources));
    let text = |list: Vec<callgate_config::Fault>| list.iter().map(ToString::to_string).collect();
    (settings.map(ServiceTokens::new), text(report.faults()), text(report.warnings()))
}

fn build(more: &str, keys: &[&KeyPair]) -> ServiceTokens {
    let keys: Vec<_> = keys.iter().map(|key| key.public_key()).collect();
    let toml = format!(
        "{more}\n[[services]]\npublic_keys = {keys:?}\nuser = \"svc:llm-api\"\naccount = \"APP\"\n\
         roles = [\"worker\"]"
    );
    let (built, faults, _) = try_build(&toml);
    built.unwrap_or_else(|| panic!("{faults:?}"))
}

fn token(key: &KeyPair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn claims(key: &KeyPair, changes: Value) -> Value {
    let iss = key.public_key();
    let mut claims =
        json!({"sub": "svc:llm-api", "iss": iss, "iat": NOW, "exp": NOW + 600, "aud": "nats"});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn word(answer: &Result<Identity, Decline>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Decline::NotMine) => "not_mine",
        Err(Decline::Unavailable(_)) => "unavailable",
        Err(Decline::Rejected(rejection)) => rejection.reason.as_str(),
    }
}

#[test]
fn minted_token_yields_the_configured_identity() {
    for kind in [KeyKind::User, KeyKind::Account] {
        let key = KeyPair::generate(kind).unwrap();
        let services = build("audience = \"nats\"", &[&self::key(), &key]);
        let seed = Seed::parse(key.seed().expose()).unwrap();
        let ttl = Duration::from_secs(600);
        let token = mint_service_token(seed, "svc:llm-api", ttl, Some("nats"), at(0)).unwrap();
        let identity = services.identify(&token, at(0)).unwrap();
        assert_eq!((identity.user.as_str(), identity.expires_at), ("svc:llm-api", Some(at(600))));
        let proposal = identity.proposal;
        assert_eq!(proposal.origin, Origin::Operator);
        assert_eq!(proposal.account.as_deref(), Some("APP"));
        assert_eq!(proposal.roles, Some(vec!["worker".to_owned()]));
        assert!(!proposal.unrestricted_if_alone);
        assert_eq!(word(&services.identify(&token, at(600))), "token_expired");
    }
}

#[test]
fn every_claim_is_checked() {
    let key = key();
    let services = build("audience = [\"nats\", \"nats2\"]\nmax_token_lifetime = \"10m\"", &[&key]);
    let header = json!({"typ": "JWT", "alg": "EdDSA"});
    for (changes, expected) in [
        (json!({}), "ok"),
        (json!({"aud": ["x", "nats2"]}), "ok"),
        (json!({"aud": "x"}), "wrong_audience"),
        (json!({"aud": []}), "wrong_audience"),
        (json!({"aud": null}), "bad_token"),
        (json!({"sub": "svc:other"}), "bad_token"),
        (json!({"sub": ""}), "bad_token"),
        (json!({"sub": ["svc:llm-api"]}), "bad_token"),
        (json!({"exp": NOW + 601}), "token_lifetime"),
        (json!({"exp": NOW + 600, "iat": NOW - 1}), "token_lifetime"),
        (json!({"exp": NOW}), "token_expired"),
        (json!({"exp": NOW as f64 + 60.5}), "ok"),
        (json!({"exp": NOW as f64 + 0.5}), "token_expired"),
        (json!({"exp": null}), "bad_token"),
        (json!({"iat": null}), "bad_token"),
        (json!({"iat": NOW + 31}), "bad_token"),
        (json!({"iat": "0"}), "bad_token"),
        (json!({"nbf": NOW + 31}), "bad_token"),
        (json!({"iss": self::key().public_key()}), "not_mine"),
        (json!({"iss": [key.public_key()]}), "not_mine"),
        (json!({"iss": null}), "not_mine"),
    ] {
        let answer =
            services.identify(&token(&key, &header, &claims(&key, changes.clone())), at(0));
        assert_eq!(word(&answer), expected, "{changes}");
    }
    for (missing, expected) in [
        ("exp", "bad_token"),
        ("iat", "bad_token"),
        ("sub", "bad_token"),
        ("aud", "wrong_audience"),
    ] {
        let mut claims = claims(&key, json!({}));
        claims.as_object_mut().unwrap().remove(missing);
        let answer = services.identify(&token(&key, &header, &claims), at(0));
        assert_eq!(word(&answer), expected, "without {missing}");
    }
}

#[test]
fn token_with_audience_is_refused_without_a_configured_one() {
    let key = key();
    let services = build("", &[&key]);
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let mut anonymous = claims(&key, json!({}));
    anonymous.as_object_mut().unwrap().remove("aud");
    assert_eq!(word(&services.identify(&token(&key, &header, &anonymous), at(0))), "ok");
    let named = claims(&key, json!({}));
    assert_eq!(word(&services.identify(&token(&key, &header, &named), at(0))), "wrong_audience");
}

#[test]
fn forged_tokens_are_refused() {
    let (key, other) = (key(), key());
    let services = build("audience = \"nats\"", &[&key]);
    let good = claims(&key, json!({}));
    for header in [
        json!({"typ": "JWT", "alg": "none"}),
        json!({"typ": "JWT", "alg": "HS256"}),
        json!({"typ": "JWT", "alg": "Ed25519-nkey"}),
        json!({"typ": "at+jwt", "alg": "EdDSA"}),
        json!({"typ": "JWT", "alg": "EdDSA", "crit": ["x"]}),
        json!({"typ": "JWT"}),
    ] {
        let answer = services.identify(&token(&key, &header, &good), at(0));
        assert_eq!(word(&answer), "bad_token", "{header}");
    }
    let header = json!({"typ": "JWT", "alg": "EdDSA"});
    let signed_by_another = token(&other, &header, &good);
    assert_eq!(word(&services.identify(&signed_by_another, at(0))), "bad_token");
    let token = token(&key, &header, &good);
    let (signed, _) = token.rsplit_once('.').unwrap();
    for signature in ["AAAA".to_owned(), "A".repeat(86), "=".to_owned()] {
        let answer = services.identify(&format!("{signed}.{signature}"), at(0));
        assert_eq!(word(&answer), "bad_token", "{signature}");
    }
    for text in [signed, &format!("{signed}."), "", "plain token"] {
        assert_eq!(word(&services.identify(text, at(0))), "not_mine", "{text}");
    }
}

#[test]
fn each_key_signs_only_for_its_own_service() {
    let (one, two) = (key(), key());
    let toml = format!(
        "[[services]]\npublic_key = \"{}\"\nuser = \"one\"\nroles = []\n\
         [[services]]\npublic_key = \"{}\"\nuser = \"two\"\npermissions = {{ pub = [\"two.>\", \"{{{{ user }}}}\"] }}",
        one.public_key(),
        two.public_key()
    );
    let services = try_build(&toml).0.unwrap();
    let ttl = Duration::from_secs(60);
    for (key, user, expected) in
        [(&one, "one", "ok"), (&two, "two", "ok"), (&one, "two", "bad_token")]
    {
        let seed = Seed::parse(key.seed().expose()).unwrap();
        let token = mint_service_token(seed, user, ttl, None, at(0)).unwrap();
        assert_eq!(word(&services.identify(&token, at(0))), expected, "{user}");
    }
    let seed = Seed::parse(two.seed().expose()).unwrap();
    let token = mint_service_token(seed, "two", ttl, None, at(0)).unwrap();
    let proposal = services.identify(&token, at(0)).unwrap().proposal;
    assert_eq!(proposal.permissions.unwrap().publish.allow.len(), 1);
    assert!(proposal.templates.is_some());
}

#[test]
fn errors_name_the_key_and_the_remedy() {
    let (key, server) = (key().public_key(), KeyPair::generate(KeyKind::Server).unwrap());
    let seed = self::key().seed();
    let service = |more: &str| format!("[[services]]\n{more}");
    let full = format!("[[services]]\npublic_key = \"{key}\"\nuser = \"a\"\nroles = []\n");
    for (toml, path, text) in [
        (String::new(), "", "`services` is missing"),
        ("services = []".to_owned(), "", "`services` is missing"),
        (service("user = \"a\"\nroles = []"), "services[0]", "`public_key`"),
        (
            service(&format!("public_key = \"{key}\"\nroles = []")),
            "services[0]",
            "`user` is missing",
        ),
        (
            service(&format!("public_key = \"{key}\"\nuser = \"\"\nroles = []")),
            "services[0].user",
            "empty",
        ),
        (service(&format!("public_key = \"{key}\"\nuser = \"a\"")), "services[0]", "`roles` or"),
        (
            service(&format!("public_key = \"{key}\"\nuser = \"a\\u200b\"\nroles = []")),
            "services[0].user",
            "invisible",
        ),
        (
            service("public_key = \"UABC\"\nuser = \"a\"\nroles = []"),
            "services[0].public_key",
            "nkey",
        ),
        (
            service(&format!("public_key = \"{}\"\nuser = \"a\"\nroles = []", server.public_key())),
            "services[0].public_key",
            "user public key",
        ),
        (
            service(&format!("public_keys = [\"{}\"]\nuser = \"a\"\nroles = []", seed.expose())),
            "services[0].public_keys[0]",
            "seed",
        ),
        (format!("{full}{full}"), "services[1].public_key", "duplicate"),
        (format!("{full}permisions = {{}}"), "services[0].permisions", "permissions"),
        (
            full.replace("[]", "[\"worker\", \"workre\"]"),
            "services[0].roles[1]",
            "no role `workre`; did you mean `worker`?",
        ),
        (format!("audience = []\n{full}"), "audience", "empty"),
        (format!("max_token_lifetime = \"0s\"\n{full}"), "max_token_lifetime", "greater than zero"),
    ] {
        let (built, faults, _) = try_build(&toml);
        assert!(built.is_none(), "{toml}");
        let found = faults.iter().any(|fault| fault.starts_with(path) && fault.contains(text));
        assert!(found, "{toml}\n{faults:?}");
        assert!(!faults.concat().contains(seed.expose()), "{faults:?}");
    }
    let (built, _, warnings) = try_build(&format!("{full}account = \"NOPE\""));
    assert!(built.is_some() && warnings.iter().any(|one| one.contains("`NOPE`")), "{warnings:?}");
    assert!(warnings.iter().any(|one| one.starts_with("audience")), "{warnings:?}");
}

#[test]
fn token_keys_are_listed() {
    let keys = [key().public_key(), key().public_key(), key().public_key()];
    let table = json!({"services": [
        {"public_key": keys[0], "user": "a"},
        {"public_keys": [keys[1], keys[2], "mistyped", 7]},
        {"user": "without"},
    ]});
    assert_eq!(ServiceTokensKind.token_keys(&table), keys);
    assert!(ServiceTokensKind.token_keys(&json!({})).is_empty());
    assert!(ServiceTokensKind.token_keys(&json!({"services": 1})).is_empty());
}

#[test]
fn unusable_tokens_are_not_minted() {
    let seed = |kind| Seed::parse(KeyPair::generate(kind).unwrap().seed().expose()).unwrap();
    let mint = |kind, user, seconds| {
        mint_service_token(seed(kind), user, Duration::from_secs(seconds), None, at(0)).unwrap_err()
    };
    assert!(matches!(mint(KeyKind::Server, "a", 60), MintError::Kind(KeyKind::Server)));
    assert!(matches!(mint(KeyKind::User, "", 60), MintError::NoUser));
    assert!(matches!(mint(KeyKind::User, "a", 0), MintError::NoLifetime));
    let minute = Duration::from_secs(60);
    let empty_audience = mint_service_token(seed(KeyKind::User), "a", minute, Some(""), at(0));
    assert!(matches!(empty_audience, Err(MintError::NoAudience)));
}

#[test]
fn service_stands_as_long_as_its_key_is_listed() {
    let (first, second) = (key(), key());
    let header = json!({"typ": "JWT", "alg": "EdDSA"});
    let token = token(&first, &header, &claims(&first, json!({})));
    let before = build("audience = [\"nats\"]", &[&first, &second]);
    let identity = before.identify(&token, at(0)).unwrap();
    let how = Reassessment { now: at(0), withdrawn_keys: false };
    let unchanged = Standing::Current(Box::new(identity.clone()));
    assert_eq!(before.reassess(&identity, &how), unchanged);
    assert_eq!(build("", &[&first]).reassess(&identity, &how), unchanged);
    let rotated = build("", &[&second]);
    assert_eq!(rotated.reassess(&identity, &how), Standing::Gone(GoneCause::KeyRemoved));
}
