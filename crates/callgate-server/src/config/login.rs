//! Who Callgate is at NATS. There is one login; what flags and variables name replaces the file's.

use std::{borrow::Cow, path::Path};

use async_nats::ServerAddr;
use callgate::{
    keys::{KeyError, KeyKind, KeyPair, Seed},
    secret::Secret,
};
use callgate_config::Table;
use percent_encoding::percent_decode_str;

use super::flags::{self, Overrides};
use crate::nats::{self, Login};

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Password,
    Token,
    Nkey,
    Creds,
}

/// The keys of `[nats]` that say it.
const KEYS: [(&str, Way); 5] = [
    ("user", Way::Password),
    ("password", Way::Password),
    ("token", Way::Token),
    ("nkey", Way::Nkey),
    ("creds", Way::Creds),
];

/// Reads the login, and reports everything that is wrong with it.
pub(super) fn read(
    table: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
    servers: Option<&[ServerAddr]>,
) -> Option<Login> {
    let before = table.report().fault_count();
    let above = ways_above(overrides, servers);
    let in_file = keys_in_file(table, overrides, above.as_deref(), overridden);
    let mut ways = above.unwrap_or_default();
    ways.extend(KEYS.iter().filter(|(key, _)| in_file.contains(key)).map(|(_, way)| *way));
    ways.sort_unstable();
    ways.dedup();
    // Each is looked at, so that all that is wrong is told at once.
    let logins: Vec<Option<Login>> =
        ways.iter().map(|way| login(*way, table, overrides, &in_file)).collect();
    if logins.len() > 1 {
        table.fault_here("has several logins: keep one of user and password, token, nkey, creds");
    }
    match logins.into_iter().next() {
        Some(login) => login.filter(|_| table.report().fault_count() == before),
        None => without_keys(table, servers),
    }
}

/// The ways that flags and variables name; nothing if they name none. A password in a URL is a login,
/// too, but stands in no key.
fn ways_above(overrides: &Overrides, servers: Option<&[ServerAddr]>) -> Option<Vec<Way>> {
    let above = KEYS.iter().filter(|(key, _)| is_above(key, overrides));
    let ways: Vec<Way> = above.map(|(_, way)| *way).collect();
    let in_url = overrides.nats_url.is_some() && servers.and_then(login_in_url).is_some();
    (in_url || !ways.is_empty()).then_some(ways)
}

fn is_above(key: &str, overrides: &Overrides) -> bool {
    match key {
        "user" => overrides.nats_user.is_some(),
        "password" => overrides.nats_password.is_some(),
        "creds" => overrides.nats_creds.is_some(),
        _ => false,
    }
}

/// The keys of the file that count. A key that is there above replaces that of the file, and a login
/// above replaces every other login; the file's password may go with the flag's user.
fn keys_in_file(
    table: &mut Table<'_>,
    overrides: &Overrides,
    above: Option<&[Way]>,
    overridden: &mut Vec<String>,
) -> Vec<&'static str> {
    let mut counting = Vec::new();
    for (key, way) in KEYS {
        if !table.has(key) {
            continue;
        }
        let other_login = above.is_some_and(|ways| !ways.contains(&way));
        match is_above(key, overrides) || other_login {
            true => overridden.push(format!("nats.{key}")),
            false => counting.push(key),
        }
    }
    counting
}

fn login(
    way: Way,
    table: &mut Table<'_>,
    overrides: &Overrides,
    in_file: &[&str],
) -> Option<Login> {
    match way {
        Way::Password => with_password(table, overrides, in_file),
        Way::Token => table.secret("token").map(Login::Token),
        Way::Nkey => {
            let seed = table.seed("nkey")?;
            user_seed(table, "nkey", seed).map(Login::Nkey)
        }
        Way::Creds => {
            let path = match &overrides.nats_creds {
                Some(path) => path.clone(),
                None => table.file_name("creds")?,
            };
            creds_file(table, &path).map(Login::Creds)
        }
    }
}

fn with_password(table: &mut Table<'_>, overrides: &Overrides, in_file: &[&str]) -> Option<Login> {
    let user = match &overrides.nats_user {
        Some(user) => Some(user.clone()),
        None if in_file.contains(&"user") => table.string("user"),
        None => {
            table.fault("user", "is missing: it belongs to `password` (or --nats-user)");
            None
        }
    };
    if user.as_deref() == Some("") {
        table.fault("user", "must not be empty");
    }
    let password = match &overrides.nats_password {
        Some(flag) => flags::secret(flag, "password", table),
        None if in_file.contains(&"password") => table.secret("password"),
        None => {
            table.fault("password", "is missing: it belongs to `user` (or --nats-password)");
            None
        }
    };
    Some(Login::Password { user: user?, password: password? })
}

/// No key names a login: perhaps the address does, or a certificate says who we are.
fn without_keys(table: &mut Table<'_>, servers: Option<&[ServerAddr]>) -> Option<Login> {
    if let Some(login) = servers.and_then(login_in_url) {
        table.warn("servers", "a password in a URL: use user and password, as a secret");
        return Some(login);
    }
    if !table.has("tls") {
        table.fault_here(
            "says not who Callgate is: give user and password, token, nkey or creds of a user in \
             auth_callout.auth_users; in operator mode, creds of one in auth_users of the callout \
             account's JWT",
        );
        return None;
    }
    Some(Login::None)
}

/// `nats://user:password@host`, or `nats://token@host`: the client itself does not use it.
fn login_in_url(servers: &[ServerAddr]) -> Option<Login> {
    let server = servers.iter().find(|server| server.has_user_pass())?;
    let name = plain(server.username()?);
    Some(match server.password() {
        Some(password) => Login::Password { user: name, password: Secret::new(plain(password)) },
        None => Login::Token(Secret::new(name)),
    })
}

/// A part of a URL as it was before it was written there (RFC 3986, section 2.1): `p%40ss` is `p@ss`.
fn plain(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

fn user_seed(table: &Table<'_>, key: &str, seed: Seed) -> Option<Secret> {
    let kind = seed.kind();
    let pair = match kind {
        KeyKind::User => KeyPair::from_seed(seed),
        KeyKind::Operator
        | KeyKind::Account
        | KeyKind::Server
        | KeyKind::Cluster
        | KeyKind::Curve => {
            let (found, wanted) = (kind.seed_in_words(), "a user seed (SU…)".to_owned());
            Err(KeyError::WrongKind { found, wanted })
        }
    };
    pair.map(|pair| pair.seed()).map_err(|error| table.fault(key, error)).ok()
}

/// The text of a credentials file, which holds a seed and is as private as one.
fn creds_file(table: &Table<'_>, path: &Path) -> Option<Secret> {
    let told = |error| table.fault("creds", error);
    let (seed, warning) = table.sources().seed_file(path).map_err(told).ok()?;
    warning.into_iter().for_each(|warning| table.warn("creds", warning));
    user_seed(table, "creds", seed)?;
    let text = table.sources().secret_file(path).map_err(told).ok()?;
    if let Err(error) = nats::with_credentials(&text) {
        let path = path.display();
        table.fault(
            "creds",
            format!("`{path}` is no credentials file as `nsc generate creds` writes it: {error}"),
        );
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_an_address_is_what_was_meant_before_it_was_written_there() {
        let login = |address: &str| login_in_url(&[address.parse().unwrap()]);
        for (address, user, password) in [
            ("nats://bob:secret@host", "bob", "secret"),
            ("nats://b%40b:p%3Ass%C3%A4%25@host", "b@b", "p:ssä%"),
            ("nats://bob:50%@host", "bob", "50%"),
            ("nats://bob:%zz%+1%4@host", "bob", "%zz%+1%4"),
            ("nats://bob:%ff@host", "bob", "%ff"),
        ] {
            let Some(Login::Password { user: found, password: secret }) = login(address) else {
                panic!("{address}");
            };
            assert_eq!((found.as_str(), secret.expose()), (user, password), "{address}");
        }
        let Some(Login::Token(token)) = login("nats://to%2Fken@host") else { panic!() };
        assert_eq!(token.expose(), "to/ken");
        assert!(login("nats://host").is_none());
    }
}
