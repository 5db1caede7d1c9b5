//! How Callgate logs in to NATS. There is one login; flags and variables replace the file's.

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

/// A login method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Method {
    Password,
    Token,
    Nkey,
    Creds,
}

/// The path of the table that flags replace.
const NATS: &str = "nats";

/// The keys for each method.
const KEYS: [(&str, Method); 5] = [
    ("user", Method::Password),
    ("password", Method::Password),
    ("token", Method::Token),
    ("nkey", Method::Nkey),
    ("creds", Method::Creds),
];

/// Reads the login, and reports everything that is wrong with it.
pub(super) fn read(
    table: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
    servers: Option<&[ServerAddr]>,
) -> Option<Login> {
    let before = table.report().fault_count();
    let from_flags = methods_from_flags(overrides, servers);
    let in_file = keys_in_file(table, overrides, from_flags.as_deref(), overridden);
    let mut methods = from_flags.unwrap_or_default();
    methods.extend(KEYS.iter().filter(|(key, _)| in_file.contains(key)).map(|(_, method)| *method));
    methods.sort_unstable();
    methods.dedup();
    // Every method is read, so that all errors are reported.
    let logins: Vec<Option<Login>> =
        methods.iter().map(|method| login(*method, table, overrides, &in_file)).collect();
    if logins.len() > 1 {
        table.fault_here(
            "has several logins: keep only one of user and password, token, nkey, or creds",
        );
    }
    match logins.into_iter().next() {
        Some(login) => login.filter(|_| table.report().fault_count() == before),
        None => without_keys(table, servers),
    }
}

/// The methods given by flags and variables, or `None`. A password in a URL also counts, but has no key.
fn methods_from_flags(
    overrides: &Overrides,
    servers: Option<&[ServerAddr]>,
) -> Option<Vec<Method>> {
    let given = KEYS.iter().filter(|(key, _)| is_flag(key, overrides));
    let methods: Vec<Method> = given.map(|(_, method)| *method).collect();
    let in_url = overrides.nats_url.is_some() && servers.and_then(login_in_url).is_some();
    (in_url || !methods.is_empty()).then_some(methods)
}

fn is_flag(key: &str, overrides: &Overrides) -> bool {
    match key {
        "user" => overrides.nats_user.is_some(),
        "password" => overrides.nats_password.is_some(),
        "creds" => overrides.nats_creds.is_some(),
        _ => false,
    }
}

/// The keys of the file that take effect. A flag replaces its key in the file, and a login given by flags
/// replaces every other login. The file's password may be combined with the flag's user.
fn keys_in_file(
    table: &mut Table<'_>,
    overrides: &Overrides,
    from_flags: Option<&[Method]>,
    overridden: &mut Vec<String>,
) -> Vec<&'static str> {
    let mut effective = Vec::new();
    for (key, method) in KEYS {
        if !table.has(key) {
            continue;
        }
        let other_login = from_flags.is_some_and(|methods| !methods.contains(&method));
        match is_flag(key, overrides) || other_login {
            true => overridden.push(format!("nats.{key}")),
            false => effective.push(key),
        }
    }
    effective
}

fn login(
    method: Method,
    table: &mut Table<'_>,
    overrides: &Overrides,
    in_file: &[&str],
) -> Option<Login> {
    match method {
        Method::Password => with_password(table, overrides, in_file),
        Method::Token => table.secret("token").map(Login::Token),
        Method::Nkey => {
            let seed = table.seed("nkey")?;
            user_seed(table, "nkey", seed).map(Login::Nkey)
        }
        Method::Creds => {
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
            table.fault("user", missing(table, "password", "--nats-user"));
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
            table.fault("password", missing(table, "user", "--nats-password"));
            None
        }
    };
    Some(Login::Password { user: user?, password: password? })
}

/// Only `[nats]` has flags.
fn missing(table: &Table<'_>, by: &str, flag: &str) -> String {
    let flag = if table.path() == NATS { format!(" (or {flag})") } else { String::new() };
    format!("is missing: `{by}` requires it{flag}")
}

/// A login in the URL, or a client certificate, if no key gives a login.
fn without_keys(table: &mut Table<'_>, servers: Option<&[ServerAddr]>) -> Option<Login> {
    if let Some(login) = servers.and_then(login_in_url) {
        table.warn("servers", "password in a URL: use `user` and `password` instead");
        return Some(login);
    }
    if !table.has("tls") {
        table.fault_here(match table.path() {
            NATS => {
                "has no login: set user and password, token, nkey or creds of a user in \
                 auth_callout.auth_users; in operator mode, creds of a user in auth_users of the \
                 callout account's JWT"
            }
            _ => {
                "has no login: set user and password, nkey or creds of a user of the system account \
                 (in configuration mode also listed in auth_callout.auth_users); `callgate init` \
                 writes a suitable one"
            }
        });
        return None;
    }
    Some(Login::None)
}

/// `nats://user:password@host`, or `nats://token@host`, which async-nats ignores.
fn login_in_url(servers: &[ServerAddr]) -> Option<Login> {
    let server = servers.iter().find(|server| server.has_user_pass())?;
    let name = percent_decoded(server.username()?);
    Some(match server.password() {
        Some(password) => {
            Login::Password { user: name, password: Secret::new(percent_decoded(password)) }
        }
        None => Login::Token(Secret::new(name)),
    })
}

/// Decodes a part of a URL (RFC 3986, section 2.1): `p%40ss` is `p@ss`.
fn percent_decoded(text: &str) -> String {
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

/// The text of a credentials file, which contains a seed and must be as private as one.
fn creds_file(table: &Table<'_>, path: &Path) -> Option<Secret> {
    let report = |error| table.fault("creds", error);
    let (seed, warning) = table.sources().seed_file(path).map_err(report).ok()?;
    warning.into_iter().for_each(|warning| table.warn("creds", warning));
    user_seed(table, "creds", seed)?;
    let text = table.sources().secret_file(path).map_err(report).ok()?;
    if nats::with_credentials(&text).is_err() {
        let path = path.display();
        table.fault(
            "creds",
            format!(
                "`{path}` is not a credentials file as written by `nsc generate creds`: it must contain the \
                 user's JWT and seed, each between its `-----BEGIN …-----` and `------END …------` lines"
            ),
        );
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_in_url_is_percent_decoded() {
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
