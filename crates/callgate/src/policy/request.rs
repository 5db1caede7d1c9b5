//! What policy needs to know of a request, apart from the identity.

use crate::{
    authn::Identity,
    clock::UnixTime,
    request::{AuthRequest, Client, Server},
};

/// The part of a request that policy looks at.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionInfo<'a> {
    /// The client, as the server sees it.
    pub client: &'a Client,
    /// The server that asks.
    pub server: &'a Server,
    /// The bytes of the connection's key: new for each connection, so that expiries spread.
    pub user_nkey: &'a [u8; 32],
}

impl<'a> ConnectionInfo<'a> {
    /// The connection of a request.
    pub fn of(request: &'a AuthRequest) -> Self {
        Self {
            client: request.client(),
            server: request.server(),
            user_nkey: request.user_nkey().bytes(),
        }
    }
}

/// What is to be decided: may this identity come in, and what may it do?
#[derive(Debug, Clone, Copy)]
pub struct ResolveRequest<'a> {
    /// The name of the authenticator that vouches for the identity.
    pub authenticator: &'a str,
    /// Who it is.
    pub identity: &'a Identity,
    /// About the connection.
    pub connection: ConnectionInfo<'a>,
    /// The account of the service itself, as learned at connect: nobody is placed there.
    pub callout_account: Option<&'a str>,
    /// The present moment.
    pub now: UnixTime,
}
