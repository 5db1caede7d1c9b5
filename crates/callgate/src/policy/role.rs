//! A named set of permissions, with the conditions under which it counts.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{
    permissions::Responses,
    request::ConnectionInfo,
    settings::Inbox,
    template::{Pattern, Template},
    times::Windows,
};
use crate::{
    clock::UnixTime,
    connection::ConnectionKinds,
    record::{Denial, Reason},
    subject::{SubjectPattern, SubscribePattern},
};

/// A checked role.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: Arc<str>,
    pub(super) publish: Side<SubjectPattern>,
    pub(super) subscribe: Side<SubscribePattern>,
    pub(super) responses: Option<Responses>,
    pub(super) inbox: Inbox,
    pub(super) expires_after: Option<Duration>,
    pub(super) source: Option<Vec<IpNet>>,
    pub(super) kinds: ConnectionKinds,
    pub(super) times: Option<Windows>,
    pub(super) tags: Vec<Template>,
    pub(super) scope: Option<String>,
}

/// One side of a role's permissions.
#[derive(Debug)]
pub(super) struct Side<T> {
    pub(super) allow: Vec<Pattern<T>>,
    pub(super) deny: Vec<Pattern<T>>,
}

impl<T> Default for Side<T> {
    fn default() -> Self {
        Self { allow: Vec::new(), deny: Vec::new() }
    }
}

impl Role {
    /// Whether the role counts for this connection at this moment; with the end of its window.
    pub(super) fn counts(
        &self,
        connection: &ConnectionInfo<'_>,
        now: UnixTime,
    ) -> Result<Option<UnixTime>, Denial> {
        check_kind(self.kinds, connection, &self.name)?;
        check_source(self.source.as_deref(), connection, &self.name)?;
        let Some(windows) = &self.times else { return Ok(None) };
        match windows.open_until(now) {
            Some(end) => Ok(Some(end)),
            None => Err(Denial::new(
                Reason::OutsideHours,
                format!("`{}` does not count at this time of day ({now})", self.name),
            )),
        }
    }
}

/// Is this kind of connection open? nats-server ignores the field in callout answers.
pub(super) fn check_kind(
    kinds: ConnectionKinds,
    connection: &ConnectionInfo<'_>,
    whose: &str,
) -> Result<(), Denial> {
    let kind = connection.client.connection;
    match kinds.contains(kind) {
        true => Ok(()),
        false => Err(Denial::new(
            Reason::ConnectionTypeNotAllowed,
            format!("`{whose}` is open to {kinds}, not to {kind}"),
        )),
    }
}

/// Does the TCP peer belong to one of these networks? nats-server ignores the field as well.
pub(super) fn check_source(
    source: Option<&[IpNet]>,
    connection: &ConnectionInfo<'_>,
    whose: &str,
) -> Result<(), Denial> {
    let Some(networks) = source else { return Ok(()) };
    let peer = connection.client.ip.map(|ip| ip.to_canonical());
    if peer.is_some_and(|peer| networks.iter().any(|network| holds(network, peer))) {
        return Ok(());
    }
    let detail =
        format!("`{whose}` does not count from `{}`", connection.client.host.escape_debug());
    Err(Denial::new(Reason::SourceNotAllowed, detail))
}

/// An IPv4 address may also come, or be written, in its IPv6 form.
fn holds(network: &IpNet, peer: IpAddr) -> bool {
    network.contains(&peer)
        || match (network, peer) {
            (IpNet::V6(network), IpAddr::V4(peer)) => network.contains(&peer.to_ipv6_mapped()),
            (IpNet::V4(_), _) | (IpNet::V6(_), IpAddr::V6(_)) => false,
        }
}
