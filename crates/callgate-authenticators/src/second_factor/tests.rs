//! Codes at the authenticators that have entries.

use std::{fs, time::Duration};

use callgate::{
    authn::{Authenticator, Identity},
    clock::UnixTime,
    connection::ConnectionKind,
    request::Credential,
};
use callgate_config::{Document, Format, Report, Sources, Table, Type};

use super::*;
use crate::kind::{Registry, SECOND_FACTOR_KEYS, SharedResources};

/// The secret of RFC 6238 in base32, and some of its codes.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// The time of [`CODE`], in the middle of its period.
const NOW: i64 = 1_111_111_111;
const CODE: &str = "050471";
/// The code of the period before.
const EARLIER: &str = "081804";

/// A users file with `alice`, who has a code, and `bob`, who has none.
struct Bench {
    folder: tempfile::TempDir,
    shared: Arc<SharedResources>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = format!(
            r#"{{ "alice": {{ "pass": "hunter2", "token": "alice-token",
                              "totp": "otpauth://totp/alice?secret={SECRET}" }},
                  "bob": {{ "pass": "builder", "roles": [] }} }}"#
        );
        fs::write(folder.path().join("users.json"), users).unwrap();
        Self { folder, shared: Arc::new(SharedResources::new(1)) }
    }

    /// The users of the file.
    fn build(&self, second_factor: &str) -> Arc<dyn Authenticator> {
        self.build_kind("[users]\nfile = \"users.json\"", second_factor)
    }

    fn build_kind(&self, kind: &str, second_factor: &str) -> Arc<dyn Authenticator> {
        let (settings, report) = read(second_factor, true);
        assert!(report.is_faultless(), "{:?}", report.faults());
        let sources = Sources::new(self.folder.path());
        let mut context = BuildContext::new("staff", sources.clone(), Arc::clone(&self.shared));
        context.second_factor = settings;
        let document = Document::parse(kind.as_bytes(), Format::Toml).unwrap();
        let report = Report::new();
        let mut entry = Table::root(&document, "", &report, &sources);
        let registry = Registry::builtin();
        let (kind, table) = registry.kind_of(&mut entry).unwrap();
        let built = kind.build(&context, table);
        built.unwrap_or_else(|| panic!("{:?}", report.faults()))
    }
}

fn read(toml: &str, has_entries: bool) -> (SecondFactorSettings, Report) {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let report = Report::new();
    let sources = Sources::new(".");
    let table =
        Table::root(&document, "", &report, &sources).with_keys(Type::Table(SECOND_FACTOR_KEYS));
    (SecondFactorSettings::read(table, has_entries), report)
}

fn login(user: &str, sent: &str) -> AuthRequest {
    let credential = Credential::Password { user: user.to_owned(), password: Secret::from(sent) };
    AuthRequest::for_tests(credential)
        .received_at(UnixTime::from_seconds(NOW))
        .due_at(Instant::now() + Duration::from_secs(60))
}

async fn answer(
    authenticator: &Arc<dyn Authenticator>,
    request: &AuthRequest,
) -> Result<Identity, Reason> {
    match authenticator.authenticate(request).await {
        Ok(identity) => Ok(identity),
        Err(Decline::Rejected(rejection)) => Err(rejection.reason),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn totp_code_counts_once() {
    let bench = Bench::new();
    let staff = bench.build("");
    let sent = format!("hunter2{CODE}");
    assert_eq!(answer(&staff, &login("alice", &sent)).await.unwrap().user, "alice");
    // Not a second time, also from another address or through a reloaded configuration.
    let again = login("alice", &sent);
    let elsewhere = login("alice", &sent).from_ip([10, 0, 0, 9].into());
    for request in [again, elsewhere] {
        assert_eq!(answer(&staff, &request).await, Err(Reason::BadSecondFactor));
        assert_eq!(answer(&bench.build(""), &request).await, Err(Reason::BadSecondFactor));
    }
    // The code before it is older than one that was used.
    let earlier = login("alice", &format!("hunter2{EARLIER}"));
    assert_eq!(answer(&staff, &earlier).await, Err(Reason::BadSecondFactor));
    // Of many simultaneous logins, one is admitted.
    let bench = Bench::new();
    let staff = bench.build("");
    let requests: Vec<_> = (0..16).map(|_| login("alice", &sent)).collect();
    let answers = requests.iter().map(|request| answer(&staff, request));
    let answers = futures_util::future::join_all(answers).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test]
async fn codes_count_within_the_skew() {
    for (skew, offset, good) in
        [(0, 0, true), (0, 30, false), (1, 30, true), (1, -30, true), (1, 60, false), (2, 60, true)]
    {
        let staff = Bench::new().build(&format!("skew = {skew}"));
        let request = login("alice", &format!("hunter2{CODE}"));
        let request = request.received_at(UnixTime::from_seconds(NOW + offset));
        let expected = if good { Ok("alice".to_owned()) } else { Err(Reason::BadSecondFactor) };
        let found = answer(&staff, &request).await.map(|identity| identity.user);
        assert_eq!(found, expected, "{skew} {offset}");
    }
}

#[tokio::test]
async fn password_and_code_are_divided_as_configured() {
    for (settings, sent, good) in [
        ("", format!("hunter2{CODE}"), true),
        ("", format!("{CODE}hunter2"), false),
        ("", format!("hunter2 {CODE}"), false),
        ("position = \"before\"", format!("{CODE}hunter2"), true),
        ("separator = \",\"", format!("hunter2,{CODE}"), true),
        ("separator = \",\"", format!("hunter2{CODE}"), false),
        ("separator = \",\"\nposition = \"before\"", format!("{CODE},hunter2"), true),
    ] {
        let staff = Bench::new().build(settings);
        let found = answer(&staff, &login("alice", &sent)).await;
        assert_eq!(found.is_ok(), good, "{settings} {sent}: {found:?}");
    }
    for sent in ["", "1", CODE, "ä123456", "hunter2１２３４５６"] {
        let staff = Bench::new().build("");
        let found = answer(&staff, &login("alice", sent)).await;
        assert!(found.is_err(), "{sent}");
    }
}

#[tokio::test]
async fn totp_attempts_are_counted_by_canonical_name() {
    let bench = Bench::new();
    let staff = bench.build("attempts = 3");
    // Wrong passwords are not wrong codes.
    for _ in 0..10 {
        let request = login("alice", "wrong000000");
        assert_eq!(answer(&staff, &request).await, Err(Reason::BadPassword));
    }
    for octet in 1..=3 {
        // Neither another source nor another connection resets the count.
        let request = login("alice", "hunter2000000").from_ip([10, 0, 0, octet].into());
        assert_eq!(answer(&staff, &request).await, Err(Reason::BadSecondFactor));
    }
    let good = login("alice", &format!("hunter2{CODE}"));
    assert_eq!(answer(&staff, &good).await, Err(Reason::BadSecondFactor));
    // Nor does a reload.
    assert_eq!(answer(&bench.build(""), &good).await, Err(Reason::BadSecondFactor));
    // Others are not affected.
    assert!(answer(&staff, &login("bob", "builder")).await.is_ok());
}

#[tokio::test]
async fn totp_cannot_be_skipped_by_another_way_in() {
    let bench = Bench::new();
    let staff = bench.build("");
    for connection in [
        ConnectionKind::Nats,
        ConnectionKind::WebSocket,
        ConnectionKind::Mqtt,
        ConnectionKind::LeafNode,
    ] {
        let request = login("alice", "hunter2").over(connection);
        assert_eq!(answer(&staff, &request).await, Err(Reason::BadSecondFactor), "{connection:?}");
    }
    // A remembered password is only the password.
    assert!(answer(&staff, &login("alice", &format!("hunter2{CODE}"))).await.is_ok());
    for sent in ["hunter2", &format!("hunter2{CODE}"), "hunter2000000"] {
        assert_eq!(answer(&staff, &login("alice", sent)).await, Err(Reason::BadSecondFactor));
    }
    // A code is not a password.
    assert_eq!(answer(&staff, &login("alice", CODE)).await, Err(Reason::BadPassword));
    // The token of the entry is a credential of its own, and needs no code.
    let token = AuthRequest::for_tests(Credential::Token("alice-token".into()));
    assert!(answer(&staff, &token).await.is_ok());
    // With `required`, an entry without a secret cannot log in with a password.
    let strict = bench.build("required = true");
    assert_eq!(answer(&strict, &login("bob", "builder")).await, Err(Reason::BadSecondFactor));
    assert_eq!(answer(&strict, &login("bob", "wrong")).await, Err(Reason::BadPassword));
}

#[tokio::test]
async fn remembered_pair_counts_again_from_the_same_source_only() {
    let staff = Bench::new().build("remember = \"1h\"");
    let sent = format!("hunter2{CODE}");
    let later = |sent: &str| login("alice", sent).received_at(UnixTime::from_seconds(NOW + 600));
    assert!(answer(&staff, &login("alice", &sent)).await.is_ok());
    assert!(answer(&staff, &later(&sent)).await.is_ok());
    let elsewhere = later(&sent).from_ip([10, 0, 0, 9].into());
    assert_eq!(answer(&staff, &elsewhere).await, Err(Reason::BadSecondFactor));
    let other = later(&format!("hunter2{EARLIER}"));
    assert_eq!(answer(&staff, &other).await, Err(Reason::BadSecondFactor));
}

#[tokio::test]
async fn replicas_that_cannot_be_asked_refuse() {
    let staff = Bench::new().build("replay_bucket = \"codes\"");
    let request = login("alice", &format!("hunter2{CODE}"));
    let answer = staff.authenticate(&request).await;
    assert!(matches!(answer, Err(Decline::Unavailable(_))), "{answer:?}");
}

#[cfg(feature = "certificate")]
#[tokio::test]
async fn certificate_is_required_besides_the_password() {
    use callgate::request::Certificate;
    use callgate_testkit::client_certificates::{ClientAuthority, client_params};

    let bench = Bench::new();
    let root = ClientAuthority::root("devices");
    fs::write(bench.folder.path().join("devices.pem"), root.pem()).unwrap();
    let devices = bench.build_kind("[certificate]\nca = \"devices.pem\"\nuser = \"cn\"", "");
    let both = |same_user| -> Arc<dyn Authenticator> {
        Arc::new(RequireCertificate::new(bench.build(""), Arc::clone(&devices), same_user))
    };
    let with = |authority: &ClientAuthority, name: &str, password: &str| {
        let leaf = authority.sign(&client_params(name, vec![], 1)).pem;
        let certificate = Certificate {
            verified_chains: vec![vec![leaf, authority.pem().to_owned()]],
            tls_version: "1.3".to_owned(),
            cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
        };
        login("bob", password).received_at(UnixTime::now()).with_certificate(certificate)
    };
    let identity = answer(&both(true), &with(&root, "bob", "builder")).await.unwrap();
    assert_eq!(identity.user, "bob");
    assert_eq!(identity.expires_at.unwrap().to_string(), "2099-01-01T00:00:00Z");
    let refused = Err(Reason::BadSecondFactor);
    assert_eq!(answer(&both(true), &login("bob", "builder")).await, refused);
    assert_eq!(answer(&both(true), &with(&root, "alice", "builder")).await, refused);
    assert!(answer(&both(false), &with(&root, "alice", "builder")).await.is_ok());
    let other = ClientAuthority::root("devices");
    assert_eq!(answer(&both(false), &with(&other, "bob", "builder")).await, refused);
    // The password is judged first.
    let wrong = answer(&both(true), &with(&root, "bob", "wrong")).await;
    assert_eq!(wrong, Err(Reason::BadPassword));
}

#[test]
fn settings_are_checked() {
    for (toml, path, text) in [
        ("position = \"middle\"", "position", "`after` or `before`"),
        ("separator = \"1\"", "separator", "digits"),
        ("skew = 3", "skew", "not between"),
        ("attempts = 0", "attempts", "not between"),
        ("remember = \"25h\"", "remember", "24 hours"),
        ("same_user = true", "same_user", "needs `certificate`"),
        ("code = 1", "code", "unknown key"),
    ] {
        let (_, report) = read(toml, true);
        let faults = report.faults();
        let found = faults.iter().any(|fault| fault.path == path && fault.message.contains(text));
        assert!(found, "{toml}: {faults:?}");
    }
    let (_, report) = read("skew = 1\ncertificate = \"devices\"", false);
    assert!(report.faults().iter().any(|fault| fault.message.contains("`users`, `kv` or `sql`")));
    let warnings = |toml| read(toml, true).1.warnings().len();
    assert_eq!(warnings("replay_bucket = \"codes\""), 0);
    assert_eq!(warnings(""), 1);
    assert_eq!(warnings("replay_bucket = \"codes\"\nremember = \"1h\""), 1);
}
