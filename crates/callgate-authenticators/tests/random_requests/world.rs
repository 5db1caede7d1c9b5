//! The callout under test and its users.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use callgate::{
    Callgate,
    authn::{Authenticator, Chain, Decline, Identity, Link},
    keys::{AccountSigner, CurveKey},
    policy::{
        Policy,
        settings::{
            AccountSettings, AuthenticatorPolicy, AuthenticatorSelector, BindingSettings,
            PolicySettings, RoleSettings,
        },
    },
    record::Decision,
    request::{AuthRequest, Credential},
    secret::Secret,
};
use callgate_authenticators::kind::{BuildContext, Registry, SharedResources};
use callgate_config::{Document, Format, Report, Sources, Table};
use callgate_testkit::{CurveKey as TestCurve, Nkey};
use futures_util::future::BoxFuture;
use tempfile::TempDir;

pub(crate) const NOW: i64 = 1_800_000_000;
/// Part of every secret; no record may contain it.
pub(crate) const CANARY: &str = "canarybird";
/// The users that may be admitted.
pub(crate) const ADMITTED: [&str; 4] = ["alice", "hashed", "robot", "svc"];
/// Of `right`, by argon2-cffi, with cheap parameters.
const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$e6/13tu7V6o15jwnpJRyTg$kf0QnvWVm+l6eOpAEsRcMEGpMkeXS8f84yyFvMyZnUA";

pub(crate) struct World {
    pub(crate) callout: Callgate,
    pub(crate) issuer: Nkey,
    pub(crate) xkey: TestCurve,
    pub(crate) robot: Nkey,
    pub(crate) service: Nkey,
    _folder: TempDir,
}

impl World {
    pub(crate) fn new(observer: impl Fn(&Decision) + Send + Sync + 'static) -> Self {
        let (issuer, xkey) = (Nkey::account(), TestCurve::generate());
        let (robot, service) = (Nkey::user(), Nkey::user());
        let folder = tempfile::tempdir().unwrap();
        let users = serde_json::json!({
            "alice": { "pass": CANARY }, "hashed": { "pass": HASH },
            "robot": { "nkey": robot.public() }, "badly.named": { "pass": CANARY },
            "off": { "pass": CANARY, "disabled": true }, "homeless": { "pass": CANARY },
        });
        fs::write(folder.path().join("users.json"), users.to_string()).unwrap();
        let services = format!(
            "[[services]]\npublic_key = \"{}\"\nuser = \"svc\"\nroles = [\"r\"]",
            service.public()
        );
        let links = vec![
            link("faulty", Arc::new(Faulty)),
            link("tokens", build("service_tokens", &services, &folder)),
            link("users", build("users", "file = \"users.json\"", &folder)),
        ];
        let signer = AccountSigner::from_seed(&Secret::new(issuer.seed())).unwrap();
        let callout = Callgate::builder(signer)
            .xkey(CurveKey::from_seed(&Secret::new(xkey.seed())).unwrap())
            .chain(Chain::new(links), Arc::new(policy()))
            .on_decision(observer)
            .build()
            .unwrap();
        Self { callout, issuer, xkey, robot, service, _folder: folder }
    }
}

fn link(name: &str, authenticator: Arc<dyn Authenticator>) -> Link {
    // Short, so that a hanging request does not delay the test.
    let timeout = Duration::from_millis(if name == "faulty" { 5 } else { 10_000 });
    Link { name: name.into(), authenticator, timeout, required: true }
}

fn build(kind: &str, table: &str, folder: &TempDir) -> Arc<dyn Authenticator> {
    let document = Document::parse(table.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new(folder.path()));
    let mut context = BuildContext::new(kind, sources.clone(), Arc::new(SharedResources::new(2)));
    context.policy.roles = Arc::new(["r".to_owned()].into());
    let registry = Registry::builtin();
    let table = Table::root(&document, "", &report, &sources);
    let built = registry.find(kind).unwrap().build(&context, table);
    built.unwrap_or_else(|| panic!("{:?}", report.faults()))
}

fn policy() -> Policy {
    let mut role = RoleSettings::default();
    role.publish.allow = vec!["t.{{ user }}.>".to_owned()];
    let binding = BindingSettings {
        authenticator: AuthenticatorSelector::Named(vec!["users".into(), "tokens".into()]),
        when: Some("user != 'homeless' && !client.name.startsWith('no')".to_owned()),
        account: Some("APP".to_owned()),
        roles: vec!["r".to_owned()],
        ..BindingSettings::default()
    };
    let named = |name: &str| AuthenticatorPolicy {
        name: name.to_owned(),
        ..AuthenticatorPolicy::default()
    };
    let mut settings = PolicySettings {
        roles: BTreeMap::from([("r".to_owned(), role)]),
        bindings: vec![binding],
        authenticators: ["faulty", "tokens", "users"].map(named).into(),
        ..PolicySettings::default()
    };
    settings.accounts.accounts = vec![AccountSettings::named("APP")];
    Policy::build(settings).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// Hides the thousands of panics of [`Faulty`], which would hide one that fails the test.
pub(crate) fn hush_expected_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|place| !place.file().ends_with("world.rs")) {
            default(panic);
        }
    }));
}

/// An authenticator that misbehaves for some users.
#[derive(Debug)]
struct Faulty;

impl Authenticator for Faulty {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async move {
            let Credential::Password { user, password } = request.credential() else {
                return Err(Decline::NotMine);
            };
            match user.as_str() {
                "boom" => panic!("shown {}", password.expose()),
                "hang" => std::future::pending().await,
                "yield" => {
                    tokio::task::yield_now().await;
                    Err(Decline::NotMine)
                }
                "anonymous" => Ok(Identity::default()),
                _ => Err(Decline::NotMine),
            }
        })
    }
}
