//! `[nats]`, `[session]`, `[refusal]`, `[admission]`, `[cache]`, `[admin]`, `[log]`.

use std::{net::SocketAddr, time::Duration};

use async_nats::ServerAddr;
use callgate::{
    RefusalStyle,
    keys::{KeyError, KeyKind, KeyPair, Seed},
    policy::settings::SessionSettings,
    secret::Secret,
};
use callgate_authenticators::{kind::CacheSettings, settings::Table};
use tracing_subscriber::filter::LevelFilter;

use super::{
    Admission,
    flags::{self, Overrides},
    tls,
};
use crate::{
    nats::{self, Login, NatsSettings},
    telemetry::LogFormat,
};

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) level: LevelFilter,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LevelFilter::INFO }
    }
}

pub(super) fn nats(
    root: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
) -> Option<NatsSettings> {
    let there = root.has("nats");
    let mut table = if there { root.table("nats")? } else { root.empty("nats") };
    let servers = servers(&mut table, overrides, overridden);
    let login = login(&mut table, overrides, overridden, servers.as_deref());
    let tls = tls::read(&mut table);
    let queue = queue(&mut table);
    if tls.as_ref().is_some_and(|tls| tls.required)
        && servers.iter().flatten().any(|server| server.scheme() == "ws")
    {
        table.fault("servers", "a `ws://` server has no TLS, but `tls` is there: write `wss://`");
    }
    table.finish();
    Some(NatsSettings { servers: servers?, login: login?, tls: tls?, queue: queue? })
}

fn servers(
    table: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
) -> Option<Vec<ServerAddr>> {
    let in_file = table.has("servers");
    let texts = match &overrides.nats_url {
        Some(url) => {
            if in_file {
                overridden.push("nats.servers".to_owned());
            }
            Some(url.split(',').map(|url| url.trim().to_owned()).collect())
        }
        None if in_file => table.strings("servers"),
        None => {
            table.fault(
                "servers",
                "is missing: such as [\"nats://127.0.0.1:4222\"] (or --nats-url)",
            );
            None
        }
    }?;
    if texts.is_empty() {
        table.fault("servers", "names no server");
        return None;
    }
    let servers: Vec<Option<ServerAddr>> = texts
        .iter()
        .map(|text| {
            // The text may hold a password, so it is not repeated.
            let wrong = "is no server address: write such as \"nats://127.0.0.1:4222\"";
            let reachable = |server: &ServerAddr| !server.host().is_empty() && server.port() != 0;
            let server = text.parse().ok().filter(reachable);
            server.or_else(|| {
                table.fault("servers", wrong);
                None
            })
        })
        .collect();
    servers.into_iter().collect()
}

fn login(
    table: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
    servers: Option<&[ServerAddr]>,
) -> Option<Login> {
    let from_flags = overrides.nats_user.is_some()
        || overrides.nats_password.is_some()
        || overrides.nats_creds.is_some();
    if from_flags {
        // The file's password may go with the flag's user, and the other way round.
        let replaced = [
            ("user", overrides.nats_user.is_some()),
            ("password", overrides.nats_password.is_some()),
            ("creds", overrides.nats_creds.is_some()),
        ];
        for (key, flag) in replaced {
            if flag && table.has(key) {
                overridden.push(format!("nats.{key}"));
            }
        }
    }
    let before = table.report().fault_count();
    let user = overrides.nats_user.clone().or_else(|| table.string("user"));
    if user.as_deref() == Some("") {
        table.fault("user", "must not be empty");
    }
    let password = match &overrides.nats_password {
        Some(flag) => flags::secret(flag, "password", table),
        None => table.secret("password"),
    };
    let token = table.secret("token");
    let nkey = table.seed("nkey").and_then(|seed| user_seed(table, "nkey", seed));
    let creds = match &overrides.nats_creds {
        Some(path) => creds_file(table, path),
        None => table.file_name("creds").and_then(|path| creds_file(table, &path)),
    };
    if table.report().fault_count() > before {
        return None;
    }
    let ways = [
        match (user, password) {
            (Some(user), Some(password)) => Some(Login::Password { user, password }),
            (None, None) => None,
            (Some(_), None) => {
                table.fault("password", "is missing: it belongs to `user` (or --nats-password)");
                return None;
            }
            (None, Some(_)) => {
                table.fault("user", "is missing: it belongs to `password` (or --nats-user)");
                return None;
            }
        },
        token.map(Login::Token),
        nkey.map(Login::Nkey),
        creds.map(Login::Creds),
    ];
    let mut ways = ways.into_iter().flatten();
    match (ways.next(), ways.next()) {
        (Some(login), None) => Some(login),
        (Some(_), Some(_)) => {
            table.fault_here(
                "has several logins: keep one of user and password, token, nkey, creds",
            );
            None
        }
        (None, _) => {
            if let Some(login) = servers.and_then(login_in_url) {
                table.warn("servers", "a password in a URL: use user and password, as a secret");
                return Some(login);
            }
            if !table.has("tls") {
                table.fault_here(
                    "says not who Callgate is: give user and password, token, nkey or creds of a \
                     user in auth_callout.auth_users",
                );
                return None;
            }
            Some(Login::None)
        }
    }
}

/// `nats://user:password@host`: the client itself does not use it.
fn login_in_url(servers: &[ServerAddr]) -> Option<Login> {
    let server = servers.iter().find(|server| server.has_user_pass())?;
    let (user, password) = (server.username()?.to_owned(), server.password().unwrap_or_default());
    Some(Login::Password { user, password: Secret::new(password) })
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
            let (found, wanted) = (format!("the seed of {kind}"), "a user seed (SU…)".to_owned());
            Err(KeyError::WrongKind { found, wanted })
        }
    };
    pair.map(|pair| pair.seed()).map_err(|error| table.fault(key, error)).ok()
}

/// The text of a credentials file, which holds a seed and is as private as one.
fn creds_file(table: &Table<'_>, path: &std::path::Path) -> Option<Secret> {
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

fn queue(table: &mut Table<'_>) -> Option<String> {
    let Some(queue) = table.string("queue") else { return Some("callgate".to_owned()) };
    match queue.parse::<callgate::subject::Subject>() {
        Ok(_) => Some(queue),
        Err(error) => {
            table.fault("queue", error);
            None
        }
    }
}

pub(super) fn session(root: &mut Table<'_>) -> SessionSettings {
    let mut settings = SessionSettings::default();
    let Some(mut table) = root.table("session") else { return settings };
    let without_end = table.raw("max_lifetime").is_some_and(|item| item.value() == "none");
    if without_end {
        settings.max_lifetime = None;
        table.warn(
            "max_lifetime",
            "sessions end only with the credential: a removed user stays connected",
        );
    } else if let Some(lifetime) = table.duration("max_lifetime") {
        if lifetime < Duration::from_secs(1) {
            table.fault("max_lifetime", "must be at least \"1s\"");
        }
        settings.max_lifetime = Some(lifetime);
    }
    if let Some(jitter) = table.number("jitter", 0.0..=0.9) {
        settings.jitter = jitter;
    }
    table.finish();
    settings
}

/// How long nats-server waits for an answer unless its `authorization.timeout` says otherwise
/// (server/const.go, `AUTH_TIMEOUT`).
const SERVERS_PATIENCE: Duration = Duration::from_secs(2);
const LONG_DELAY: &str = "servers wait 2 s unless their authorization.timeout says otherwise, and \
    no refusal is held back longer than its server waits";

pub(super) fn refusal(root: &mut Table<'_>) -> RefusalStyle {
    let mut style = RefusalStyle::default();
    let Some(mut table) = root.table("refusal") else { return style };
    let max = table.integer("silent_max", 1..=1_000_000);
    let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(100);
    match table.string("mode").as_deref() {
        None | Some("answer") => {}
        Some("silent") => style.silent_max = Some(max),
        Some(_) => table.fault("mode", "must be \"answer\" or \"silent\""),
    }
    if let Some(delay) = table.duration("delay") {
        if delay > Duration::from_secs(60) {
            table.fault("delay", "must be at most \"60s\"; servers wait 2 s by default");
        } else if delay >= SERVERS_PATIENCE {
            table.warn("delay", LONG_DELAY);
        }
        style.delay = delay;
    }
    table.finish();
    style
}

pub(super) fn admission(root: &mut Table<'_>) -> Admission {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut admission =
        Admission { max_in_flight: 1024, password_workers: cores, trusted_proxies: Vec::new() };
    let Some(mut table) = root.table("admission") else { return admission };
    if let Some(most) = table.integer("max_in_flight", 1..=1_000_000) {
        admission.max_in_flight = u32::try_from(most).unwrap_or(admission.max_in_flight);
    }
    if let Some(workers) = table.integer("password_workers", 1..=1024) {
        admission.password_workers = usize::try_from(workers).unwrap_or(cores);
    }
    admission.trusted_proxies = table.networks("trusted_proxies").unwrap_or_default();
    table.finish();
    admission
}

pub(super) fn cache(root: &mut Table<'_>) -> CacheSettings {
    let mut cache = CacheSettings::default();
    let Some(mut table) = root.table("cache") else { return cache };
    if let Some(tokens) = table.integer("tokens", 0..=100_000_000) {
        cache.tokens = usize::try_from(tokens).unwrap_or(cache.tokens);
    }
    if let Some(passwords) = table.duration("passwords") {
        cache.passwords = passwords;
    }
    table.finish();
    cache
}

pub(super) fn admin(
    root: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
) -> Option<SocketAddr> {
    let there = root.has("admin");
    let mut table = if there { root.table("admin")? } else { root.empty("admin") };
    let in_file = table.string("listen");
    if in_file.is_some() && overrides.admin_listen.is_some() {
        overridden.push("admin.listen".to_owned());
    }
    let text = overrides.admin_listen.clone().or(in_file);
    let text = text.unwrap_or_else(|| "127.0.0.1:8280".to_owned());
    let address = match text.as_str() {
        "" => None,
        text => match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let shown = text.escape_debug();
                table.fault("listen", format!("`{shown}` is no address: write such as \"127.0.0.1:8280\", or \"\" for none"));
                None
            }
        },
    };
    table.finish();
    address
}

pub(super) fn log(root: &mut Table<'_>) -> LogSettings {
    let mut settings = LogSettings::default();
    let Some(mut table) = root.table("log") else { return settings };
    match table.string("format").as_deref() {
        None => {}
        Some("text") => settings.format = LogFormat::Text,
        Some("json") => settings.format = LogFormat::Json,
        Some(_) => table.fault("format", "must be \"text\" or \"json\""),
    }
    match table.string("level").as_deref() {
        None => {}
        Some("error") => settings.level = LevelFilter::ERROR,
        Some("warn") => settings.level = LevelFilter::WARN,
        Some("info") => settings.level = LevelFilter::INFO,
        Some("debug") => settings.level = LevelFilter::DEBUG,
        Some("trace") => settings.level = LevelFilter::TRACE,
        Some(_) => table.fault("level", "must be error, warn, info, debug or trace"),
    }
    table.finish();
    settings
}
