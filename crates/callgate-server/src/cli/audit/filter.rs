//! Which records a query prints.

use std::net::IpAddr;

use callgate_config::parse_duration;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use crate::audit::{Hidden, HideKey};

/// A query. Every condition that is present must hold.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// From this time (RFC 3339), or this long ago (`24h`)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Before this time, or this long ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// The type, such as `decision` or `lock`; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
    /// The user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The client's address, or its network
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// The account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// The authenticator
    #[arg(long, value_name = "NAME")]
    authenticator: Option<String>,
    /// The reason code
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// admitted, refused or dropped
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// A connection: SERVER_ID/CID
    #[arg(long, value_name = "ID", value_parser = session)]
    session: Option<(String, u64)>,
}

pub(in crate::cli) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = parse_duration(text).ok().and_then(|ago| Timestamp::now().checked_sub(ago).ok());
    ago.ok_or_else(|| {
        "write a time such as 2026-11-29T10:00:00Z, or a duration such as 24h".to_owned()
    })
}

fn session(text: &str) -> Result<(String, u64), String> {
    let parts = text.split_once('/').and_then(|(server, cid)| Some((server, cid.parse().ok()?)));
    let (server, cid) = parts.ok_or_else(|| "write SERVER_ID/CID".to_owned())?;
    Ok((server.to_owned(), cid))
}

impl Filter {
    /// Whether a record matches. Hidden fields are found if the key is known.
    pub(super) fn matches(&self, record: &Value, key: Option<&HideKey>) -> bool {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_deref().is_none_or(|wanted| text(name) == Some(wanted))
        };
        let time = || text("time").and_then(|time| time.parse::<Timestamp>().ok());
        self.since.is_none_or(|since| time().is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time().is_some_and(|time| time < until))
            && (self.kind.is_empty()
                || text("type").is_some_and(|kind| self.kind.iter().any(|wanted| wanted == kind)))
            && is(&self.account, "account")
            && is(&self.authenticator, "authenticator")
            && is(&self.reason, "reason")
            && is(&self.outcome, "outcome")
            && self.user.as_deref().is_none_or(|user| is_value(record, Hidden::User, user, key))
            && self.source.as_deref().is_none_or(|source| is_source(record, source, key))
            && self.session.as_ref().is_none_or(|(server, cid)| {
                text("server_id") == Some(server)
                    && record.get("client_id").and_then(Value::as_u64) == Some(*cid)
            })
    }
}

/// The values of a field: of a connection, or of the target of a lock.
fn values(record: &Value, field: Hidden) -> impl Iterator<Item = &str> {
    let (own, target) = match field {
        Hidden::User => ("/user", "/target/user"),
        Hidden::Source => ("/client_host", "/target/source"),
        Hidden::ClientName => ("/client_name", "/target/client_name"),
    };
    [own, target].into_iter().filter_map(|at| record.pointer(at).and_then(Value::as_str))
}

fn is_value(record: &Value, field: Hidden, wanted: &str, key: Option<&HideKey>) -> bool {
    let hashed = key.map(|key| key.hash(field, wanted));
    values(record, field).any(|value| value == wanted || Some(value) == hashed.as_deref())
}

fn is_source(record: &Value, wanted: &str, key: Option<&HideKey>) -> bool {
    let network: Option<IpNet> = wanted.parse().ok();
    let inside = |value: &str| {
        let address: Option<IpAddr> = value.parse().ok();
        network.zip(address).is_some_and(|(network, address)| network.contains(&address))
    };
    is_value(record, Hidden::Source, wanted, key) || values(record, Hidden::Source).any(inside)
}
