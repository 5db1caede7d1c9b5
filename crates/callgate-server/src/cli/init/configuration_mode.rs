//! The set for configuration mode: nats-server knows the accounts by their names.

use callgate::{
    keys::{CurveKey, KeyKind, KeyPair},
    secret::Secret,
};
use serde_json::json;

use super::{InitError, Passwords, Set, restricted, seed_file};

/// Work factor of the break-glass password in nats-server's configuration.
const BCRYPT_COST: u32 = 11;

pub(super) fn set(demo: bool) -> Result<Set, InitError> {
    let issuer = KeyPair::generate(KeyKind::Account)?;
    let xkey = CurveKey::generate()?;
    let auth = KeyPair::generate(KeyKind::User)?;
    let break_glass = Secret::random()?;
    let hashed = bcrypt::hash(break_glass.expose(), BCRYPT_COST)
        .map_err(|error| InitError::Hash(error.to_string()))?;
    let mut passwords = Passwords(vec![("break-glass", break_glass)]);
    let users = if demo { demo_users() } else { users(&mut passwords)? };

    let server = SERVER
        .replace("{auth}", &auth.public_key())
        .replace("{issuer}", &issuer.public_key())
        .replace("{xkey}", xkey.public_key().as_str())
        .replace("{break_glass}", &hashed);
    let files = vec![
        ("callgate.toml", CALLGATE.to_owned()),
        ("users.json", users),
        ("nats-server.conf", server),
        ("issuer.nk", seed_file(&issuer.seed())),
        ("xkey.xk", seed_file(&xkey.seed())),
        ("auth.nk", seed_file(&auth.seed())),
        ("passwords.txt", passwords.table()),
    ];
    let mut notes = Vec::new();
    if demo {
        notes.push("demo users: sys/sys, alice/alice, bob/bob (not for production)".to_owned());
    }
    Ok(Set { files, passwords, notes })
}

fn users(passwords: &mut Passwords) -> Result<String, InitError> {
    let mut hashed = |user: &'static str| passwords.hashed(user, Secret::random()?);
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
        "bob": { "pass": "bob", "account": "APP", "permissions": restricted("bob") },
    });
    format!("{users:#}\n")
}

const CALLGATE: &str = r#"# Callgate, in nats-server's configuration mode.
# `callgate check --config callgate.toml` says what is wrong with it,
# `callgate explain --config callgate.toml --user alice --password @FILE` what alice may do.

[nats]
servers = ["nats://127.0.0.1:4222"]
nkey = { file = "auth.nk" }

[issuer]
seed = { file = "issuer.nk" }        # nats-server has its public key as auth_callout.issuer
xkeys = [{ file = "xkey.xk" }]       # nats-server has its public key as auth_callout.xkey
callout_account = "AUTH"

[[authenticators]]
name = "users"
[authenticators.users]
file = "users.json"

[session]
max_lifetime = "1h"                  # also how long a removed user stays connected
"#;

const SERVER: &str = r#"# nats-server with Callgate as its auth callout.

listen: "127.0.0.1:4222"
# A replica of Callgate that stands still keeps its share of the logins until the third of these has no answer.
ping_interval: "5s"
server_name: "gate-1"

accounts {
  # Only Callgate belongs here: whoever is in this account can read what is not encrypted.
  AUTH {
    users: [
      # Callgate itself. It logs in with an nkey, and because the server knows one nkey user it
      # sends every client a nonce, without which nobody could prove an nkey.
      {
        nkey: "{auth}"
        permissions {
          subscribe: ["$SYS.REQ.USER.AUTH", "$SRV.>", "_INBOX.>"]
          publish: ["_INBOX.>", "$SYS._INBOX.>", "$SYS.REQ.USER.INFO", "$SRV.INFO"]
        }
      }
    ]
  }
  APP {}
  SYS {
    # The way in when Callgate is down: see passwords.txt, and keep it somewhere safe.
    users: [ { user: "break-glass", password: "{break_glass}" } ]
  }
}
system_account: SYS

authorization {
  auth_callout {
    issuer: "{issuer}"
    xkey: "{xkey}"
    account: AUTH
    # These are not asked about: they log in with what stands above.
    auth_users: [ "{auth}", "break-glass" ]
  }
}
"#;
