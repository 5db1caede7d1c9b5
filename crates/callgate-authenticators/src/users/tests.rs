//! A users file in a temporary folder, and requests of its users.

mod changes;
mod faults;
mod logins;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use callgate::{
    authn::{Decline, GoneCause, Identity, Reassessment, SourceKey, Standing},
    clock::UnixTime,
    keys::{KeyKind, KeyPair},
    permissions::{Permissions, Responses},
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_config::{Document, Fault, Format, Report, Sources};

use super::*;
use crate::{
    kind::{CacheSettings, Observer, SharedResources},
    passwords::{Scratch, VerifiedKey},
};

/// The file of nats-by-example, `examples/auth/callout`.
const NATS_BY_EXAMPLE: &str = r#"{
  "sys": { "pass": "sys", "account": "SYS" },
  "alice": { "pass": "alice", "account": "APP" },
  "bob": { "pass": "bob", "account": "APP",
           "permissions": { "pub": { "allow": ["bob.>"] }, "sub": { "allow": ["bob.>"] },
                            "resp": { "max": 1 } } } }"#;

/// Of `right`, by argon2-cffi, with cheap parameters.
const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$e6/13tu7V6o15jwnpJRyTg$kf0QnvWVm+l6eOpAEsRcMEGpMkeXS8f84yyFvMyZnUA";
/// Of `right`, with other parameters.
const OTHER_HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$rTWG8D4HgDDmnPO+F+Jcyw$vgKQSViUovo5Kgj27Q/csdbrn+kuZRWYE0GTomc70kg";

/// Of `right`, by Python's bcrypt and by passlib, with the cheapest parameters.
const BCRYPT: &str = "$2b$04$ieAKwI9B3Zv9OuCNxR52Ne.Pg1CrXCQzT95ldDFWjM7AnHe9Z5gFq";
const PBKDF2: &str =
    "$pbkdf2-sha256$100$RiillFLqHcOY03rvHUMIAQ$R3PDX82fZy.rtqtw4XzqY/O2svS0Sil0IAt.xKlODC4";

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(users: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(users);
        folder
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("users.json")
    }

    fn write(&self, users: &str) {
        fs::write(self.path(), users).unwrap();
        self.set_mode(0o600);
    }

    fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn context(&self) -> BuildContext {
        let shared = Arc::new(SharedResources::new(1));
        BuildContext::new("staff", Sources::new(self.0.path()), shared)
    }
}

type BuiltUsers = DirectoryAuthenticator<UsersDirectory>;

/// Builds from `[authenticators.users]`; also returns errors and warnings.
fn build_from(
    toml: &str,
    context: &BuildContext,
) -> (Option<BuiltUsers>, Vec<String>, Vec<String>) {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), context.services.sources.clone());
    let table = Table::root(&document, "authenticators[0].users", &report, &sources);
    let built =
        Settings::read(context, table).map(|settings| settings.start(context.clone()).unwrap());
    // Positions have tests of their own, and the folder has another name each time.
    let plain = |fault: Fault| match fault.file.ends_with("users.json") {
        true => Fault { file: "users.json".to_owned(), position: None, ..fault }.to_string(),
        false => fault.to_string(),
    };
    let texts = |list: Vec<Fault>| list.into_iter().map(plain).collect();
    (built, texts(report.faults()), texts(report.warnings()))
}

const TABLE: &str = "file = \"users.json\"";

fn build(context: &BuildContext) -> BuiltUsers {
    let (built, faults, _) = build_from(TABLE, context);
    built.unwrap_or_else(|| panic!("{faults:?}"))
}

fn faults_of(users: &str) -> Vec<String> {
    build_from(TABLE, &Folder::with(users).context()).1
}

fn password(user: &str, password: &str) -> AuthRequest {
    let password = password.into();
    AuthRequest::for_tests(Credential::Password { user: user.to_owned(), password })
        .due_at(tokio::time::Instant::now() + Duration::from_secs(60))
}

async fn answer(users: &BuiltUsers, request: AuthRequest) -> Result<Identity, Option<Reason>> {
    users.authenticate(&request).await.map_err(|decline| match decline {
        Decline::NotMine => None,
        Decline::Rejected(rejection) => Some(rejection.reason),
        Decline::Unavailable(error) => panic!("unavailable: {error}"),
    })
}

async fn outcome(users: &BuiltUsers, user: &str, word: &str) -> Result<(), Option<Reason>> {
    answer(users, password(user, word)).await.map(|identity| assert_eq!(identity.user, user))
}
