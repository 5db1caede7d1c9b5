//! Connects as a login would, and sends nothing.

use std::{sync::Arc, time::Duration};

use callgate::sanitize::excerpt_up_to;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::network::of_io;

const NOT_A_HOST: &str = "it is not a host name or address";

/// Connects to a host and completes TLS if there is a configuration for it.
///
/// # Errors
/// Why that failed, without secrets.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
    limit: Duration,
) -> Result<(), String> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let connected = async {
        let stream = TcpStream::connect((host, port)).await.map_err(|error| of_io(&error))?;
        let Some(tls) = tls else { return Ok(()) };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NOT_A_HOST.to_owned())?;
        let session = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        session.map(drop).map_err(|error| of_io(&error))
    };
    let result = timeout(limit, connected).await.unwrap_or(Err("no connection in time".to_owned()));
    result.map_err(|error| {
        let host = host.escape_debug();
        format!("no connection to `{host}:{port}`: {}", excerpt_up_to(&error, 200))
    })
}
