//! Where a request comes from, as far as fairness is concerned.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    connection::ConnectionKind,
    request::{AuthRequest, Credential},
};

/// The source of a request, for fairness between sources: an IPv4 address, an IPv6 /64, or the
/// server for leaf nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceKey {
    /// An address; IPv6 is cut to its first 64 bits.
    Address(IpAddr),
    /// A shared address (a trusted proxy) and the user behind it.
    ProxiedUser(IpAddr, Arc<str>),
    /// A server, for its leaf nodes and for clients without a usable address.
    Server(Arc<str>),
}

impl SourceKey {
    /// The source of `request`. `trusted_proxies` are addresses that many users share.
    pub fn of(request: &AuthRequest, user: &str, trusted_proxies: &[IpNet]) -> Self {
        let client = request.client();
        let is_leaf = client.connection == ConnectionKind::LeafNode;
        match client.ip {
            Some(ip) if !is_leaf => {
                if trusted_proxies.iter().any(|network| network.contains(&ip)) {
                    return Self::ProxiedUser(ip, user.into());
                }
                Self::Address(network_of(ip))
            }
            Some(_) | None => Self::Server(request.server().id.as_str().into()),
        }
    }

    /// The same; behind a proxy each claimed user name or nkey is a source of its own.
    pub(crate) fn of_request(request: &AuthRequest, trusted_proxies: &[IpNet]) -> Self {
        let user = match request.credential() {
            Credential::Password { user, .. } => user.as_str(),
            Credential::Nkey(key) => key.as_str(),
            Credential::Token(_) | Credential::Certificate | Credential::Anonymous => "",
        };
        Self::of(request, user, trusted_proxies)
    }
}

fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        // One customer usually has a whole /64, so its addresses count as one.
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !0u128 << 64).into(),
    }
}
