//! Operator mode with a set made by `nsc`, the usual tool, in the way that its documentation shows.

use std::{fs, process::Command};

use callgate_testkit::{nats_server::Version, tools};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    ACCOUNTS, Fixed, Pair, Sentinel, Signers, Site, Variation, Xkey, knows_default_sentinel,
    operator::{Placed, files, service},
};
use crate::mode::Mode;

/// What the service's own user needs, as the operations manual lists it.
const CALLOUT_PUBLISH: &str = "_INBOX.>,$SYS._INBOX.>,$SYS.REQ.USER.INFO,$SRV.INFO";
const CALLOUT_SUBSCRIBE: &str = "$SYS.REQ.USER.AUTH,$SRV.>,_INBOX.>";

pub(super) fn site(mode: Mode, version: Version, variation: &Variation) -> Site {
    let nsc = Nsc::start();
    nsc.run(&["add", "operator", "--name", "conformance", "--sys", "--generate-signing-key"]);
    nsc.run(&["add", "account", "--name", "AUTH"]);
    nsc.run(&["edit", "account", "--name", "AUTH", "--sk", "generate"]);
    let placed = ACCOUNTS.map(|name| nsc.place(name));
    let user = ["add", "user", "--account", "AUTH", "--name"];
    let rights = ["--allow-pub", CALLOUT_PUBLISH, "--allow-sub", CALLOUT_SUBSCRIBE];
    nsc.run(&[&user[..], &["callgate"], &rights].concat());
    nsc.run(&[&user[..], &["sentinel", "--bearer", "--deny-pubsub", ">"]].concat());
    nsc.run(&[&user[..], &["keyed", "--deny-pubsub", ">"]].concat());
    nsc.call_out(&placed, variation);
    let callout = nsc.account("AUTH");
    let xkey = Xkey::from_seed(&nsc.seed(text(&callout["nats"]["authorization"], "xkey")));
    let issuer = nsc.signing_key(&callout, None);
    let sentinel = nsc.credentials("AUTH", "sentinel");
    let (jwt, keyed) = (jwt_of(&sentinel), jwt_of(&nsc.credentials("AUTH", "keyed")));
    let own = nsc.credentials("AUTH", "callgate");
    let watchers = placed.iter().map(|placed| (placed.name, nsc.watcher(placed.name))).collect();
    let id = text(&callout, "sub");
    Site {
        mode,
        server: nsc.server(version, &jwt),
        service: service(mode, id, &placed),
        files: files(mode, &placed, &issuer, Some(&xkey), &own),
        accounts: placed.iter().map(|placed| (placed.name, placed.own.public.clone())).collect(),
        watchers,
        system: Fixed::Credentials(nsc.credentials("SYS", "sys")),
        callout: Fixed::Credentials(own),
        sentinel: Some(Sentinel { jwt, credentials: sentinel, keyed }),
        signers: Signers {
            issuer,
            callout_account: Some(id.to_owned()),
            app: placed[0].signing.clone(),
            reader: placed[0].reader.clone(),
            xkey: Some(xkey),
        },
    }
}

/// The tool, with a separate folder for its data.
struct Nsc(TempDir);

impl Nsc {
    fn start() -> Self {
        Self(tempfile::Builder::new().prefix("callgate-nsc-").tempdir().expect("a folder"))
    }

    /// Runs one command; returns its standard output.
    ///
    /// # Panics
    /// If it fails.
    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(tools::installed("go-tools/nsc"))
            .args(["--all-dirs".as_ref(), self.0.path().as_os_str()])
            .args(arguments)
            .env("HOME", self.0.path())
            .output()
            .expect("nsc starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nsc {arguments:?}: {said}{complaint}");
        said
    }

    fn account(&self, name: &str) -> Value {
        let said = self.run(&["describe", "account", "--name", name, "--json"]);
        serde_json::from_str(&said).expect("JSON")
    }

    /// An account that users are placed in: with JetStream, a signing key and a scoped one.
    fn place(&self, name: &'static str) -> Placed {
        self.run(&["add", "account", "--name", name]);
        let storage = ["--js-mem-storage", "16M", "--js-disk-storage", "16M"];
        self.run(
            &[&["edit", "account", "--name", name, "--sk", "generate"][..], &storage].concat(),
        );
        let scope = ["--sk", "generate", "--role", "reader"];
        let template = ["--allow-pub", "probe.open.>,$SYS.REQ.USER.INFO"];
        let names = ["--allow-sub", "{{name()}}.>,_INBOX.>"];
        let edit = ["edit", "signing-key", "--account", name];
        self.run(&[&edit[..], &scope, &template, &names].concat());
        let account = self.account(name);
        Placed {
            name,
            own: Pair::from_seed(&self.seed(text(&account, "sub"))),
            signing: self.signing_key(&account, None),
            reader: self.signing_key(&account, Some("reader")),
        }
    }

    /// Makes AUTH the callout account.
    fn call_out(&self, placed: &[Placed], variation: &Variation) {
        let user =
            self.run(&["describe", "user", "--account", "AUTH", "--name", "callgate", "--json"]);
        let user: Value = serde_json::from_str(&user).expect("JSON");
        let named = variation.allowed_accounts.clone().unwrap_or(ACCOUNTS.to_vec());
        let allowed: Vec<&str> = match named.as_slice() {
            ["*"] => vec!["*"],
            names => {
                let listed = placed.iter().filter(|placed| names.contains(&placed.name));
                listed.map(|placed| placed.own.public.as_str()).collect()
            }
        };
        let (user, allowed) = (text(&user, "sub"), allowed.join(","));
        let edit = ["edit", "authcallout", "--account", "AUTH", "--curve", "generate"];
        let with = ["--auth-user", user, "--allowed-account", &allowed];
        self.run(&[&edit[..], &with].concat());
    }

    fn watcher(&self, account: &str) -> Fixed {
        self.run(&["add", "user", "--account", account, "--name", "watch"]);
        Fixed::Credentials(self.credentials(account, "watch"))
    }

    /// The credentials file that nsc writes when it adds a user.
    fn credentials(&self, account: &str, user: &str) -> String {
        let path = self.0.path().join(format!("creds/conformance/{account}/{user}.creds"));
        fs::read_to_string(path).expect("a credentials file")
    }

    /// The seed of a key that nsc keeps: `keys/A/BC/ABC….nk`.
    fn seed(&self, public: &str) -> String {
        let folder = self.0.path().join("keys").join(&public[..1]).join(&public[1..3]);
        fs::read_to_string(folder.join(format!("{public}.nk"))).expect("a key file")
    }

    /// The signing key of an account with this role, or the one without any.
    fn signing_key(&self, account: &Value, role: Option<&str>) -> Pair {
        let keys = account["nats"]["signing_keys"].as_array().expect("signing keys");
        let wanted = |key: &&Value| key["role"].as_str() == role;
        let key = keys.iter().find(wanted).expect("a signing key");
        let public = key.as_str().unwrap_or_else(|| text(key, "key"));
        Pair::from_seed(&self.seed(public))
    }

    fn server(&self, version: Version, sentinel: &str) -> String {
        let accounts = self.run(&["generate", "config", "--mem-resolver"]);
        let default_sentinel = match knows_default_sentinel(version) {
            true => format!("default_sentinel: \"{sentinel}\""),
            false => String::new(),
        };
        format!("{accounts}\nauthorization {{ timeout: 5 }}\n{default_sentinel}\n")
    }
}

fn jwt_of(credentials: &str) -> String {
    credentials.lines().find(|line| line.starts_with("eyJ")).expect("a JWT").to_owned()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("nsc says no `{name}`: {value}"))
}
