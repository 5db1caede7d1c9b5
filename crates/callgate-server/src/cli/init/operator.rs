//! The setup for operator mode: accounts are JWTs, and users are signed by keys of their accounts.

use callgate::{
    clock::UnixTime,
    keys::{CurveKey, KeyKind, KeyPair},
    operator::{
        Account, AllowedAccounts, ExternalAuthorization, FixedUser, Operator, Rights, Scope,
        credentials,
    },
    secret::Secret,
};
use serde_json::{Value, json};

use super::{
    InitError, Passwords, SESSION, Setup, heading, kubernetes, restricted, restricted_demo,
    seed_file, source::Source,
};
use crate::system::permissions;

use crate::{audit, state};

/// Permissions of Callgate's own user, besides those for `[state]` and `[audit]`.
const CALLGATE_PUBLISHES: [&str; 4] =
    ["_INBOX.>", "$SYS._INBOX.>", "$SYS.REQ.USER.INFO", "$SRV.INFO"];
const CALLGATE_SUBSCRIBES: [&str; 4] =
    ["$SYS.REQ.USER.AUTH", "$SRV.>", "_INBOX.>", state::BUS_PERMISSION];

pub(super) fn setup(source: &Source) -> Result<Setup, InitError> {
    let keys = Keys::generate()?;
    let now = UnixTime::now();
    let sentinel = Login::sentinel(&keys.callout, now)?;
    let callgate = Login::callgate(&keys.callout, now)?;
    let system = Login::system(&keys.system, now)?;
    let break_glass = Login::break_glass(&keys.system, now)?;
    let accounts = keys.accounts(&callgate, now)?;
    let mut passwords = Passwords::default();
    let mut files = vec![("callgate.toml", keys.callgate_toml(source))];
    match source {
        Source::Users => files.push(("users.json", users(false, &mut passwords)?)),
        Source::Demo => files.push(("users.json", users(true, &mut passwords)?)),
        Source::Oidc(_) | Source::Kubernetes | Source::Http(_) => {}
    }
    let needed = [
        ("nats.creds", callgate.credentials()),
        ("system.creds", system.credentials()),
        ("issuer.nk", seed_file(&keys.issuer.seed())),
        ("APP-signing.nk", seed_file(&keys.app_signing.seed())),
        ("APP-reader.nk", seed_file(&keys.app_reader.seed())),
        ("OPS-signing.nk", seed_file(&keys.ops_signing.seed())),
        ("xkey.xk", seed_file(&keys.xkey.seed())),
    ];
    let filled = |template: &str| accounts.fill(template).replace("{sentinel_jwt}", &sentinel.jwt);
    files.push(("nats-server.conf", filled(SERVER)));
    if *source == Source::Kubernetes {
        files.extend(kubernetes::operator_mode(&needed, filled));
    }
    files.extend(needed);
    files.extend([
        ("sentinel.creds", sentinel.credentials()),
        ("break-glass.creds", break_glass.credentials()),
        ("operator.nk", seed_file(&keys.operator.seed())),
        ("SYS.nk", seed_file(&keys.system.seed())),
        ("AUTH.nk", seed_file(&keys.callout.seed())),
        ("APP.nk", seed_file(&keys.app.seed())),
        ("OPS.nk", seed_file(&keys.ops.seed())),
    ]);
    if !passwords.is_empty() {
        files.push(("passwords.txt", passwords.table()));
    }
    let notes = NOTES.lines().map(str::to_owned).collect();
    Ok(Setup { files, passwords, notes })
}

/// All generated keys.
struct Keys {
    operator: KeyPair,
    system: KeyPair,
    callout: KeyPair,
    /// The signing key of the callout account, which signs responses.
    issuer: KeyPair,
    app: KeyPair,
    app_signing: KeyPair,
    app_reader: KeyPair,
    ops: KeyPair,
    ops_signing: KeyPair,
    xkey: CurveKey,
}

impl Keys {
    fn generate() -> Result<Self, InitError> {
        let account = || KeyPair::generate(KeyKind::Account);
        Ok(Self {
            operator: KeyPair::generate(KeyKind::Operator)?,
            system: account()?,
            callout: account()?,
            issuer: account()?,
            app: account()?,
            app_signing: account()?,
            app_reader: account()?,
            ops: account()?,
            ops_signing: account()?,
            xkey: CurveKey::generate()?,
        })
    }

    fn callgate_toml(&self, source: &Source) -> String {
        let own = CALLGATE
            .replace("{callout}", &self.callout.public_key())
            .replace("{app}", &self.app.public_key())
            .replace("{ops}", &self.ops.public_key());
        heading("operator mode", source) + &own + &source.tables() + SESSION + SYSTEM
    }

    fn accounts(&self, callgate: &Login, now: UnixTime) -> Result<Accounts, InitError> {
        let operator = Operator {
            name: "callgate-init".to_owned(),
            system_account: self.system.public_key().parse()?,
        };
        let signed = |key: &KeyPair, account: Account| -> Result<SignedAccount, InitError> {
            let jwt = account.sign(&self.operator, now)?;
            Ok(SignedAccount { id: key.public_key(), jwt })
        };
        let system = Account::new("SYS", self.system.public_key().parse()?);
        Ok(Accounts {
            operator_jwt: operator.sign(&self.operator, now)?,
            system: signed(&self.system, system)?,
            callout: signed(&self.callout, self.callout_account(callgate)?)?,
            app: signed(&self.app, self.app_account()?)?,
            ops: signed(&self.ops, self.ops_account()?)?,
        })
    }

    fn callout_account(&self, callgate: &Login) -> Result<Account, InitError> {
        let authorization = ExternalAuthorization {
            auth_users: vec![callgate.key.public_key().parse()?],
            allowed_accounts: AllowedAccounts::Only(vec![
                self.app.public_key().parse()?,
                self.ops.public_key().parse()?,
            ]),
            xkey: Some(self.xkey.public_key().clone()),
        };
        Ok(Account {
            signing_keys: vec![self.issuer.public_key().parse()?],
            external_authorization: Some(authorization),
            jetstream: true,
            ..Account::new("AUTH", self.callout.public_key().parse()?)
        })
    }

    fn app_account(&self) -> Result<Account, InitError> {
        let reader = Scope {
            role: "reader".to_owned(),
            key: self.app_reader.public_key().parse()?,
            template: Rights::new(["$SYS.REQ.USER.INFO"], ["news.>", "{{name()}}.>", "_INBOX.>"]),
        };
        Ok(Account {
            signing_keys: vec![self.app_signing.public_key().parse()?],
            scopes: vec![reader],
            jetstream: true,
            ..Account::new("APP", self.app.public_key().parse()?)
        })
    }

    fn ops_account(&self) -> Result<Account, InitError> {
        Ok(Account {
            signing_keys: vec![self.ops_signing.public_key().parse()?],
            jetstream: true,
            ..Account::new("OPS", self.ops.public_key().parse()?)
        })
    }
}

/// What a server needs to know the accounts.
struct Accounts {
    operator_jwt: String,
    system: SignedAccount,
    callout: SignedAccount,
    app: SignedAccount,
    ops: SignedAccount,
}

struct SignedAccount {
    id: String,
    jwt: String,
}

impl Accounts {
    fn fill(&self, template: &str) -> String {
        let Self { operator_jwt, system, callout, app, ops } = self;
        template
            .replace("{operator_jwt}", operator_jwt)
            .replace("{system}", &system.id)
            .replace("{system_jwt}", &system.jwt)
            .replace("{callout}", &callout.id)
            .replace("{callout_jwt}", &callout.jwt)
            .replace("{app}", &app.id)
            .replace("{app_jwt}", &app.jwt)
            .replace("{ops}", &ops.id)
            .replace("{ops_jwt}", &ops.jwt)
    }
}

/// A fixed user, which nats-server accepts without a callout.
struct Login {
    key: KeyPair,
    jwt: String,
}

impl Login {
    fn new(
        account: &KeyPair,
        now: UnixTime,
        user: impl FnOnce(callgate::keys::UserKey) -> FixedUser,
    ) -> Result<Self, InitError> {
        let key = KeyPair::generate(KeyKind::User)?;
        let jwt = user(key.public_key().parse()?).sign(account, now)?;
        Ok(Self { key, jwt })
    }

    fn callgate(callout: &KeyPair, now: UnixTime) -> Result<Self, InitError> {
        let publishes = CALLGATE_PUBLISHES.into_iter().chain(state::PERMISSIONS);
        let publishes = publishes.chain(audit::PERMISSIONS);
        let rights = Some(Rights::new(publishes, CALLGATE_SUBSCRIBES));
        Self::new(callout, now, |key| FixedUser { rights, ..FixedUser::new("callgate", key) })
    }

    fn sentinel(callout: &KeyPair, now: UnixTime) -> Result<Self, InitError> {
        Self::new(callout, now, FixedUser::sentinel)
    }

    fn system(system: &KeyPair, now: UnixTime) -> Result<Self, InitError> {
        let rights = Some(Rights::new(permissions::PUBLISHES, permissions::SUBSCRIBES));
        Self::new(system, now, |key| FixedUser { rights, ..FixedUser::new("callgate-system", key) })
    }

    fn break_glass(system: &KeyPair, now: UnixTime) -> Result<Self, InitError> {
        Self::new(system, now, |key| FixedUser::new("break-glass", key))
    }

    fn credentials(&self) -> String {
        credentials(&self.jwt, &self.key.seed()).expose().to_owned()
    }
}

fn users(demo: bool, passwords: &mut Passwords) -> Result<String, InitError> {
    let mut login = |user: &'static str| -> Result<(&'static str, Value), InitError> {
        Ok(match demo {
            true => ("pass", user.into()),
            false => (
                "password",
                passwords
                    .hashed(user, Secret::random().map_err(callgate::keys::KeyError::from)?)?
                    .into(),
            ),
        })
    };
    let (field, alice) = login("alice")?;
    let (_, bob) = login("bob")?;
    let (_, rita) = login("rita")?;
    let (_, oscar) = login("oscar")?;
    let bobs = if demo { restricted_demo("bob") } else { restricted("bob") };
    let users = json!({
        "alice": { field: alice, "account": "APP" },
        "bob": { field: bob, "account": "APP", "permissions": bobs },
        "rita": { field: rita, "account": "APP", "roles": ["reader"] },
        "oscar": { field: oscar, "account": "OPS" },
    });
    Ok(format!("{users:#}\n"))
}

const NOTES: &str = "\
clients present sentinel.creds together with their user and password (or token): the sentinel user
has no permissions and only triggers the callout. Clients that cannot send both (nats-py sends only a
token with a credentials file, MQTT has no credentials files) work without it if `default_sentinel` in
nats-server.conf is enabled (nats-server 2.11.11 or newer). break-glass.creds gives access while
Callgate is down. operator.nk, SYS.nk, AUTH.nk, APP.nk and OPS.nk are needed only to change accounts:
keep them offline.";

const CALLGATE: &str = r#"
[nats]
servers = ["nats://127.0.0.1:4222"]
creds = "nats.creds"

[issuer]
account = "{callout}"    # the callout account, AUTH
seed = { file = "issuer.nk" }        # one of its signing keys
xkeys = [{ file = "xkey.xk" }]       # the public key is in the JWT of AUTH

# Accounts that users can be placed in. The JWT of AUTH must list them in its allowed accounts.
[[accounts]]
name = "APP"
id = "{app}"
seed = { file = "APP-signing.nk" }
scoped = { reader = { file = "APP-reader.nk" } }

[[accounts]]
name = "OPS"
id = "{ops}"
seed = { file = "OPS-signing.nk" }

# Its permissions are in the template of APP's scoped signing key.
[roles.reader]
scope = "reader"

"#;

const SYSTEM: &str = r#"
# Switch on to list and end sessions: docs/revocation.md. This login can close every connection.
# [system]
# creds = "system.creds"
"#;

const SERVER: &str = r#"# nats-server in operator mode, with Callgate as the callout of the account AUTH.

listen: "127.0.0.1:4222"
# A frozen Callgate replica keeps receiving its share of the logins until three pings go unanswered.
ping_interval: "5s"
server_name: "gate-1"

# What Callgate's replicas share is stored here: `[state]` in callgate.toml.
jetstream { store_dir: {store} }

operator: "{operator_jwt}"
# Required: without a system account, nats-server 2.15.1 crashes at the first callout.
system_account: {system}

# Accounts are defined in this file. Larger deployments push them to a resolver.
resolver: MEMORY
resolver_preload {
  # SYS
  {system}: "{system_jwt}"
  # AUTH: only for Callgate. Any user of this account can read requests that are not encrypted.
  {callout}: "{callout_jwt}"
  # APP
  {app}: "{app_jwt}"
  # OPS
  {ops}: "{ops_jwt}"
}

# Clients without a credentials file get this JWT, the one in sentinel.creds.
# Needs nats-server 2.11.11 or 2.12; 2.10 and 2.11.0 refuse to start with this line.
# default_sentinel: "{sentinel_jwt}"
"#;
