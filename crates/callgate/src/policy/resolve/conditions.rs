//! Conditions on the connection: its source network, its type, and the time of day.
//!
//! nats-server ignores these limits in a callout's answer, so Callgate enforces them at login.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::trace::{Enforcer, Step, Trace};
use crate::{
    clock::UnixTime,
    connection::ConnectionKinds,
    policy::{compile::role::Role, request::ConnectionInfo},
    reason::{Denial, Reason},
};

impl Role {
    /// Checks the role's `connection_types`, `source` and `times`. Returns when the current time
    /// window closes.
    pub(super) fn check_conditions(
        &self,
        connection: &ConnectionInfo<'_>,
        now: UnixTime,
    ) -> Result<Option<UnixTime>, Denial> {
        check_connection_type(self.connection_types, connection, &self.name)?;
        check_source(self.source.as_deref(), connection, &self.name)?;
        let Some(windows) = &self.times else { return Ok(None) };
        match windows.open_until(now) {
            Some(end) => Ok(Some(end)),
            None => Err(Denial::new(
                Reason::OutsideHours,
                format!("`{}` does not apply at this time of day ({now})", self.name),
            )),
        }
    }
}

/// Enforces `connection_types` of a role or an entry.
pub(super) fn check_connection_type(
    kinds: ConnectionKinds,
    connection: &ConnectionInfo<'_>,
    owner: &str,
) -> Result<(), Denial> {
    let kind = connection.client.connection;
    match kinds.contains(kind) {
        true => Ok(()),
        false => Err(Denial::new(
            Reason::ConnectionTypeNotAllowed,
            format!("`{owner}` allows {kinds}, not {kind}"),
        )),
    }
}

/// Enforces `source` of a role or an entry: the TCP peer must be in one of these networks.
pub(super) fn check_source(
    source: Option<&[IpNet]>,
    connection: &ConnectionInfo<'_>,
    owner: &str,
) -> Result<(), Denial> {
    let Some(networks) = source else { return Ok(()) };
    let peer = connection.client.ip.map(|ip| ip.to_canonical());
    if peer.is_some_and(|peer| networks.iter().any(|network| contains(network, peer))) {
        return Ok(());
    }
    let host = connection.client.host.escape_debug();
    let detail = format!("`{owner}` does not allow the source `{host}`");
    Err(Denial::new(Reason::SourceNotAllowed, detail))
}

/// Also matches IPv4 addresses in their IPv6-mapped form.
fn contains(network: &IpNet, peer: IpAddr) -> bool {
    network.contains(&peer)
        || match (network, peer) {
            (IpNet::V6(network), IpAddr::V4(peer)) => network.contains(&peer.to_ipv6_mapped()),
            (IpNet::V4(_), _) | (IpNet::V6(_), IpAddr::V6(_)) => false,
        }
}

/// Records limits in the trace, and remembers which kinds of limits there are.
#[derive(Debug, Default)]
pub(super) struct LimitTrace(BTreeSet<&'static str>);

impl LimitTrace {
    /// Records a limit and where it comes from.
    pub(super) fn record<T: Trace>(
        &mut self,
        trace: &mut T,
        limit: &'static str,
        value: impl FnOnce() -> String,
        from: impl FnOnce() -> String,
    ) {
        if !T::ENABLED {
            return;
        }
        self.0.insert(limit);
        let enforced_by = Enforcer::Callgate;
        trace.record(|| Step::Limit { limit, value: value(), from: from(), enforced_by });
    }

    /// Records the limits of a role.
    pub(super) fn record_role<T: Trace>(&mut self, trace: &mut T, role: &Role, applies: bool) {
        let suffix = if applies { "" } else { ", which does not apply" };
        let from = || format!("role `{}`{suffix}", role.name);
        if let Some(networks) = &role.source {
            self.record(trace, "source", || joined(networks), from);
        }
        self.record(trace, "connection_types", || role.connection_types.to_string(), from);
        if let Some(windows) = &role.times {
            self.record(trace, "times", || windows.to_string(), from);
        }
    }

    /// The kinds of limits that were recorded.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

/// The items, separated by commas.
pub(super) fn joined(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
