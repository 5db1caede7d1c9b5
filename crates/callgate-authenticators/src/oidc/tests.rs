use std::{
    fs,
    sync::{LazyLock, Mutex},
};

use aws_lc_rs::hmac;
use callgate::authn::Identity;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    jws::Algorithm,
    kind::{Observer, SharedResources},
    test_issuer::{TestKey, key_set},
    test_server::{Reply, TestServer},
};
use callgate_config::{Document, Format, Report, Sources};

mod claims;
mod settings;
mod verified_token_cache;

const ISSUER: &str = "https://issuer.example";
const NOW: i64 = 1_800_000_000;

static EC: LazyLock<TestKey> = LazyLock::new(|| TestKey::new("ec", Algorithm::Es256));
static RSA: LazyLock<TestKey> = LazyLock::new(|| TestKey::new("rsa", Algorithm::Rs256));

/// A configuration folder with a key file.
struct Bench {
    folder: TempDir,
    shared: Arc<SharedResources>,
    counted: Arc<Counted>,
}

/// The accepted signatures: verified, or remembered (`true`).
#[derive(Debug, Default)]
struct Counted(Mutex<Vec<bool>>);

impl Observer for Counted {
    fn signature_counted(&self, _authenticator: &str, remembered: bool) {
        self.0.lock().unwrap().push(remembered);
    }
}

impl Bench {
    fn new() -> Self {
        let (shared, counted) = (Arc::default(), Arc::default());
        let bench = Self { folder: tempfile::tempdir().unwrap(), shared, counted };
        bench.keys(&[&EC, &RSA]);
        bench
    }

    fn counted(&self) -> Vec<bool> {
        self.counted.0.lock().unwrap().clone()
    }

    fn keys(&self, keys: &[&TestKey]) {
        fs::write(self.folder.path().join("keys.json"), key_set(keys)).unwrap();
    }

    fn try_build(&self, name: &str, generation: u64, toml: &str) -> Result<Oidc, Vec<String>> {
        let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
        let (report, sources) = (Report::new(), Sources::new(self.folder.path()));
        let mut context = BuildContext::new(name, sources.clone(), Arc::clone(&self.shared));
        context.services.generation = generation;
        context.services.observer = Arc::clone(&self.counted) as _;
        let built = Oidc::build(&context, Table::root(&document, "", &report, &sources));
        let faults: Vec<_> = report.faults().iter().map(ToString::to_string).collect();
        match (built, faults.is_empty()) {
            (Some(built), true) => Ok(built),
            (None, false) => Err(faults),
            (built, _) => panic!("{built:?} and {faults:?}"),
        }
    }

    /// Builds an authenticator from a valid configuration in a changed context; returns the warnings too.
    fn build_as(&self, toml: &str, change: impl FnOnce(&mut BuildContext)) -> (Oidc, Vec<String>) {
        let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
        let (report, sources) = (Report::new(), Sources::new(self.folder.path()));
        let mut context = BuildContext::new("a", sources.clone(), Arc::clone(&self.shared));
        change(&mut context);
        let built = Oidc::build(&context, Table::root(&document, "", &report, &sources));
        let built = built.unwrap_or_else(|| panic!("{:?}", report.faults()));
        (built, report.warnings().iter().map(ToString::to_string).collect())
    }

    fn build(&self, name: &str, more: &str) -> Oidc {
        let toml = format!("issuer = \"{ISSUER}\"\njwks_file = \"keys.json\"\n{more}");
        self.try_build(name, 0, &toml).unwrap()
    }
}

fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "nats", "sub": "alice", "exp": NOW + 600, "iat": NOW,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::from_seconds(NOW + seconds)
}

/// The answer as one word: `ok`, `not_mine`, `unavailable`, or the reason.
fn word(answer: &Result<Identity, Decline>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Decline::NotMine) => "not_mine",
        Err(Decline::Unavailable(_)) => "unavailable",
        Err(Decline::Rejected(rejection)) => rejection.reason.as_str(),
    }
}

async fn judge(oidc: &Oidc, token: &str) -> &'static str {
    word(&oidc.identify(token, at(0)).await)
}

#[tokio::test]
async fn every_algorithm_yields_a_complete_identity() {
    let bench = Bench::new();
    let keys: Vec<_> = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256]
        .into_iter()
        .map(|algorithm| TestKey::new(algorithm.as_str(), algorithm))
        .collect();
    bench.keys(&keys.iter().collect::<Vec<_>>());
    let oidc = bench.build("a", "audience = \"nats\"");
    for key in &keys {
        let identity = oidc.identify(&key.token(&claims(json!({}))), at(0)).await.unwrap();
        let expected = Identity {
            user: "alice".into(),
            claims: claims(json!({})).as_object().unwrap().clone(),
            expires_at: Some(at(600)),
            issued_at: Some(at(0)),
            credential_id: identity.credential_id.clone(),
            ..Identity::default()
        };
        assert_eq!(identity, expected);
        assert!(identity.credential_id.is_some());
    }
    let rsa = keys.last().unwrap();
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let header = json!({"alg": algorithm, "kid": rsa.id, "typ": "at+jwt"}).to_string();
        let claims = claims(json!({"aud": ["other", "nats"]})).to_string();
        let token = rsa.token_by(algorithm.parse().unwrap(), &header, &claims);
        assert_eq!(judge(&oidc, &token).await, "ok", "{algorithm}");
    }
}

/// Attacks on the header and the signature, with valid claims.
#[tokio::test]
async fn forged_headers_and_signatures_are_refused() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"\nalgorithms = [\"RS256\", \"ES256\"]");
    let good = claims(json!({})).to_string();
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let unsigned =
        |header: &str, signature: &str| format!("{}.{}.{signature}", encode(header), encode(&good));
    // J1: `none` in every spelling, with and without a signature.
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = format!(r#"{{"alg":"{none}","kid":"ec"}}"#);
        assert_eq!(judge(&oidc, &unsigned(&header, "AAAA")).await, "bad_token", "{none}");
        assert_eq!(judge(&oidc, &unsigned(&header, "")).await, "not_mine", "{none}");
    }
    // J2: the public key as the secret of an HMAC.
    let header = r#"{"alg":"HS256","kid":"rsa"}"#;
    for secret in [RSA.jwk().to_string(), RSA.jwk()["n"].as_str().unwrap().to_owned()] {
        let signed = format!("{}.{}", encode(header), encode(&good));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let mac = BASE64URL_NOPAD.encode(hmac::sign(&key, signed.as_bytes()).as_ref());
        assert_eq!(judge(&oidc, &format!("{signed}.{mac}")).await, "bad_token");
    }
    let attacker = TestKey::new("ec", Algorithm::Es256);
    let jwk = attacker.jwk();
    let million = format!("{}.{}.AAAA", encode(r#"{"alg":"ES256"}"#), "e30".repeat(400_000));
    for (name, token) in [
        // J3: an algorithm that only the key or only the issuer allows.
        ("RS to PS", RSA.token_by(Algorithm::Ps256, r#"{"alg":"PS256","kid":"rsa"}"#, &good)),
        ("RS256 as PS256", RSA.token_by(Algorithm::Rs256, r#"{"alg":"PS256","kid":"rsa"}"#, &good)),
        ("EC as RSA", EC.token_with(r#"{"alg":"RS256","kid":"ec"}"#, &good)),
        ("RSA as EC", RSA.token_with(r#"{"alg":"ES256","kid":"rsa"}"#, &good)),
        ("ES256 as ES384", EC.token_with(r#"{"alg":"ES384","kid":"ec"}"#, &good)),
        // J4: a key or a URL in the header.
        ("jwk", attacker.token_with(
            &json!({"alg": "ES256", "kid": "ec", "jwk": jwk}).to_string(), &good)),
        ("jku", attacker.token_with(
            r#"{"alg":"ES256","kid":"ec","jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/"}"#,
            &good)),
        ("x5c", attacker.token_with(r#"{"alg":"ES256","kid":"ec","x5c":["AAAA"]}"#, &good)),
        // J5: key ids that look like paths or queries, or are missing.
        ("kid path", EC.token_with(r#"{"alg":"ES256","kid":"../../../dev/null"}"#, &good)),
        ("kid sql", EC.token_with(r#"{"alg":"ES256","kid":"' or 1=1 --"}"#, &good)),
        ("kid empty", EC.token_with(r#"{"alg":"ES256","kid":""}"#, &good)),
        ("kid null", EC.token_with(r#"{"alg":"ES256","kid":null}"#, &good)),
        ("kid of another", EC.token_with(r#"{"alg":"ES256","kid":"rsa"}"#, &good)),
        // J10 and J16: unsupported members.
        ("crit", EC.token_with(r#"{"alg":"ES256","kid":"ec","crit":["x"],"x":1}"#, &good)),
        ("zip", EC.token_with(r#"{"alg":"ES256","kid":"ec","zip":"DEF"}"#, &good)),
        ("b64", EC.token_with(r#"{"alg":"ES256","kid":"ec","b64":false}"#, &good)),
        ("enc", EC.token_with(r#"{"alg":"ES256","kid":"ec","enc":"A128GCM"}"#, &good)),
        // J11: a token of another type.
        ("logout+jwt", EC.token_with(r#"{"alg":"ES256","kid":"ec","typ":"logout+jwt"}"#, &good)),
        ("typ", EC.token_with(r#"{"alg":"ES256","kid":"ec","typ":1}"#, &good)),
        // J12 and J13: duplicate members; another issuer's key with our key id.
        ("twice", EC.token_with(r#"{"alg":"ES256","alg":"ES256","kid":"ec"}"#, &good)),
        ("attacker", attacker.token_with(r#"{"alg":"ES256","kid":"ec"}"#, &good)),
        // J17: malformed signatures.
        ("r = s = 0", unsigned(r#"{"alg":"ES256","kid":"ec"}"#, &BASE64URL_NOPAD.encode(&[0; 64]))),
        ("short", unsigned(r#"{"alg":"ES256","kid":"ec"}"#, "AAAA")),
        ("padded", format!("{}=", EC.token_with(r#"{"alg":"ES256","kid":"ec"}"#, &good))),
    ] {
        assert_eq!(judge(&oidc, &token).await, "bad_token", "{name}");
        // The result is not cached as anything else.
        assert_eq!(judge(&oidc, &token).await, "bad_token", "{name}, again");
    }
    assert_eq!(judge(&oidc, &million).await, "not_mine");
    assert_eq!(oidc.verifier.cache.len(), 0);
}

/// Attacks on the claims, with a valid header and signature.
#[tokio::test]
async fn missing_mistyped_and_foreign_claims_are_refused() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = [\"nats\", \"nats2\"]");
    for (changes, expected) in [
        (json!({}), "ok"),
        (json!({"aud": ["x", "nats2"]}), "ok"),
        // J7
        (json!({"aud": null}), "bad_token"),
        (json!({"aud": 1}), "bad_token"),
        (json!({"aud": {"nats": 1}}), "bad_token"),
        (json!({"aud": ["nats", 1]}), "bad_token"),
        (json!({"aud": [["nats"]]}), "bad_token"),
        (json!({"aud": []}), "wrong_audience"),
        (json!({"aud": ""}), "wrong_audience"),
        (json!({"aud": "NATS"}), "wrong_audience"),
        (json!({"aud": "nats "}), "wrong_audience"),
        (json!({"aud": "natsx"}), "wrong_audience"),
        // J14
        (json!({"aud": ["https://kubernetes.default.svc"]}), "wrong_audience"),
        // J8
        (json!({"exp": null}), "bad_token"),
        (json!({"exp": (NOW + 600).to_string()}), "bad_token"),
        (json!({"exp": 1_800_000_600.5}), "ok"),
        (json!({"exp": NOW as f64 + 0.5}), "token_expired"),
        (json!({"exp": 1e300}), "bad_token"),
        (json!({"exp": -1}), "bad_token"),
        (json!({"exp": u64::MAX}), "bad_token"),
        (json!({"exp": NOW}), "token_expired"),
        (json!({"exp": 0}), "token_expired"),
        (json!({"nbf": NOW + 31}), "bad_token"),
        (json!({"nbf": "0"}), "bad_token"),
        (json!({"iat": NOW + 31}), "bad_token"),
        (json!({"iat": null}), "bad_token"),
        // J9: the issuer is compared exactly.
        (json!({"iss": [ISSUER]}), "not_mine"),
        (json!({"iss": null}), "not_mine"),
        (json!({"iss": format!("{ISSUER}/")}), "not_mine"),
        (json!({"iss": "https://issuer.example.evil"}), "not_mine"),
        (json!({"iss": "HTTPS://issuer.example"}), "not_mine"),
        // J12
        (json!({"sub": ""}), "bad_token"),
        (json!({"sub": null}), "bad_token"),
        (json!({"sub": 7}), "bad_token"),
        (json!({"sub": ["alice"]}), "bad_token"),
        (json!({"sub": "a".repeat(256)}), "bad_token"),
        (json!({"sub": "ali\u{0}ce"}), "bad_token"),
        (json!({"sub": "alice\n"}), "bad_token"),
        (json!({"sub": "alice\u{85}"}), "bad_token"),
        // S3: invisible characters make names look like others.
        (json!({"sub": "ali\u{200b}ce"}), "bad_token"),
        (json!({"sub": "ali\u{202e}ce"}), "bad_token"),
        (json!({"sub": "\u{feff}alice"}), "bad_token"),
        (json!({"sub": "a\u{fffd}b"}), "bad_token"),
        (json!({"sub": "a\u{2028}b"}), "bad_token"),
        (json!({"sub": "a\u{2029}b"}), "bad_token"),
        (json!({"sub": "Ana María|7"}), "ok"),
        // J11: a logout token that says `typ: JWT`.
        (
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
            "bad_token",
        ),
    ] {
        let token = EC.token(&claims(changes.clone()));
        assert_eq!(judge(&oidc, &token).await, expected, "{changes}");
    }
    let header = r#"{"alg":"ES256","kid":"ec"}"#;
    for missing in ["aud", "exp", "sub"] {
        let mut claims = claims(json!({}));
        claims.as_object_mut().unwrap().remove(missing);
        assert_eq!(judge(&oidc, &EC.token(&claims)).await, "bad_token", "{missing}");
    }
    let twice = claims(json!({})).to_string().replacen('{', r#"{"sub":"root","#, 1);
    let deep = claims(json!({})).to_string().replacen(
        '{',
        &format!(r#"{{"x":{}{},"#, "[".repeat(20), "]".repeat(20)),
        1,
    );
    let large = claims(json!({"x": "x".repeat(16 * 1024)})).to_string();
    for text in [&twice, &deep, &large, "", "{}", "[]", "null", "not json"] {
        let token = EC.token_with(header, text);
        assert_eq!(judge(&oidc, &token).await, "not_mine", "{text:.60}");
    }
    for text in ["", "secret-token", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(judge(&oidc, text).await, "not_mine", "{text}");
    }
}

#[tokio::test]
async fn user_groups_and_required_claims_are_read_from_their_paths() {
    let bench = Bench::new();
    let oidc = bench.build(
        "a",
        r#"
        audience = "nats"
        user_claim = "email"
        groups_claim = "realm_access.roles"
        required_claims = { "/kubernetes.io/namespace" = ["prod", "stage"], level = 3 }
        "#,
    );
    let base = json!({
        "email": "alice@example.com", "email_verified": true, "level": 3,
        "realm_access": {"roles": ["x", "y"]}, "kubernetes.io": {"namespace": "prod"},
    });
    let with = |name: &str, value: Value| {
        let mut changes = base.clone();
        changes[name] = value;
        EC.token(&claims(changes))
    };
    let identity = oidc.identify(&with("level", json!(3)), at(0)).await.unwrap();
    assert_eq!(identity.user, "alice@example.com");
    assert_eq!(identity.groups, ["x", "y"]);
    for (name, value, expected) in [
        ("realm_access", json!({"roles": "one"}), "ok"),
        ("realm_access", json!({}), "ok"),
        ("realm_access", json!({"roles": []}), "ok"),
        ("realm_access", json!({"roles": ["x", 1]}), "bad_token"),
        ("realm_access", json!({"roles": {"x": true}}), "ok"),
        ("realm_access", json!({"roles": {"x": {}, "y": false}}), "bad_token"),
        ("realm_access", json!({"roles": {"x": null}}), "bad_token"),
        ("realm_access", json!({"roles": 1}), "bad_token"),
        ("realm_access", json!({"roles": null}), "bad_token"),
        ("email_verified", json!("true"), "bad_token"),
        ("email_verified", json!(1), "bad_token"),
        ("email_verified", json!(null), "bad_token"),
        ("email", json!(""), "bad_token"),
        ("email", json!(["alice@example.com"]), "bad_token"),
        // S10: a condition on the end of the address must see the verified host.
        ("email", json!("evil@x.com@example.com"), "bad_token"),
        ("email", json!("\"evil@x.com\"@example.com"), "bad_token"),
        ("email", json!("evil@x.com @example.com"), "bad_token"),
        ("email", json!("@example.com"), "bad_token"),
        ("email", json!("alice@"), "bad_token"),
        ("email", json!("example.com"), "bad_token"),
        ("kubernetes.io", json!({"namespace": ["test", "stage"]}), "ok"),
        ("kubernetes.io", json!({"namespace": "production"}), "bad_token"),
        ("kubernetes.io", json!({"namespace": []}), "bad_token"),
        ("kubernetes.io", json!("prod"), "bad_token"),
        ("level", json!("3"), "bad_token"),
        ("level", json!(3.0), "bad_token"),
    ] {
        let token = with(name, value.clone());
        assert_eq!(judge(&oidc, &token).await, expected, "{name} {value}");
    }
}

#[tokio::test]
async fn long_lived_tokens_are_refused() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"\nmax_token_lifetime = \"10m\"");
    for (changes, expected) in [
        (json!({}), "ok"),
        (json!({"exp": NOW + 601}), "token_lifetime"),
        (json!({"iat": NOW - 1}), "token_lifetime"),
        (json!({"exp": NOW + 20, "iat": NOW + 20}), "bad_token"),
    ] {
        let token = EC.token(&claims(changes.clone()));
        assert_eq!(judge(&oidc, &token).await, expected, "{changes}");
    }
    let mut without = claims(json!({}));
    without.as_object_mut().unwrap().remove("iat");
    assert_eq!(judge(&oidc, &EC.token(&without)).await, "token_lifetime");
}

#[tokio::test]
async fn entries_of_one_issuer_route_by_audience() {
    let bench = Bench::new();
    let first = bench.build("first", "audience = \"one\"");
    let second = bench.build("second", "audience = [\"two\", \"three\"]");
    for (audience, at_first, at_second) in [
        (json!("one"), "ok", "not_mine"),
        (json!("two"), "not_mine", "ok"),
        (json!(["three", "x"]), "not_mine", "ok"),
        (json!(["one", "two"]), "ok", "ok"),
        (json!("four"), "wrong_audience", "wrong_audience"),
    ] {
        let token = EC.token(&claims(json!({"aud": audience})));
        for _ in 0..2 {
            assert_eq!(judge(&first, &token).await, at_first, "{audience} at the first");
            assert_eq!(judge(&second, &token).await, at_second, "{audience} at the second");
        }
    }
    let toml = |issuer: &str| {
        format!("issuer = \"{issuer}\"\njwks_file = \"keys.json\"\naudience = [\"four\", \"two\"]")
    };
    let faults = bench.try_build("third", 0, &toml(ISSUER)).unwrap_err();
    assert!(faults[0].contains("audience") && faults[0].contains("`second`"), "{faults:?}");
    assert!(bench.try_build("third", 0, &toml("https://other.example")).is_ok());
    // The next configuration has its own entries.
    assert!(bench.try_build("third", 1, &toml(ISSUER)).is_ok());
}

#[tokio::test]
async fn wrong_audience_is_reported_by_the_entry_whose_key_signed() {
    let bench = Bench::new();
    let theirs_key = TestKey::new("theirs", Algorithm::Es256);
    fs::write(bench.folder.path().join("theirs.json"), key_set(&[&theirs_key])).unwrap();
    let first = bench.build("first", "audience = \"one\"");
    let toml = format!("issuer = \"{ISSUER}\"\njwks_file = \"theirs.json\"\naudience = \"two\"");
    let second = bench.try_build("second", 0, &toml).unwrap();
    let other = toml.replace(ISSUER, "https://other.example");
    let _other = bench.try_build("other", 0, &other).unwrap();
    let unknown = TestKey::new("unknown", Algorithm::Es256);
    let forged = TestKey::new("theirs", Algorithm::Es256);
    for (key, audience, at_first, at_second) in [
        (&*EC, "three", "wrong_audience", "bad_token"),
        (&theirs_key, "three", "not_mine", "wrong_audience"),
        // Other signers do not learn which audiences are accepted.
        (&unknown, "three", "not_mine", "bad_token"),
        (&forged, "three", "not_mine", "bad_token"),
        // A token for one of the entries belongs to it, whatever key signed it.
        (&theirs_key, "one", "bad_token", "not_mine"),
        (&*EC, "two", "not_mine", "bad_token"),
    ] {
        let token = key.token(&claims(json!({"aud": audience})));
        assert_eq!(judge(&first, &token).await, at_first, "{} {audience}", key.id);
        assert_eq!(judge(&second, &token).await, at_second, "{} {audience}", key.id);
    }
}

#[tokio::test]
async fn issuers_share_neither_keys_nor_cached_tokens() {
    let bench = Bench::new();
    let ours = bench.build("ours", "audience = \"nats\"");
    let theirs_key = TestKey::new("ec", Algorithm::Es256);
    fs::write(bench.folder.path().join("theirs.json"), key_set(&[&theirs_key])).unwrap();
    let toml =
        "issuer = \"https://theirs.example\"\njwks_file = \"theirs.json\"\naudience = \"nats\"";
    let theirs = bench.try_build("theirs", 0, toml).unwrap();
    let token = theirs_key.token(&claims(json!({"iss": "https://theirs.example"})));
    let forged = theirs_key.token(&claims(json!({})));
    for _ in 0..2 {
        assert_eq!(judge(&theirs, &token).await, "ok");
        assert_eq!(judge(&ours, &token).await, "not_mine");
        assert_eq!(judge(&ours, &forged).await, "bad_token");
        assert_eq!(judge(&theirs, &forged).await, "not_mine");
    }
}

#[tokio::test]
async fn withdrawn_signing_key_counts_only_if_asked() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    let token = EC.token(&claims(json!({})));
    let identity = oidc.identify(&token, at(0)).await.unwrap();
    assert_eq!(oidc.identify(&token, at(0)).await.unwrap(), identity, "remembered");
    let standing =
        |withdrawn_keys| oidc.reassess(&identity, &Reassessment { now: at(0), withdrawn_keys });
    let unchanged = Standing::Current(Box::new(identity.clone()));
    assert_eq!(standing(true), unchanged);
    let changes = oidc.changes();
    oidc.verifier.keys.preload(key_set(&[&RSA]).as_bytes()).unwrap();
    assert!(changes.iter().all(|changes| changes.has_changed().unwrap()));
    assert_eq!(standing(false), unchanged);
    assert_eq!(standing(true), Standing::Gone(GoneCause::KeyRemoved));
}
