//! Kinds of login, each with its authenticator and its clients.

use std::{fs, path::Path, time::Duration};

use callgate::{
    clock::UnixTime,
    keys::{KeyKind, KeyPair, Seed},
    secret::Secret,
    simulation::ClientCredentials,
};
use callgate_authenticators::service_tokens::mint_service_token;
use callgate_testkit::oidc_provider::SigningKey;
use serde_json::{Map, Value, json};

use crate::{Failure, callouts::ISSUER};

/// A way to log in.
pub(crate) struct Login {
    pub(crate) name: String,
    /// An entry of `[[authenticators]]`.
    pub(crate) toml: String,
    /// What clients present, in turn.
    pub(crate) shown: Vec<Shown>,
    /// Whether every credential is new, or credentials repeat.
    pub(crate) first_seen: bool,
    /// The signature algorithm that this login must verify, besides the request's.
    pub(crate) verifies: Option<&'static str>,
}

/// What a client presents.
#[derive(Clone)]
pub(crate) enum Shown {
    Password,
    Token(String),
    Nkey(Secret),
}

impl Shown {
    pub(crate) fn presented(&self) -> Result<ClientCredentials, Failure> {
        Ok(match self {
            Self::Password => ClientCredentials {
                user: Some(USER.to_owned()),
                password: Some(Secret::new(PASSWORD)),
                ..ClientCredentials::default()
            },
            Self::Token(token) => ClientCredentials {
                token: Some(Secret::new(token.as_str())),
                ..ClientCredentials::default()
            },
            Self::Nkey(seed) => {
                let pair = KeyPair::from_seed(Seed::parse(seed.expose())?)?;
                ClientCredentials { nkey: Some(pair), ..ClientCredentials::default() }
            }
        })
    }
}

const USER: &str = "alice";
const PASSWORD: &str = "correct horse battery staple";
const TOKEN: &str = "a-long-random-token-that-is-hard-to-guess";
const USERS_FILE: &str = "[users]\nfile = \"users.json\"\n";

/// Every kind of login, with its files in `folder`; `count` credentials if every one is new.
pub(crate) fn all(folder: &Path, count: usize) -> Result<Vec<Login>, Failure> {
    let mut logins = users(folder, 0)?;
    logins.push(service_token()?);
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        logins.extend(bearer(folder, algorithm, count)?);
    }
    Ok(logins)
}

/// Users of a file, with this many others in it.
pub(crate) fn users(folder: &Path, others: usize) -> Result<Vec<Login>, Failure> {
    let pair = KeyPair::generate(KeyKind::User)?;
    let mut users = Map::new();
    for number in 0..others {
        let password = json!({ "pass": format!("password-{number}") });
        users.insert(format!("user-{number}"), entry(password));
    }
    users.insert(USER.to_owned(), entry(json!({ "pass": PASSWORD })));
    users.insert("tim".to_owned(), entry(json!({ "token": TOKEN })));
    users.insert("nick".to_owned(), entry(json!({ "nkey": pair.public_key() })));
    fs::write(folder.join("users.json"), Value::Object(users).to_string())?;
    let login = |name: &str, shown, verifies| Login {
        name: name.to_owned(),
        toml: USERS_FILE.to_owned(),
        shown: vec![shown],
        first_seen: false,
        verifies,
    };
    Ok(vec![
        login("user by token", Shown::Token(TOKEN.to_owned()), None),
        login("user by clear-text password", Shown::Password, None),
        login("user by nkey", Shown::Nkey(pair.seed()), Some("EdDSA")),
    ])
}

/// A user of the file, with permissions.
fn entry(credential: Value) -> Value {
    let mut entry = json!({
        "account": "APP",
        "permissions": { "pub": ["orders.>"], "sub": ["orders.>", "_INBOX.>"] },
    });
    if let (Value::Object(entry), Value::Object(credential)) = (&mut entry, credential) {
        entry.extend(credential);
    }
    entry
}

fn service_token() -> Result<Login, Failure> {
    let pair = KeyPair::generate(KeyKind::User)?;
    let seed = Seed::parse(pair.seed().expose())?;
    let lifetime = Duration::from_secs(600);
    let token = mint_service_token(seed, "billing", lifetime, None, UnixTime::now())?;
    Ok(Login {
        name: "service token".to_owned(),
        toml: format!(
            "[service_tokens]\n[[service_tokens.services]]\npublic_key = \"{}\"\n\
             user = \"billing\"\naccount = \"APP\"\n\
             permissions = {{ publish = [\"orders.>\"], subscribe = [\"orders.>\"] }}\n",
            pair.public_key()
        ),
        shown: vec![Shown::Token(token)],
        first_seen: false,
        verifies: Some("EdDSA"),
    })
}

fn bearer(folder: &Path, algorithm: &'static str, count: usize) -> Result<[Login; 2], Failure> {
    let key = SigningKey::generate("bench", algorithm);
    let file = format!("{algorithm}.json");
    fs::write(folder.join(&file), key_set(&key))?;
    let tokens: Vec<_> =
        (0..count).map(|number| Shown::Token(token(&key, number, Map::new()))).collect();
    let login = |when: &str, shown, first_seen| Login {
        name: format!("{algorithm} token, {when}"),
        toml: oidc(&file),
        shown,
        first_seen,
        verifies: first_seen.then_some(algorithm),
    };
    let one = tokens.iter().take(1).cloned().collect();
    Ok([login("first seen", tokens, true), login("seen", one, false)])
}

/// An `oidc` entry with the keys of a file.
pub(crate) fn oidc(file: &str) -> String {
    format!("[oidc]\nissuer = \"{ISSUER}\"\naudience = [\"nats\"]\njwks_file = \"{file}\"\n")
}

/// The key set of one key.
pub(crate) fn key_set(key: &SigningKey) -> String {
    json!({ "keys": [key.jwk()] }).to_string()
}

/// A bearer token of the user `service-NUMBER` with these claims beside the usual, valid for an hour.
pub(crate) fn token(key: &SigningKey, number: usize, more: Map<String, Value>) -> String {
    let now = UnixTime::now().seconds();
    let mut claims = Map::from_iter([
        ("iss".to_owned(), ISSUER.into()),
        ("aud".to_owned(), "nats".into()),
        ("sub".to_owned(), format!("service-{number}").into()),
        ("iat".to_owned(), now.into()),
        ("exp".to_owned(), (now + 3600).into()),
    ]);
    claims.extend(more);
    let header = json!({ "typ": "JWT", "alg": key.algorithm(), "kid": "bench" });
    key.token_with(&header, &claims.into())
}
