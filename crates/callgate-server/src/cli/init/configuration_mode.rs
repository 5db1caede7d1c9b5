//! The setup for configuration mode, where accounts are defined in nats-server.conf.

use callgate::{
    keys::{CurveKey, KeyKind, KeyPair},
    secret::Secret,
};
use serde_json::json;

use super::{
    InitError, Passwords, SESSION, Setup, heading, kubernetes, restricted, restricted_demo,
    seed_file, source::Source,
};
use crate::{cli::hash_password::bcrypt_hash, system::permissions};

pub(super) fn setup(source: &Source) -> Result<Setup, InitError> {
    let issuer = KeyPair::generate(KeyKind::Account)?;
    let xkey = CurveKey::generate()?;
    let auth = KeyPair::generate(KeyKind::User)?;
    let system = KeyPair::generate(KeyKind::User)?;
    let break_glass = Secret::random().map_err(callgate::keys::KeyError::from)?;
    let hashed = bcrypt_hash(&break_glass).map_err(InitError::Hash)?;
    let mut passwords = Passwords(vec![("break-glass", break_glass)]);
    let filled = |template: &str| {
        template
            .replace("{auth}", &auth.public_key())
            .replace("{system_user}", &system.public_key())
            .replace("{system_publishes}", &format!("{:?}", permissions::PUBLISHES))
            .replace("{system_subscribes}", &format!("{:?}", permissions::SUBSCRIBES))
            .replace("{issuer}", &issuer.public_key())
            .replace("{xkey}", xkey.public_key().as_str())
            .replace("{break_glass}", &hashed)
    };
    let callgate =
        heading("configuration mode", source) + CALLGATE + &source.tables() + SESSION + SYSTEM;
    let mut files = vec![("callgate.toml", callgate)];
    match source {
        Source::Users => files.push(("users.json", users(&mut passwords)?)),
        Source::Demo => files.push(("users.json", demo_users())),
        Source::Oidc(_) | Source::Kubernetes | Source::Http(_) => {}
    }
    let seeds = [
        ("issuer.nk", seed_file(&issuer.seed())),
        ("xkey.xk", seed_file(&xkey.seed())),
        ("auth.nk", seed_file(&auth.seed())),
        ("system.nk", seed_file(&system.seed())),
    ];
    files.push(("nats-server.conf", filled(SERVER)));
    if *source == Source::Kubernetes {
        files.extend(kubernetes::configuration_mode(&seeds, filled));
    }
    files.extend(seeds);
    files.push(("passwords.txt", passwords.table()));
    Ok(Setup { files, passwords, notes: Vec::new() })
}

fn users(passwords: &mut Passwords) -> Result<String, InitError> {
    let mut hashed = |user: &'static str| {
        passwords.hashed(user, Secret::random().map_err(callgate::keys::KeyError::from)?)
    };
    let users = json!({
        "sys": { "password": hashed("sys")?, "account": "SYS" },
        "alice": { "password": hashed("alice")?, "account": "APP" },
        "bob": { "password": hashed("bob")?, "account": "APP", "permissions": restricted("bob") },
    });
    Ok(format!("{users:#}\n"))
}

fn demo_users() -> String {
    let users = json!({
        "sys": { "pass": "sys", "account": "SYS" },
        "alice": { "pass": "alice", "account": "APP" },
        "bob": { "pass": "bob", "account": "APP", "permissions": restricted_demo("bob") },
    });
    format!("{users:#}\n")
}

const CALLGATE: &str = r#"
[nats]
servers = ["nats://127.0.0.1:4222"]
nkey = { file = "auth.nk" }

[issuer]
seed = { file = "issuer.nk" }        # its public key is auth_callout.issuer in nats-server.conf
xkeys = [{ file = "xkey.xk" }]       # its public key is auth_callout.xkey in nats-server.conf
callout_account = "AUTH"

"#;

const SYSTEM: &str = r#"
# Switch on to list and end sessions: docs/revocation.md.
# [system]
# nkey = { file = "system.nk" }
"#;

const SERVER: &str = r#"# nats-server with Callgate as its auth callout.

listen: "127.0.0.1:4222"
# A frozen Callgate replica keeps receiving its share of the logins until three pings go unanswered.
ping_interval: "5s"
server_name: "gate-1"

# What Callgate's replicas share is stored here: `[state]` in callgate.toml.
jetstream { store_dir: {store} }

accounts {
  # Only for Callgate: any user of this account can read requests that are not encrypted.
  AUTH {
    jetstream: enabled
    users: [
      # Callgate itself. nats-server sends clients a nonce only if it has an nkey user; without a
      # nonce, no client can log in with an nkey.
      {
        nkey: "{auth}"
        permissions {
          subscribe: ["$SYS.REQ.USER.AUTH", "$SRV.>", "_INBOX.>", "CALLGATE.>"]
          publish: [
            "_INBOX.>", "$SYS._INBOX.>", "$SYS.REQ.USER.INFO", "$SRV.INFO"
            # For `[state]`: messages between replicas, and their bucket.
            "CALLGATE.>", "$KV.callgate.>", "$JS.FC.KV_callgate.>", "$JS.API.INFO"
            "$JS.API.STREAM.INFO.KV_callgate", "$JS.API.STREAM.CREATE.KV_callgate"
            "$JS.API.STREAM.MSG.GET.KV_callgate"
            "$JS.API.DIRECT.GET.KV_callgate", "$JS.API.DIRECT.GET.KV_callgate.>"
            "$JS.API.CONSUMER.CREATE.KV_callgate", "$JS.API.CONSUMER.CREATE.KV_callgate.>"
            "$JS.API.CONSUMER.INFO.KV_callgate.>", "$JS.API.CONSUMER.DELETE.KV_callgate.>"
            # For a stream as a sink of `[audit]`, whose subjects `CALLGATE.>` includes.
            "$JS.API.STREAM.INFO.CALLGATE_AUDIT", "$JS.API.STREAM.CREATE.CALLGATE_AUDIT"
          ]
        }
      }
    ]
  }
  APP {}
  SYS {
    users: [
      # For access while Callgate is down: see passwords.txt, and store the password safely.
      { user: "break-glass", password: "{break_glass}" }
      # Callgate's user for `[system]`. It can close every connection of every account.
      {
        nkey: "{system_user}"
        permissions {
          publish: {system_publishes}
          subscribe: {system_subscribes}
        }
      }
    ]
  }
}
system_account: SYS

authorization {
  auth_callout {
    issuer: "{issuer}"
    xkey: "{xkey}"
    account: AUTH
    # These users log in with the credentials above, without the callout.
    auth_users: [ "{auth}", "{system_user}", "break-glass" ]
  }
}
"#;
