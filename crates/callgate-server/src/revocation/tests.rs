//! Evaluates sessions of one configuration with another one. Sessions of real clients are in
//! `tests/it/revocation`.

use std::fs;

use callgate::{
    authn::GoneCause,
    connection::ConnectionKind,
    keys::{KeyKind, KeyPair},
    policy::{ConnectionInfo, ResolveRequest},
    request::Credential,
};
use callgate_config::Format;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{held::HeldRow, *};
use crate::{
    config::{self, BuildEnv, Input, Overrides},
    sessions::{Common, Values},
    system::SessionKey,
};

const CHANGED: Strictness = Strictness { strict: false, withdrawn_keys: false };
const STRICT: Strictness = Strictness { strict: true, withdrawn_keys: false };

/// A folder with a users file, a service's key and the seed of the issuer.
struct Site {
    folder: TempDir,
    service: KeyPair,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seed = KeyPair::generate(KeyKind::Account).unwrap().seed();
        fs::write(folder.path().join("issuer.seed"), seed.expose()).unwrap();
        Self { folder, service: KeyPair::generate(KeyKind::User).unwrap() }
    }

    fn users(&self, users: &Value) {
        fs::write(self.folder.path().join("users.json"), users.to_string()).unwrap();
    }

    /// The snapshot of a configuration with these sections.
    fn snapshot(&self, changes: Value) -> Snapshot {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut configuration = json!({
            "nats": { "servers": ["nats://127.0.0.1"], "user": "callgate", "password": { "env": "PATH" } },
            "issuer": { "seed": { "file": path("issuer.seed") } },
            "accounts": [{ "name": "APP" }, { "name": "OTHER" }],
            "authenticators": [
                { "name": "staff", "users": { "file": path("users.json") } },
                { "name": "services", "service_tokens": { "audience": ["nats"], "services": [
                    { "public_key": self.service.public_key(), "user": "billing", "account": "APP",
                      "permissions": { "publish": ["bills.{{ claims.region }}"] } },
                ] } },
            ],
            "session": { "jitter": 0.0 },
        });
        for (section, value) in changes.as_object().unwrap() {
            configuration[section] = value.clone();
        }
        let text = configuration.to_string().into_bytes().into();
        let input = Some(Input { text, format: Format::Json });
        let overrides = Overrides { input, ..Overrides::default() };
        let loaded = config::load(&overrides, &BuildEnv::aside());
        let faults = loaded.report.faults();
        let config = loaded.config.unwrap_or_else(|| panic!("{faults:#?}"));
        Snapshot::new(config.chain, config.policy)
    }
}

fn password(user: &str) -> AuthRequest {
    AuthRequest::for_tests(Credential::Password { user: user.to_owned(), password: "x".into() })
}

/// The session of a client that this snapshot admits.
async fn admit(snapshot: &Snapshot, request: &AuthRequest) -> Session {
    let answer = snapshot.chain.identify(request).await;
    let identity = answer.result.unwrap();
    let authenticator = answer.authenticator.unwrap();
    let question = ResolveRequest {
        authenticator: &authenticator,
        identity: &identity,
        connection: ConnectionInfo::of(request),
        callout_account: None,
        now: request.received(),
    };
    let grant = snapshot.policy.resolve(&question).unwrap();
    let client = request.client();
    Session::new(Values {
        key: SessionKey::new(&request.server().id, client.id),
        common: Arc::new(Common {
            authenticator: authenticator[..].into(),
            account: grant.account().into(),
            groups: identity.groups.iter().map(|group| group.as_str().into()).collect(),
            roles: grant.roles().iter().map(|role| role.as_str().into()).collect(),
            replica: "".into(),
        }),
        user: grant.user(),
        prefix: 0,
        client_name: "",
        mqtt_id: "",
        decision: "",
        kind: ConnectionKind::Nats,
        source: client.ip,
        since: request.received(),
        ends: grant.expires_at(),
        issued_at: identity.issued_at,
        judged: judged::record(request, &identity, &grant, &snapshot.used),
    })
}

fn entry(account: &str, publish: &[&str]) -> Value {
    json!({ "pass": "x", "account": account, "permissions": { "publish": publish } })
}

#[tokio::test]
async fn users_file_ends_exactly_the_sessions_that_it_no_longer_grants() {
    let site = Site::new();
    site.users(&json!({ "alice": entry("APP", &["foo.>", "bar"]), "bob": entry("APP", &["x"]) }));
    let before = site.snapshot(json!({}));
    let alice = admit(&before, &password("alice")).await;
    let now = UnixTime::now();
    assert_eq!(before.judge(&alice, STRICT, now), None);
    let gone = |cause| (Some(Cause::Gone(cause)), Some(Cause::Gone(cause)));
    let smaller = (Some(Cause::GrantSmaller), Some(Cause::GrantSmaller));
    let with = |key: &str, value: Value| {
        let mut entry = entry("APP", &["foo.>", "bar"]);
        entry[key] = value;
        entry
    };
    for (entry, (changed, strict)) in [
        // The same, a wider list, and a rule that another one contains.
        (entry("APP", &["bar", "foo.>"]), (None, None)),
        (entry("APP", &["foo.>", "foo.*", "bar"]), (None, None)),
        (entry("APP", &["foo.>", "bar", "baz"]), (None, Some(Cause::GrantDiffers))),
        (entry("APP", &["foo.*", "bar"]), smaller),
        (entry("OTHER", &["foo.>", "bar"]), smaller),
        (with("pass", json!("y")), gone(GoneCause::CredentialChanged)),
        (with("disabled", json!(true)), gone(GoneCause::UserDisabled)),
        (with("expires", json!("2001-01-01T00:00:00Z")), gone(GoneCause::UserExpired)),
        (with("expires_after", json!("1m")), smaller),
        (with("source", json!(["10.0.0.0/8"])), smaller),
        (with("connection_types", json!(["mqtt"])), smaller),
    ] {
        site.users(&json!({ "alice": entry.clone() }));
        let now_in_force = site.snapshot(json!({}));
        assert_eq!(now_in_force.judge(&alice, CHANGED, now), changed, "{entry}");
        assert_eq!(now_in_force.judge(&alice, STRICT, now), strict, "{entry}");
    }
    site.users(&json!({ "bob": entry("APP", &["x"]) }));
    let removed = site.snapshot(json!({}));
    let cause = removed.judge(&alice, CHANGED, now);
    assert_eq!(cause, Some(Cause::Gone(GoneCause::UserRemoved)));
}

#[tokio::test]
async fn configuration_ends_sessions_of_what_it_no_longer_has() {
    let site = Site::new();
    site.users(&json!({ "alice": entry("APP", &["foo"]) }));
    let alice = admit(&site.snapshot(json!({})), &password("alice")).await;
    let now = UnixTime::now();
    let path = site.folder.path().join("users.json").display().to_string();
    let renamed = json!([{ "name": "people", "users": { "file": path } }]);
    for (changes, cause) in [
        (json!({ "authenticators": renamed }), Some(Cause::AuthenticatorRemoved)),
        (json!({ "accounts": [{ "name": "OTHER" }] }), Some(Cause::AccountRemoved)),
        (json!({ "session": { "max_lifetime": "10m", "jitter": 0.0 } }), Some(Cause::GrantSmaller)),
        (json!({ "session": { "max_lifetime": "2h", "jitter": 0.0 } }), None),
        (json!({ "session": { "max_lifetime": "none" } }), None),
    ] {
        assert_eq!(site.snapshot(changes.clone()).judge(&alice, STRICT, now), cause, "{changes}");
    }
    // A session that ends by itself is left to its server.
    let ended = alice.ends().unwrap();
    let none = site.snapshot(json!({ "authenticators": renamed }));
    assert_eq!(none.judge(&alice, STRICT, ended), None);
}

#[tokio::test]
async fn claims_that_were_not_kept_are_not_judged() {
    let site = Site::new();
    site.users(&json!({}));
    let before = site.snapshot(json!({}));
    let now = UnixTime::now();
    let claims = json!({
        "iss": site.service.public_key(), "sub": "billing", "aud": "nats", "region": "eu",
        "iat": now.seconds(), "exp": now.seconds() + 1800, "level": "gold",
    });
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(json!({"typ": "JWT", "alg": "EdDSA"})), part(claims));
    let signature = site.service.sign(signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
    let request = AuthRequest::for_tests(Credential::Token(token.as_str().into()));
    let billing = admit(&before, &request).await;
    let kept = String::from_utf8(billing.judged().unwrap().to_vec()).unwrap();
    assert!(kept.contains("eu") && !kept.contains("gold"), "{kept}");
    assert!(!kept.contains(&token), "{kept}");
    assert_eq!(before.judge(&billing, STRICT, now), None);

    let roles = json!({ "gold": { "publish": ["gold"] } });
    let binding =
        |when: &str| json!([{ "authenticator": "services", "when": when, "roles": ["gold"] }]);
    let by_region = site.snapshot(json!({
        "roles": roles, "bindings": binding("claims.region == 'eu'")
    }));
    assert_eq!(by_region.judge(&billing, CHANGED, now), None);
    let by_level = site.snapshot(json!({
        "roles": roles, "bindings": binding("claims.level == 'gold'")
    }));
    assert_eq!(by_level.judge(&billing, CHANGED, now), None);
    assert_eq!(by_level.judge(&billing, STRICT, now), Some(Cause::NotJudged));
}

#[test]
fn more_than_ten_and_more_than_the_share_are_held() {
    for (ending, all, expected) in
        [(10, 10, false), (11, 11, true), (11, 100, false), (20, 100, false), (21, 100, true)]
    {
        assert_eq!(held::is_held(ending, all, 0.2), expected, "{ending} of {all}");
    }
    assert!(!held::is_held(100, 100, 1.0));
}

#[tokio::test]
async fn replicas_name_the_same_change_alike() {
    let site = Site::new();
    site.users(&json!({ "alice": entry("APP", &["x"]), "bob": entry("APP", &["x"]) }));
    let snapshot = site.snapshot(json!({}));
    let mut ending = Vec::new();
    for user in ["alice", "bob", "alice"] {
        let session = Arc::new(admit(&snapshot, &password(user)).await);
        ending.push(Ending { session, cause: Cause::Gone(GoneCause::UserRemoved) });
    }
    let since = UnixTime::from_seconds(0);
    let row = |ending: &[Ending]| -> HeldRow { held::hold(ending, 30, since).remove(0).row() };
    let all = row(&ending);
    assert_eq!((all.sessions, all.cause.as_str()), (3, "user_removed"));
    assert!((all.share - 0.1).abs() < 1e-9, "{}", all.share);
    ending.swap(0, 2);
    assert_eq!(row(&ending).id, all.id);
    assert_eq!(row(&ending[..2]).id, all.id, "another session of the same user");
    assert_ne!(row(&ending[..1]).id, all.id);
}
