//! The input of a decision.

use crate::{
    authn::Identity,
    clock::UnixTime,
    request::{AuthRequest, Client, Server},
};

/// The parts of an authorization request that policy uses.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionInfo<'a> {
    /// The client, as the server describes it.
    pub client: &'a Client,
    /// The server that sent the request.
    pub server: &'a Server,
    /// The bytes of the connection's user nkey. It is new for each connection, so expiry differs.
    pub user_nkey: &'a [u8; 32],
}

impl<'a> ConnectionInfo<'a> {
    /// The connection of an authorization request.
    pub fn of(request: &'a AuthRequest) -> Self {
        Self {
            client: request.client(),
            server: request.server(),
            user_nkey: request.user_nkey().bytes(),
        }
    }
}

/// The question for [`Policy::resolve`](super::Policy::resolve): what may this identity do?
#[derive(Debug, Clone, Copy)]
pub struct ResolveRequest<'a> {
    /// The name of the authenticator that verified the identity.
    pub authenticator: &'a str,
    /// The identity.
    pub identity: &'a Identity,
    /// The connection.
    pub connection: ConnectionInfo<'a>,
    /// The account of the service itself, as learned at connect. Clients are never placed there.
    pub callout_account: Option<&'a str>,
    /// The current time.
    pub now: UnixTime,
}
