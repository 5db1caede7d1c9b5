//! Who is the client? Authenticators, and the chain that asks them in order.

use std::{fmt, net::IpAddr, sync::Arc};

use futures_util::future::BoxFuture;

use crate::{record::Reason, request::AuthRequest};

mod chain;
mod identity;
mod unclaimed;

pub use chain::{Chain, ChainAnswer, Link, Overloaded};
pub use identity::{Identity, Origin, Proposal};

/// Any error of a backend, for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Turns a credential into an identity.
///
/// An implementer promises, and the conformance suite of `callgate-testkit` checks:
/// - a credential that is not its kind, or names another issuer, is [`Decline::NotMine`]
///   (`answers_not_mine_to_credentials_of_other_kinds`);
/// - its own credential is admitted only if it is proven, else [`Decline::Rejected`]
///   (`rejects_a_wrong_credential`);
/// - no answer in time is [`Decline::Unavailable`], never one of the other two
///   (`is_unavailable_when_its_source_is_not_there`);
/// - nothing in an error or a `Debug` text is a secret (`never_shows_a_secret`);
/// - it can be asked by many at once, and dropping the future leaves nothing behind
///   (`survives_being_dropped_and_asked_again`). While too many wait for it, the chain asks for
///   what it can answer at once, and drops the future if it would wait.
///
/// It should not hold up its thread either: requests that arrive together are decided in turn, and
/// work of more than a millisecond belongs into [`tokio::task::spawn_blocking`].
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Identifies the client of `request`, by its one credential.
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>>;

    /// Whether its source has loaded at least once.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    /// The issuer whose tokens it takes, where tokens name theirs. It decides nothing: a token that
    /// nobody took is explained with it, to the operator.
    fn issuer(&self) -> Option<String> {
        None
    }

    /// Ends background work; called when a newer configuration took its place.
    fn retire(&self) {}
}

/// Whether an authenticator's source has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can answer.
    Ready,
    /// It cannot answer yet; says what it waits for.
    Waiting(String),
}

/// An answer other than an identity. There are three, with one meaning each.
#[derive(Debug)]
pub enum Decline {
    /// Another kind or another issuer: ask the next.
    NotMine,
    /// Mine, and bad: refuse.
    Rejected(Rejection),
    /// No answer in time, or a malformed one: refuse, `temporarily unavailable`.
    Unavailable(BoxError),
}

impl Decline {
    /// Mine, and bad.
    pub fn rejected(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Rejected(Rejection { reason, detail: detail.into() })
    }
}

impl From<Rejection> for Decline {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Why a credential was rejected, for the operator only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The stable reason.
    pub reason: Reason,
    /// What the operator should know. Never a secret.
    pub detail: String,
}

/// From where a request comes, for fairness between sources: an IPv4 address, an IPv6 network of
/// 64 bits, or for leaf nodes the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceKey {
    /// An address, IPv6 cut to its first 64 bits.
    Address(IpAddr),
    /// A shared address (a trusted proxy) and the user that it brings.
    ProxiedUser(IpAddr, Arc<str>),
    /// A server, for its leaf nodes and for clients without a usable address.
    Server(Arc<str>),
}

impl SourceKey {
    /// The source of `request`. `trusted_proxies` are addresses that many users share.
    pub fn of(request: &AuthRequest, user: &str, trusted_proxies: &[ipnet::IpNet]) -> Self {
        let client = request.client();
        let is_leaf = client.connection == crate::connection::ConnectionKind::LeafNode;
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
}

fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        // One customer usually has a whole /64, so its addresses count as one.
        IpAddr::V6(ip) => std::net::Ipv6Addr::from_bits(ip.to_bits() & !0u128 << 64).into(),
    }
}
