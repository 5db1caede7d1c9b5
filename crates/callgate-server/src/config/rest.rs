//! `[nats]`, `[session]`, `[refusal]`, `[admission]`, `[cache]`, `[admin]`, `[log]`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use async_nats::ServerAddr;
use callgate::{RefusalStyle, policy::settings::SessionSettings};
use callgate_authenticators::kind::CacheSettings;
use callgate_config::Table;
use tracing_subscriber::filter::LevelFilter;

use super::{Admission, flags::Overrides, login, tls};
use crate::{nats::NatsSettings, telemetry::LogFormat};

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
    let login = login::read(&mut table, overrides, overridden, servers.as_deref());
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
            Some(vec![url.clone()])
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
    // Commas separate servers, as in the URLs of nats-server and its clients.
    let servers: Vec<Option<ServerAddr>> = texts
        .iter()
        .flat_map(|text| text.split(',').map(str::trim))
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
        // Too short a one is the policy's to refuse.
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
    let max = table.integer("silent_max", 0..=1_000_000);
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
        text => listener(text).or_else(|| {
            let shown = text.escape_debug();
            table.fault(
                "listen",
                format!(
                    "`{shown}` is no address: write such as \"127.0.0.1:8280\", or \"\" for none"
                ),
            );
            None
        }),
    };
    table.finish();
    address
}

/// An address; `localhost` is the loopback, whatever the hosts file says, and no host is all of them.
fn listener(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let ip = match host.to_ascii_lowercase().as_str() {
        "localhost" => Ipv4Addr::LOCALHOST,
        "" => Ipv4Addr::UNSPECIFIED,
        _ => return None,
    };
    Some(SocketAddr::from((ip, port.parse().ok()?)))
}

pub(super) fn log(root: &mut Table<'_>) -> LogSettings {
    let mut settings = LogSettings::default();
    let Some(mut table) = root.table("log") else { return settings };
    let lower = |text: Option<String>| text.map(|text| text.to_ascii_lowercase());
    match lower(table.string("format")).as_deref() {
        None => {}
        Some("text") => settings.format = LogFormat::Text,
        Some("json") => settings.format = LogFormat::Json,
        Some(_) => table.fault("format", "must be \"text\" or \"json\""),
    }
    match lower(table.string("level")).as_deref() {
        None => {}
        Some("off") => settings.level = LevelFilter::OFF,
        Some("error") => settings.level = LevelFilter::ERROR,
        Some("warn") => settings.level = LevelFilter::WARN,
        Some("info") => settings.level = LevelFilter::INFO,
        Some("debug") => settings.level = LevelFilter::DEBUG,
        Some("trace") => settings.level = LevelFilter::TRACE,
        Some(_) => table.fault("level", "must be off, error, warn, info, debug or trace"),
    }
    table.finish();
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_may_be_named_as_people_do() {
        for (text, expected) in [
            ("127.0.0.1:8280", Some("127.0.0.1:8280")),
            ("[::1]:80", Some("[::1]:80")),
            ("localhost:8280", Some("127.0.0.1:8280")),
            ("LocalHost:0", Some("127.0.0.1:0")),
            (":8280", Some("0.0.0.0:8280")),
            ("8280", None),
            ("localhost", None),
            ("localhost:", None),
            (":65536", None),
            ("example.org:80", None),
            ("::1", None),
        ] {
            let address = listener(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }
}
