//! Lets the name in the server's certificate differ from the host in the URL.
//!
//! sqlx verifies the certificate for the host that it connects to. With `tls.server_name`, it receives
//! that name as the host, and a socket of this relay to connect to. TLS passes through unopened.

use std::{
    io,
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr},
    path::PathBuf,
    time::Duration,
};

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use tokio::net::{TcpStream, UnixListener};

use super::verified_tls::VerifiedTls;

/// For sqlx to connect to the socket.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The database behind a relay.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Relay {
    /// The host name for sqlx, which is the name in the certificate, and a relay if the server has
    /// another one.
    pub(crate) fn for_name<'a>(
        host: &'a str,
        port: u16,
        tls: Option<&'a VerifiedTls>,
    ) -> (&'a str, Option<Self>) {
        let name = tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or(host);
        (name, (name != host).then(|| Self { host: host.to_owned(), port }))
    }

    /// Connects to the database. Returns the path of an abstract socket for one connection, to which the
    /// client appends `suffix`.
    ///
    /// # Errors
    /// If the database does not accept a connection.
    pub(crate) async fn start(&self, suffix: &str) -> io::Result<PathBuf> {
        let mut server = TcpStream::connect((self.host.as_str(), self.port)).await?;
        server.set_nodelay(true)?;
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("callgate-{}", HEXLOWER.encode(&random));
        let address = SocketAddr::from_abstract_name(format!("{name}{suffix}"))?;
        let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        tokio::spawn(async move {
            let accepted = tokio::time::timeout(ACCEPT_TIMEOUT, listener.accept()).await;
            let Ok(Ok((mut client, _))) = accepted else { return };
            drop(listener);
            // Any process in the network namespace can see the name of an abstract socket.
            let peer = client.peer_cred().ok().and_then(|peer| peer.pid());
            if peer.and_then(|pid| u32::try_from(pid).ok()) != Some(std::process::id()) {
                return;
            }
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            // The end of one direction is the end of the connection.
            tokio::select! {
                _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            }
        });
        Ok(PathBuf::from(format!("\0{name}")))
    }
}
