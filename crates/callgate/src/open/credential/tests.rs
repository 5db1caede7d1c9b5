use data_encoding::{BASE64, BASE64URL_NOPAD};

use super::*;

const NONCE: &str = "abcdefghijklmno";
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln";

fn nats_user_jwt() -> String {
    let claims = BASE64URL_NOPAD.encode(br#"{"sub":"U","nats":{"type":"user"}}"#);
    format!("eyJ0eXAiOiJKV1QifQ.{claims}.c2ln")
}

fn options(fields: &[(&str, &str)]) -> ConnectOptions<'static> {
    let map: serde_json::Map<_, _> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let json: &str = serde_json::Value::from(map).to_string().leak();
    serde_json::from_str(json).unwrap()
}

fn choose(
    options: ConnectOptions<'_>,
    nonce: &str,
    certificate: Option<&Certificate>,
    mode: Mode,
) -> Result<Credential, Denial> {
    super::choose(options, nonce, certificate, mode, &VerifyingKeys::new(8))
}

fn chosen(fields: &[(&str, &str)]) -> Result<String, Reason> {
    choose(options(fields), NONCE, None, Mode::Configuration)
        .map(|credential| match credential {
            Credential::Password { user, password } => format!("{user}/{}", password.expose()),
            Credential::Token(token) => token.expose().to_owned(),
            Credential::Nkey(key) => key.to_string(),
            Credential::Certificate => "certificate".to_owned(),
            Credential::Anonymous => String::new(),
        })
        .map_err(|denial| denial.reason)
}

#[test]
fn prefix_of_a_token_is_named() {
    for (prefix, named) in [
        ("Bearer ", "`Bearer`"),
        ("bearer  ", "`Bearer`"),
        ("BEARER:", "`Bearer`"),
        ("Authorization: Bearer ", "`Bearer`"),
        ("JWT ", "`JWT`"),
    ] {
        let text = format!("{prefix}{JWT}");
        for fields in [
            &[("auth_token", text.as_str())][..],
            &[("user", "a"), ("pass", &text)],
            &[("jwt", &text)],
            &[("user", "a"), ("pass", &text), ("auth_token", &text), ("jwt", &text)],
        ] {
            let denial =
                choose(options(fields), NONCE, None, Mode::Configuration).map(drop).unwrap_err();
            assert_eq!(denial.reason, Reason::BadToken, "{fields:?}");
            assert!(denial.detail.contains(named), "{}", denial.detail);
            assert!(!denial.detail.contains("ey"), "{}", denial.detail);
        }
    }
    // A password may contain the word.
    for password in ["Bearer secret", "Bearer a.b.c", &format!("x {JWT}")] {
        let expected = format!("a/{password}");
        assert_eq!(chosen(&[("user", "a"), ("pass", password)]), Ok(expected));
    }
}

#[test]
fn exactly_one_credential_counts() {
    let sentinel = nats_user_jwt();
    type Row<'a> = (&'a [(&'a str, &'a str)], Result<&'a str, Reason>);
    let table: &[Row<'_>] = &[
        (&[("user", "a"), ("pass", "b")], Ok("a/b")),
        (&[("auth_token", "t")], Ok("t")),
        (&[("user", "a"), ("auth_token", "t")], Ok("t")),
        (&[("user", "a"), ("pass", JWT)], Ok(JWT)),
        (&[("pass", JWT)], Ok(JWT)),
        (&[("jwt", JWT)], Ok(JWT)),
        // MQTT's copies of the password.
        (&[("user", "a"), ("pass", "b"), ("auth_token", "b"), ("jwt", "b")], Ok("a/b")),
        (&[("user", "a"), ("pass", JWT), ("auth_token", JWT), ("jwt", JWT)], Ok(JWT)),
        // A sentinel is not a credential.
        (&[("user", "a"), ("pass", "b"), ("jwt", &sentinel)], Ok("a/b")),
        (&[("jwt", &sentinel)], Ok("")),
        (&[("auth_token", &sentinel)], Ok("")),
        (&[("user", "a"), ("pass", &sentinel)], Err(Reason::NoCredential)),
        (&[], Ok("")),
        (&[("user", ""), ("pass", ""), ("auth_token", "")], Ok("")),
        (&[("user", "a")], Err(Reason::BadPassword)),
        (&[("user", "a"), ("pass", "")], Err(Reason::BadPassword)),
        (&[("pass", "b")], Err(Reason::NoCredential)),
        (&[("sig", "b")], Ok("")),
        (&[("user", "a"), ("pass", "b"), ("auth_token", "c")], Err(Reason::AmbiguousCredential)),
        (&[("auth_token", "c"), ("jwt", "d")], Err(Reason::AmbiguousCredential)),
        (&[("pass", JWT), ("auth_token", "d")], Err(Reason::AmbiguousCredential)),
    ];
    for (fields, expected) in table {
        assert_eq!(chosen(fields).as_deref(), expected.as_ref().copied(), "{fields:?}");
    }
}

#[test]
fn certificate_counts_only_without_another_credential() {
    let certificate =
        Certificate { verified_chains: vec![], tls_version: String::new(), cipher: String::new() };
    let choose = |fields| {
        choose(options(fields), "", Some(&certificate), Mode::Configuration).unwrap().kind()
    };
    assert_eq!(choose(&[]), "certificate");
    assert_eq!(choose(&[("auth_token", "t")]), "token");
}

#[test]
fn nkey_counts_only_with_its_signature_of_a_real_nonce() {
    let user = nkeys::KeyPair::new_user();
    let key = user.public_key();
    let sign = |nonce: &str| user.sign(nonce.as_bytes()).unwrap();
    let known = VerifyingKeys::new(8);
    let try_with = |nkey: &str, sig: &str, nonce: &str| {
        let options = options(&[("nkey", nkey), ("sig", sig)]);
        super::choose(options, nonce, None, Mode::Configuration, &known)
            .map(|credential| credential.kind())
            .map_err(|denial| denial.reason)
    };
    let good = BASE64URL_NOPAD.encode(&sign(NONCE));
    assert_eq!(try_with(&key, &good, NONCE), Ok("nkey"));
    assert_eq!(try_with(&key, &BASE64.encode(&sign(NONCE)), NONCE), Ok("nkey"));

    // The key is remembered by now, which proves nothing.
    let over_nothing = BASE64URL_NOPAD.encode(&sign(""));
    let short = BASE64URL_NOPAD.encode(&sign("short"));
    let account = nkeys::KeyPair::new_account().public_key();
    for (nkey, sig, nonce) in [
        (key.as_str(), "", NONCE),
        (&key, "AAAA", NONCE),
        (&key, &over_nothing, NONCE),
        (&key, &over_nothing, ""),
        (&key, &short, "short"),
        (&key, &good, "another nonce.."),
        (&account, &good, NONCE),
        ("U", &good, NONCE),
    ] {
        assert_eq!(try_with(nkey, sig, nonce), Err(Reason::BadSignature), "{nkey} {sig} {nonce}");
    }
}

#[test]
fn bad_signature_is_never_skipped_for_another_credential() {
    let key = nkeys::KeyPair::new_user().public_key();
    let fields = [("nkey", key.as_str()), ("sig", "AAAA"), ("user", "a"), ("pass", "b")];
    assert_eq!(chosen(&fields), Err(Reason::BadSignature));
}

#[test]
fn sentinel_signature_is_no_credential_in_operator_mode_only() {
    let sentinel = nats_user_jwt();
    let user = nkeys::KeyPair::new_user();
    let sig = BASE64URL_NOPAD.encode(&user.sign(NONCE.as_bytes()).unwrap());
    let key = user.public_key();
    let fields = [("jwt", sentinel.as_str()), ("nkey", &key), ("sig", &sig)];
    let with = |mode| choose(options(&fields), NONCE, None, mode).map(|c| c.kind());
    assert_eq!(with(Mode::Operator).unwrap(), "none");
    assert_eq!(with(Mode::Configuration).unwrap(), "nkey");
    let token = [("jwt", sentinel.as_str()), ("sig", &sig), ("auth_token", "t")];
    assert_eq!(choose(options(&token), NONCE, None, Mode::Operator).unwrap().kind(), "token");
}

#[test]
fn oversized_credentials_are_refused_before_any_work() {
    let (password, token) = ("p".repeat(MAX_PASSWORD + 1), "t".repeat(MAX_TOKEN + 1));
    let user = "u".repeat(MAX_USER + 1);
    assert_eq!(chosen(&[("user", "a"), ("pass", &password)]), Err(Reason::BadPassword));
    assert_eq!(chosen(&[("auth_token", &token)]), Err(Reason::BadToken));
    assert_eq!(chosen(&[("user", &user), ("pass", "p")]), Err(Reason::UnknownUser));
}

#[test]
fn name_with_invisible_characters_reaches_no_authenticator() {
    for name in [
        "a\0",
        "a\r\nb",
        "\tb",
        "\u{7f}",
        "\u{85}",
        "\u{1b}[2J",
        "ali\u{200b}ce",
        "\u{202e}ecila",
        "\u{feff}alice",
        "alice\u{2028}",
        "a\u{fffd}",
    ] {
        let fields = [("user", name), ("pass", "p")];
        assert_eq!(chosen(&fields), Err(Reason::UnknownUser), "{name:?}");
    }
    assert_eq!(chosen(&[("user", "Ana María"), ("pass", "p")]).as_deref(), Ok("Ana María/p"));
}
