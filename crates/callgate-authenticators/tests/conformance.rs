//! Every authenticator of this crate keeps the promises of the trait.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is how a test fails")]

use std::{fs, sync::Arc, time::Duration};

use callgate::{
    authn::Authenticator,
    decision::Reason,
    keys::{KeyKind, KeyPair, UserKey},
    request::{AuthRequest, Credential},
};
use callgate_authenticators::{
    kind::{BuildContext, Registry, Shared},
    settings::{Document, Format, Report, Sources, Table},
};
use callgate_testkit::conformance::Candidate;

/// Builds the authenticator of an entry of `[[authenticators]]`.
fn build(toml: &str, sources: Sources) -> Arc<dyn Authenticator> {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let report = Report::new();
    let context = BuildContext::new("candidate", sources.clone(), Arc::new(Shared::default()));
    let mut entry = Table::root(&document, "authenticators[0]", &report, &sources);
    let registry = Registry::builtin();
    let built = registry.kind_of(&mut entry).and_then(|(kind, table)| kind.build(&context, table));
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
    // The hash is of `canary-hashed`, made by argon2-cffi.
    let users = format!(
        r#"{{ "alice": {{ "pass": "canary-clear" }},
              "bob": {{ "pass": "{HASH}" }},
              "carol": {{ "token": "canary-token" }},
              "dave": {{ "nkey": "{key}" }},
              "erin": {{ "pass": "canary-erin", "disabled": true }},
              "fred": {{ "pass": "canary-fred", "expires": "2020-01-01T00:00:00Z" }} }}"#
    );
    fs::write(folder.path().join("users.json"), users).unwrap();
    let build = || build("[users]\nfile = \"users.json\"", Sources::new(folder.path()));
    let late = tokio::time::Instant::now() - Duration::from_millis(1);
    let without_time = |user| {
        let request = AuthRequest::for_tests(password(user, "canary-clear")).due_at(late);
        (build(), request)
    };
    let candidate = Candidate {
        authenticator: build(),
        good: vec![
            (password("bob", "canary-hashed"), "bob"),
            (password("alice", "canary-clear"), "alice"),
            (Credential::Token("canary-token".into()), "carol"),
            (Credential::Nkey(key), "dave"),
        ],
        bad: vec![
            (password("alice", "canary-wrong"), Reason::BadPassword),
            (password("bob", "canary-wrong"), Reason::BadPassword),
            (password("Alice", "canary-clear"), Reason::UnknownUser),
            (password("alice ", "canary-clear"), Reason::UnknownUser),
            (password("carol", "canary-token"), Reason::BadPassword),
            (password("dave", "canary-clear"), Reason::BadPassword),
            (password("nobody", "canary-clear"), Reason::UnknownUser),
            (password("erin", "canary-erin"), Reason::UserDisabled),
            (password("erin", "canary-wrong"), Reason::BadPassword),
            (password("fred", "canary-fred"), Reason::UserExpired),
        ],
        foreign: vec![
            Credential::Token("canary-other".into()),
            Credential::Nkey(nkey()),
            Credential::Certificate,
        ],
        cut_off: vec![without_time("bob"), without_time("alice"), without_time("nobody")],
        secrets: vec!["canary".to_owned(), HASH.to_owned()],
    };
    (folder, candidate)
}

const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$YawVohRCiPH+3zvHOCfk3A$Wp5y86k19UxqHMjzeJw19AmEVwfV2x+DMPueRP/LP5Q";

#[tokio::test]
async fn users_keeps_the_promises() {
    let (_folder, candidate) = users();
    candidate.check_all().await;
}
