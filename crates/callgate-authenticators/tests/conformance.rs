//! Every authenticator of this crate passes the authenticator suite of callgate-testkit.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

use std::{fs, sync::Arc, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use callgate::{
    authn::Authenticator,
    clock::UnixTime,
    keys::{KeyKind, KeyPair, Seed, UserKey},
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_authenticators::{
    kind::{BuildContext, Registry, SharedResources},
    service_tokens::mint_service_token,
};
use callgate_config::{Document, Format, Report, Sources, Table};
use callgate_testkit::conformance::{self, Candidate, foreign, logins};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

#[cfg(feature = "certificate")]
#[path = "conformance/certificate.rs"]
mod certificate;
#[cfg(any(feature = "http", feature = "introspection", feature = "nats"))]
#[path = "conformance/services.rs"]
mod services;

/// Builds the authenticator of an entry of `[[authenticators]]`.
fn build(toml: &str, sources: Sources) -> Arc<dyn Authenticator> {
    let shared = Arc::new(SharedResources::default());
    build_in(toml, &BuildContext::new("candidate", sources, shared))
}

fn build_in(toml: &str, context: &BuildContext) -> Arc<dyn Authenticator> {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), context.services.sources.clone());
    let mut entry = Table::root(&document, "authenticators[0]", &report, &sources);
    let registry = Registry::builtin();
    let built = registry.kind_of(&mut entry).and_then(|(kind, table)| kind.build(context, table));
    entry.finish();
    built.unwrap_or_else(|| panic!("{:?}", report.faults()))
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: password.into() }
}

fn nkey() -> UserKey {
    KeyPair::generate(KeyKind::User).unwrap().public_key().parse().unwrap()
}

fn users() -> (tempfile::TempDir, Candidate) {
    let folder = tempfile::tempdir().unwrap();
    let key = nkey();
    // The hash is of `canary-hashed`, by argon2-cffi.
    let users = format!(
        r#"{{ "alice": {{ "pass": "canary-clear" }},
              "bob": {{ "pass": "{HASH}" }},
              "carol": {{ "token": "canary-token" }},
              "dave": {{ "nkey": "{key}" }},
              "erin": {{ "pass": "canary-erin", "disabled": true }},
              "fred": {{ "pass": "canary-fred", "expires": "2020-01-01T00:00:00Z" }} }}"#
    );
    fs::write(folder.path().join("users.json"), users).unwrap();
    // Without clear text every login needs a hash, for which there is no time.
    let hashed = json!({ "bob": { "pass": HASH } });
    fs::write(folder.path().join("hashed.json"), hashed.to_string()).unwrap();
    let with = |file| build(&format!("[users]\nfile = \"{file}\""), Sources::new(folder.path()));
    let late = tokio::time::Instant::now() - Duration::from_millis(1);
    let without_time = |user| {
        let request = AuthRequest::for_tests(password(user, "canary-clear")).due_at(late);
        (with("hashed.json"), request)
    };
    let candidate = Candidate {
        authenticator: with("users.json"),
        good: logins([
            (password("bob", "canary-hashed"), "bob"),
            (password("alice", "canary-clear"), "alice"),
            (Credential::Token("canary-token".into()), "carol"),
            (Credential::Nkey(key), "dave"),
        ]),
        bad: logins([
            (password("alice", "canary-wrong"), Reason::BadPassword),
            (password("bob", "canary-wrong"), Reason::BadPassword),
            (password("Alice", "canary-clear"), Reason::UnknownUser),
            (password("alice ", "canary-clear"), Reason::UnknownUser),
            (password("carol", "canary-token"), Reason::BadPassword),
            (password("dave", "canary-clear"), Reason::BadPassword),
            (password("unknown", "canary-clear"), Reason::UnknownUser),
            (password("erin", "canary-erin"), Reason::UserDisabled),
            (password("erin", "canary-wrong"), Reason::BadPassword),
            (password("fred", "canary-fred"), Reason::UserExpired),
        ]),
        foreign: foreign([
            Credential::Token("canary-other".into()),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ]),
        cut_off: vec![without_time("bob"), without_time("unknown")],
        secrets: vec!["canary".to_owned(), HASH.to_owned()],
    };
    (folder, candidate)
}

const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$YawVohRCiPH+3zvHOCfk3A$Wp5y86k19UxqHMjzeJw19AmEVwfV2x+DMPueRP/LP5Q";

#[tokio::test]
async fn users_passes_the_authenticator_suite() {
    let (_folder, candidate) = users();
    candidate.check_all().await;
}

#[cfg(feature = "sql")]
#[tokio::test]
async fn sql_passes_the_authenticator_suite() {
    let (_folder, candidate) = sql().await;
    candidate.check_all().await;
}

#[cfg(feature = "kv")]
mod kv {
    use callgate_authenticators::kind::{Bucket, BucketEvent, BucketFacts, Bus, BusError};
    use futures_util::future::BoxFuture;
    use tokio::sync::mpsc;

    use super::*;

    /// A bucket with these entries that never changes.
    #[derive(Debug)]
    struct FixedBucket(Value);

    impl Bus for FixedBucket {
        fn ask<'a>(
            &'a self,
            _: &'a str,
            _: Vec<u8>,
            _: tokio::time::Instant,
        ) -> BoxFuture<'a, Result<Vec<u8>, BusError>> {
            Box::pin(async { Err(BusError::NotConnected) })
        }

        fn collect<'a>(
            &'a self,
            _: &'a str,
            _: tokio::time::Instant,
        ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, BusError>> {
            Box::pin(async { Err(BusError::NotConnected) })
        }

        fn raise<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: u64,
            _: tokio::time::Instant,
        ) -> BoxFuture<'a, Result<bool, BusError>> {
            Box::pin(async { Err(BusError::NotConnected) })
        }

        fn watch(&self, _: &Bucket) -> mpsc::Receiver<BucketEvent> {
            let entries = self.0.as_object().unwrap();
            let (events, receiver) = mpsc::channel(entries.len() + 2);
            let facts = BucketFacts { replicas: 1, is_clustered: false, max_age: None };
            events.try_send(BucketEvent::Listing(facts)).unwrap();
            for (key, entry) in entries {
                let (key, value) = (key.clone(), entry.to_string().into_bytes());
                let written = std::time::SystemTime::UNIX_EPOCH;
                let event = BucketEvent::Value { key, value, revision: 0, written };
                events.try_send(event).unwrap();
            }
            events.try_send(BucketEvent::Listed).unwrap();
            receiver
        }
    }

    #[tokio::test]
    async fn kv_passes_the_authenticator_suite() {
        let key = nkey();
        let entries = json!({
            "alice": { "pass": "canary-clear" },
            "bob": { "pass": HASH },
            "carol": { "token": "canary-token" },
            "dave": { "nkey": key.to_string() },
            "erin": { "pass": "canary-erin", "disabled": true },
            "fred": { "pass": "canary-fred", "expires": "2020-01-01T00:00:00Z" },
            "gina": { "pass": "canary-gina", "rolls": [] },
        });
        let with = |bus: Option<Arc<dyn Bus>>| {
            let shared = Arc::new(SharedResources::default());
            let mut context = BuildContext::new("candidate", Sources::new("."), shared);
            context.services.background = true;
            context.services.bus = bus;
            build_in("[kv]\nbucket = \"users\"", &context)
        };
        let authenticator = with(Some(Arc::new(FixedBucket(entries))));
        while authenticator.readiness() != callgate::authn::Readiness::Ready {
            tokio::task::yield_now().await;
        }
        let never_read = |credential| (with(None), AuthRequest::for_tests(credential));
        let candidate = Candidate {
            authenticator,
            good: logins([
                (password("bob", "canary-hashed"), "bob"),
                (password("alice", "canary-clear"), "alice"),
                (Credential::Token("canary-token".into()), "carol"),
                (Credential::Nkey(key), "dave"),
            ]),
            bad: logins([
                (password("alice", "canary-wrong"), Reason::BadPassword),
                (password("Alice", "canary-clear"), Reason::UnknownUser),
                (password("carol", "canary-token"), Reason::BadPassword),
                (password("unknown", "canary-clear"), Reason::UnknownUser),
                (password("erin", "canary-erin"), Reason::UserDisabled),
                (password("erin", "canary-wrong"), Reason::BadPassword),
                (password("fred", "canary-fred"), Reason::UserExpired),
                (password("gina", "canary-gina"), Reason::UserDisabled),
            ]),
            foreign: foreign([
                Credential::Token("canary-other".into()),
                Credential::Nkey(nkey()),
                Credential::Certificate,
            ]),
            cut_off: vec![
                never_read(password("bob", "canary-hashed")),
                never_read(Credential::Token("canary-token".into())),
            ],
            secrets: vec!["canary".to_owned(), HASH.to_owned()],
        };
        candidate.check_all().await;
    }
}

#[tokio::test]
async fn oidc_passes_the_authenticator_suite() {
    let (_folder, candidate) = oidc();
    candidate.check_all().await;
}

#[cfg(all(feature = "ldap", feature = "slapd"))]
#[tokio::test]
async fn ldap_passes_the_authenticator_suite() {
    let (_slapd, candidate) = ldap().await;
    candidate.check_all().await;
}

#[tokio::test]
async fn service_tokens_passes_the_authenticator_suite() {
    let candidate = service_tokens();
    conformance::admits_a_proven_credential(&candidate).await;
    conformance::answers_not_mine_to_credentials_of_other_kinds(&candidate).await;
    conformance::rejects_a_wrong_credential(&candidate).await;
    conformance::never_shows_a_secret(&candidate).await;
    conformance::survives_being_dropped_and_asked_again(&candidate).await;
    // It has no source that could be unavailable.
}

#[cfg(feature = "anonymous")]
#[tokio::test]
async fn anonymous_passes_the_authenticator_suite() {
    let toml = "[anonymous]\nuser = \"guest\"\npermissions = {}";
    let candidate = Candidate {
        authenticator: build(toml, Sources::new(".")),
        good: logins([(Credential::Anonymous, "guest")]),
        bad: Vec::new(),
        foreign: foreign([
            password("guest", "canary"),
            password("guest", ""),
            Credential::Token("canary".into()),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ]),
        cut_off: Vec::new(),
        secrets: vec!["canary".to_owned()],
    };
    conformance::admits_a_proven_credential(&candidate).await;
    conformance::answers_not_mine_to_credentials_of_other_kinds(&candidate).await;
    conformance::never_shows_a_secret(&candidate).await;
    conformance::survives_being_dropped_and_asked_again(&candidate).await;
    // No credential of its kind is wrong, and it has no source that could be unavailable.
}

#[cfg(feature = "sql")]
async fn sql() -> (tempfile::TempDir, Candidate) {
    use sqlx::{AssertSqlSafe, ConnectOptions, Executor, sqlite::SqliteConnectOptions};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let table = format!(
        "CREATE TABLE users (name TEXT, hash TEXT, disabled INTEGER);
         INSERT INTO users VALUES ('bob', '{HASH}', 0), ('erin', '{HASH}', 1), ('fred', 'canary-clear', 0);
         CREATE TABLE machines (name TEXT, nkey TEXT);"
    );
    connection.execute(AssertSqlSafe(table)).await.unwrap();
    let key = nkey();
    let machine = sqlx::query("INSERT INTO machines VALUES ('dave', ?)").bind(key.as_str());
    machine.execute(&mut connection).await.unwrap();
    let with = |url: &str| {
        let query = "SELECT name AS user, hash AS password, disabled FROM users WHERE name = ?";
        let toml = format!(
            "[sql]\nurl = \"{url}\"\nquery = \"{query}\"\n\
             token_query = \"SELECT 'carol' AS user WHERE ? = '{CANARY_TOKEN}'\"\n\
             nkey_query = \"SELECT name AS user FROM machines WHERE nkey = ?\""
        );
        build(&toml, Sources::new(folder.path()))
    };
    let far_off = tokio::time::Instant::now() + Duration::from_secs(60);
    let ask = || AuthRequest::for_tests(password("bob", "canary-hashed")).due_at(far_off);
    let candidate = Candidate {
        authenticator: with("sqlite:users.db"),
        good: logins([
            (password("bob", "canary-hashed"), "bob"),
            (Credential::Token("canary-token".into()), "carol"),
            (Credential::Nkey(key), "dave"),
        ]),
        bad: logins([
            (password("bob", "canary-wrong"), Reason::BadPassword),
            (password("bob", ""), Reason::BadPassword),
            (password("fred", "canary-clear"), Reason::BadPassword),
            (password("unknown", "canary-hashed"), Reason::UnknownUser),
            (password("erin", "canary-hashed"), Reason::UserDisabled),
            (password("erin", "canary-wrong"), Reason::BadPassword),
        ]),
        foreign: foreign([
            Credential::Token("canary-other".into()),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ]),
        cut_off: vec![
            (with("sqlite:missing.db"), ask()),
            // Nothing listens on port 1.
            (with("postgres://callgate:canary-service@127.0.0.1:1/app"), ask()),
            (with("mysql://callgate:canary-service@127.0.0.1:1/app"), ask()),
        ],
        secrets: vec!["canary".to_owned(), HASH.to_owned(), CANARY_TOKEN.to_owned()],
    };
    (folder, candidate)
}

/// The SHA-256 of `canary-token`.
#[cfg(feature = "sql")]
const CANARY_TOKEN: &str = "4b598de5faa6a2208f99f7b8a6b61378ac7d7a36d9524056e9be61c17c37667f";

fn oidc() -> (tempfile::TempDir, Candidate) {
    let folder = tempfile::tempdir().unwrap();
    let key = Ed25519KeyPair::generate().unwrap();
    let x = BASE64URL_NOPAD.encode(key.public_key().as_ref());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x}]});
    fs::write(folder.path().join("keys.json"), keys.to_string()).unwrap();
    let issuer = "[oidc]\nissuer = \"https://issuer.example\"\naudience = \"nats\"\n";
    let with = |keys: &str| build(&format!("{issuer}{keys}"), Sources::new(folder.path()));
    let now = UnixTime::now().seconds();
    let token = |changes: Value| {
        let mut claims = json!({
            "iss": "https://issuer.example", "aud": "nats", "sub": "alice", "exp": now + 600,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(json!({"alg": "EdDSA", "kid": "1"})), part(claims));
        let signature = key.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    };
    let good = token(json!({}));
    let forged = conformance::forged(&good);
    // Nothing listens on port 1, so there are no keys.
    let without_keys = with("jwks_url = \"http://127.0.0.1:1/\"\ninsecure_http = true");
    let bearer = |token: &str| Credential::Token(token.into());
    let candidate = Candidate {
        authenticator: with("jwks_file = \"keys.json\""),
        good: logins([(bearer(&good), "alice"), (bearer(&token(json!({"sub": "bob"}))), "bob")]),
        bad: logins([
            (bearer(&forged), Reason::BadToken),
            (bearer(&token(json!({"sub": ""}))), Reason::BadToken),
            (bearer(&token(json!({"exp": now - 1}))), Reason::TokenExpired),
            (bearer(&token(json!({"aud": "other"}))), Reason::WrongAudience),
        ]),
        foreign: foreign([
            bearer("not a JWT"),
            bearer(&token(json!({"iss": "https://other.example"}))),
            password("alice", &good),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ]),
        cut_off: vec![(without_keys, AuthRequest::for_tests(bearer(&good)))],
        secrets: vec![good.clone(), good[good.len() - 40..].to_owned()],
    };
    (folder, candidate)
}

#[cfg(all(feature = "ldap", feature = "slapd"))]
async fn ldap() -> (callgate_testkit::ldap::Slapd, Candidate) {
    let entries = "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\n\
                   o: Example\ndc: example\n\n\
                   dn: uid=alice,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: alice\n\
                   cn: Alice\nsn: A\nuserPassword: canary-alice\n\n\
                   dn: uid=twin,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: twin\n\
                   uid: alias\ncn: Twin\nsn: T\nuserPassword: canary-twin\n";
    let slapd = callgate_testkit::ldap::Slapd::start(entries).await;
    let (admin, admin_password) = slapd.admin();
    let with = |url: &str, base: &str| {
        let toml = format!(
            "[ldap]\nurl = \"{url}\"\nbase = \"{base}\"\nbind_dn = \"{admin}\"\n\
             bind_password = \"{admin_password}\"\nconnect_timeout = \"20s\""
        );
        build(&toml, Sources::new("."))
    };
    let alice = || AuthRequest::for_tests(password("alice", "canary-alice"));
    let base = "dc=example,dc=org";
    let late = tokio::time::Instant::now() - Duration::from_millis(1);
    let candidate = Candidate {
        authenticator: with(&slapd.url(), base),
        good: logins([
            (password("alice", "canary-alice"), "alice"),
            (password("ALICE", "canary-alice"), "alice"),
        ]),
        bad: logins([
            (password("alice", "canary-wrong"), Reason::BadPassword),
            (password("alice", ""), Reason::BadPassword),
            (password("", "canary-alice"), Reason::BadPassword),
            (password("al*", "canary-alice"), Reason::UnknownUser),
            (password("unknown", "canary-alice"), Reason::UnknownUser),
        ]),
        foreign: foreign([
            Credential::Token("canary-token".into()),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ]),
        cut_off: vec![
            // Nothing listens on port 1.
            (with("ldap://127.0.0.1:1", base), alice()),
            (with(&slapd.url(), "dc=missing"), alice()),
            (with(&slapd.url(), base), alice().due_at(late)),
            // An entry with two names is not a user.
            (with(&slapd.url(), base), AuthRequest::for_tests(password("twin", "canary-twin"))),
        ],
        secrets: vec!["canary".to_owned()],
    };
    (slapd, candidate)
}

fn service_tokens() -> Candidate {
    let key = KeyPair::generate(KeyKind::User).unwrap();
    let (public, now) = (key.public_key(), UnixTime::now());
    let toml = format!(
        "[service_tokens]\naudience = \"nats\"\n[[service_tokens.services]]\n\
         public_key = \"{public}\"\nuser = \"svc\"\nroles = []"
    );
    let mint = |key: &KeyPair, user: &str, seconds: u64, audience: &str| {
        let seed = Seed::parse(key.seed().expose()).unwrap();
        let ttl = Duration::from_secs(seconds);
        mint_service_token(seed, user, ttl, Some(audience), now).unwrap()
    };
    let good = mint(&key, "svc", 600, "nats");
    let forged = conformance::forged(&good);
    let by_other_key = mint(&KeyPair::generate(KeyKind::User).unwrap(), "svc", 600, "nats");
    let bearer = |token: &str| Credential::Token(token.into());
    Candidate {
        authenticator: build(&toml, Sources::new(".")),
        good: logins([(bearer(&good), "svc")]),
        bad: logins([
            (bearer(&forged), Reason::BadToken),
            (bearer(&mint(&key, "other", 600, "nats")), Reason::BadToken),
            (bearer(&mint(&key, "svc", 3601, "nats")), Reason::TokenLifetime),
            (bearer(&mint(&key, "svc", 600, "other")), Reason::WrongAudience),
        ]),
        foreign: foreign([
            bearer("not a JWT"),
            bearer(&by_other_key),
            password("svc", &good),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ]),
        cut_off: Vec::new(),
        secrets: vec![good.clone(), key.seed().expose().to_owned()],
    }
}
