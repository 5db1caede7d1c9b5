//! `[system]`.

use std::time::Duration;

use async_nats::ServerAddr;
use callgate_config::{Key, Table, Type, schema::TEXTS};

use super::{flags::Overrides, login, nats, tls};
use crate::{
    nats::{NatsSettings, Purpose},
    system::SystemSettings,
};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "servers",
        Type::Named("string or list", &TEXTS),
        "addresses, as in `[nats]`. Without this key, `nats.tls` applies as well, unless `tls` is set",
    )
    .or_else("`nats.servers`"),
    Key::optional("user", Type::Text, "log in with a password; belongs to `password`").or_else(""),
    Key::optional("password", Type::Secret, "belongs to `user`").or_else(""),
    Key::optional("token", Type::Secret, "log in with a token").or_else(""),
    Key::optional("nkey", Type::Seed("SU…"), "log in with an nkey").or_else(""),
    Key::optional("creds", Type::Path, "log in with a credentials file (operator mode)").or_else(""),
    Key::optional("tls", Type::Table(tls::KEYS), "as in `[nats]`"),
    Key::optional(
        "reconcile",
        Type::Duration,
        "`\"5s\"` to `\"10m\"`: how often all connections are compared with the sessions that are known and with \
         the locks, by one replica at a time",
    )
    .or("\"30s\""),
    Key::optional(
        "kicks_per_second",
        Type::Integer(1, 20_000),
        "connections that all replicas together close per second. Their clients come back at once, so the pace \
         also slows down while logins are refused as `overloaded`. Locks come first, then revocations, then \
         `callgate kick`",
    )
    .or("2000"),
    Key::optional(
        "remember",
        Type::Integer(1000, 10_000_000),
        "number of sessions that are remembered. Beyond it, the oldest count as not attributed",
    )
    .or("100000"),
];

const RECONCILE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(600);

/// Reads the table. `callout` is `[nats]`, if it is valid.
pub(super) fn read(root: &mut Table<'_>, callout: Option<&NatsSettings>) -> Option<SystemSettings> {
    let mut table = root.table("system")?;
    let own_servers = match table.has("servers") {
        true => Some(table.strings("servers").and_then(|texts| nats::addresses(&table, &texts))),
        false => None,
    };
    let in_url = own_servers.as_ref().and_then(Option::as_deref);
    let login = login::read(&mut table, &Overrides::default(), &mut Vec::new(), in_url);
    let inherits_tls = own_servers.is_none() && !table.has("tls");
    let own_tls = tls::read(&mut table);
    let tls = match inherits_tls {
        true => callout.map(|callout| callout.tls.clone()),
        false => own_tls,
    };
    let servers = match own_servers {
        Some(own) => own,
        None => callout.map(|callout| callout.servers.iter().map(without_login).collect()),
    };
    nats::refuse_plain_websocket(&table, servers.as_deref(), tls.as_ref());
    let reconcile = reconcile(&mut table);
    let kicks_per_second = table.integer("kicks_per_second", 1..=20_000).unwrap_or(2000);
    let remember = table.integer("remember", 1000..=10_000_000).unwrap_or(100_000);
    table.finish();
    Some(SystemSettings {
        nats: NatsSettings {
            purpose: Purpose::System,
            servers: servers?,
            login: login?,
            tls: tls?,
            queue: String::new(),
        },
        reconcile,
        kicks_per_second: u32::try_from(kicks_per_second).unwrap_or(2000),
        remember: usize::try_from(remember).unwrap_or(100_000),
    })
}

fn reconcile(table: &mut Table<'_>) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(30);
    let Some(reconcile) = table.duration("reconcile") else { return DEFAULT };
    if !RECONCILE.contains(&reconcile) {
        table.fault("reconcile", "must be between \"5s\" and \"10m\"");
    }
    reconcile
}

/// The client would prefer the login of `[nats]` in an address to that of `[system]`.
fn without_login(server: &ServerAddr) -> ServerAddr {
    let mut url = server.clone().into_inner();
    let _only_for_addresses_without_a_host = url.set_username("");
    let _the_same = url.set_password(None);
    ServerAddr::from_url(url).unwrap_or_else(|_| server.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_addresses_lose_their_login() {
        for (address, expected) in [
            ("nats://bob:secret@host:4223", "nats://host:4223"),
            ("tls://token@host", "tls://host"),
            ("wss://host/path", "wss://host/path"),
        ] {
            let server = without_login(&address.parse().unwrap());
            assert!(!server.has_user_pass(), "{address}");
            assert_eq!(server.into_inner().as_str().trim_end_matches('/'), expected);
        }
    }
}
