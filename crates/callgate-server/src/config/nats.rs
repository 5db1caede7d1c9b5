//! `[nats]`.

use async_nats::ServerAddr;
use callgate_config::{Key, Table, Type, schema::TEXTS};

use super::{flags::Overrides, login, tls};
use crate::nats::{NatsSettings, Purpose, TlsSettings};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "servers",
        Type::Named("string or list", &TEXTS),
        "addresses such as `nats://127.0.0.1:4222` or `tls://…`; a string may contain several, separated by \
         commas. Credentials in the URL work: `nats://USER:PASSWORD@…`, `nats://TOKEN@…`",
    )
    .or_else("required"),
    Key::optional("user", Type::Text, "log in with a password; belongs to `password`").or_else(""),
    Key::optional("password", Type::Secret, "belongs to `user`").or_else(""),
    Key::optional("token", Type::Secret, "log in with a token").or_else(""),
    Key::optional("nkey", Type::Seed("SU…"), "log in with an nkey").or_else(""),
    Key::optional("creds", Type::Path, "log in with a credentials file (operator mode)").or_else(""),
    Key::optional(
        "queue",
        Type::Text,
        "the queue group. It must be the same for all replicas, and for any other responder during a \
         migration; otherwise each request is answered twice",
    )
    .or("\"callgate\""),
    Key::optional(
        "tls",
        Type::Table(tls::KEYS),
        "requires TLS, even if the table is empty: Callgate sends nothing to a server that does not offer \
         TLS. One `tls://` or `wss://` address requires TLS for all addresses",
    ),
];

pub(super) fn read(
    root: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
) -> Option<NatsSettings> {
    let is_present = root.has("nats");
    let mut table = if is_present { root.table("nats")? } else { root.empty("nats") };
    let servers = servers(&mut table, overrides, overridden);
    let login = login::read(&mut table, overrides, overridden, servers.as_deref());
    let tls = tls::read(&mut table);
    let queue = queue(&mut table);
    refuse_plain_websocket(&table, servers.as_deref(), tls.as_ref());
    table.finish();
    let purpose = Purpose::Callout;
    Some(NatsSettings { purpose, servers: servers?, login: login?, tls: tls?, queue: queue? })
}

pub(super) fn refuse_plain_websocket(
    table: &Table<'_>,
    servers: Option<&[ServerAddr]>,
    tls: Option<&TlsSettings>,
) {
    let is_plain = |server: &ServerAddr| server.scheme() == "ws";
    if tls.is_some_and(|tls| tls.required) && servers.is_some_and(|all| all.iter().any(is_plain)) {
        table
            .fault("servers", "a `ws://` server has no TLS, but `tls` requires it: write `wss://`");
    }
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
                "is missing: set it, for example to [\"nats://127.0.0.1:4222\"] (or --nats-url)",
            );
            None
        }
    }?;
    addresses(table, &texts)
}

/// The addresses of `servers`.
pub(super) fn addresses(table: &Table<'_>, texts: &[String]) -> Option<Vec<ServerAddr>> {
    if texts.is_empty() {
        table.fault("servers", "names no server");
        return None;
    }
    // Commas separate servers, as in the URLs of nats-server and its clients.
    let servers: Vec<Option<ServerAddr>> = texts
        .iter()
        .flat_map(|text| text.split(',').map(str::trim))
        .map(|text| {
            // The text may contain a password, so it is not quoted.
            let wrong = "is not a server address: write one such as \"nats://127.0.0.1:4222\"";
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
