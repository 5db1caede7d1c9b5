//! One connection to a directory server, with one operation at a time.
//!
//! An operation that does not end leaves an answer on its way. Callers then drop the connection, which
//! closes it, so that no answer is ever taken for that of another login.

use std::{io, sync::Arc};

use callgate::secret::Secret;
use futures_util::FutureExt;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::unconstrained,
};
use tokio_rustls::TlsConnector;

use super::{
    ber,
    message::{Entry, Message, OperationResult, Request, Response, Search},
    server::{Server, Transport},
};
use crate::network::of_io;

/// How many bytes all answers to one operation may have.
const MAX_ANSWER: usize = 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to a directory server.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// The id of the last request.
    id: i32,
}

/// Why there is no complete and well-formed answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the server refuses StartTLS with code {}{}", .0.code, .0.said())]
    StartTls(OperationResult),
    #[error("the connection failed: {0}")]
    Failed(String),
    #[error("the server closed the connection")]
    Closed,
    #[error("the answer is not LDAP")]
    Malformed,
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
}

/// The answer to a search.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    /// How many references to other servers were ignored.
    pub(crate) references: usize,
    pub(crate) result: OperationResult,
}

impl Connection {
    /// Connects. TLS is complete, and the server's name verified, before this returns.
    ///
    /// # Errors
    /// If the server is not reached, or refuses TLS, or its certificate is not valid for its name.
    pub(crate) async fn open(
        server: &Server,
        tls: Option<&Arc<rustls::ClientConfig>>,
        name: ServerName<'static>,
    ) -> Result<Self, ConnectionError> {
        let address = (server.host.as_str(), server.port);
        let mut tcp = TcpStream::connect(address).await.map_err(connect_error)?;
        // A request is one small write; without this, it may wait for the acknowledgement of the
        // previous one.
        tcp.set_nodelay(true).map_err(connect_error)?;
        if server.transport == Transport::StartTls {
            start_tls(&mut tcp).await?;
        }
        let stream: Box<dyn Stream> = match (server.transport, tls) {
            (Transport::Plain, _) => Box::new(tcp),
            (Transport::Tls | Transport::StartTls, None) => {
                return Err(ConnectionError::Connect("TLS is not set up".to_owned()));
            }
            (Transport::Tls | Transport::StartTls, Some(tls)) => {
                let connector = TlsConnector::from(Arc::clone(tls));
                Box::new(connector.connect(name, tcp).await.map_err(connect_error)?)
            }
        };
        Ok(Self { stream: BufReader::new(stream), id: 0 })
    }

    /// Binds with a password.
    ///
    /// # Errors
    /// If there is no well-formed result. A result other than success is not an error.
    pub(crate) async fn bind(
        &mut self,
        name: &str,
        password: &Secret,
    ) -> Result<OperationResult, ConnectionError> {
        let mut left = self.send(&Request::bind(name, password)).await?;
        match self.receive(&mut left).await? {
            Response::Bind(result) => Ok(result),
            _ => Err(ConnectionError::Malformed),
        }
    }

    /// Searches. References to other servers are counted and ignored.
    ///
    /// # Errors
    /// If there is no well-formed result. A result other than success is not an error.
    pub(crate) async fn search(&mut self, search: Search<'_>) -> Result<Found, ConnectionError> {
        let mut left = self.send(&Request::search(search)).await?;
        let mut entries = Vec::new();
        let mut references = 0;
        loop {
            match self.receive(&mut left).await? {
                Response::Entry(entry) => entries.push(entry),
                Response::Reference => references += 1,
                Response::SearchDone(result) => return Ok(Found { entries, references, result }),
                Response::Bind(_) | Response::Extended(_) => {
                    return Err(ConnectionError::Malformed);
                }
            }
        }
    }

    /// True if the server has neither closed the connection nor sent anything since the last answer.
    pub(crate) fn is_quiet(&mut self) -> bool {
        // Otherwise, a task that has run for long would see every connection as quiet.
        unconstrained(self.stream.fill_buf()).now_or_never().is_none()
    }

    /// Sends a request; returns how many bytes its answers may have.
    async fn send(&mut self, request: &Request) -> Result<usize, ConnectionError> {
        self.id = self.id.checked_add(1).ok_or(ConnectionError::Malformed)?;
        send(&mut self.stream, &request.encode(self.id)).await?;
        Ok(MAX_ANSWER)
    }

    async fn receive(&mut self, left: &mut usize) -> Result<Response, ConnectionError> {
        receive(&mut self.stream, self.id, left).await
    }
}

/// Nothing is read beyond the answer: whatever a third party sends after it is part of the TLS
/// handshake, which then fails.
async fn start_tls(tcp: &mut TcpStream) -> Result<(), ConnectionError> {
    send(tcp, &Request::start_tls().encode(1)).await?;
    match receive(tcp, 1, &mut MAX_ANSWER.clone()).await? {
        Response::Extended(result) if result.code == 0 => Ok(()),
        Response::Extended(result) => Err(ConnectionError::StartTls(result)),
        _ => Err(ConnectionError::Malformed),
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> Result<(), ConnectionError> {
    stream.write_all(message).await.map_err(failed)?;
    stream.flush().await.map_err(failed)
}

/// Reads one message, which must answer the request with this id.
async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    id: i32,
    left: &mut usize,
) -> Result<Response, ConnectionError> {
    let length = read_header(stream).await?;
    *left = left.checked_sub(length).ok_or(ConnectionError::TooLong)?;
    // Grows with what arrives, not with what the header promises.
    let mut content = Vec::new();
    stream.take(length as u64).read_to_end(&mut content).await.map_err(failed)?;
    if content.len() < length {
        return Err(ConnectionError::Closed);
    }
    let message = Message::decode(&content).ok_or(ConnectionError::Malformed)?;
    match message.response {
        // The notice of disconnection (RFC 4511 section 4.4.1).
        Response::Extended(_) if message.id == 0 => Err(ConnectionError::Closed),
        response if message.id == id => Ok(response),
        _ => Err(ConnectionError::Malformed),
    }
}

/// Reads the header of a message: the length of its content.
async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<usize, ConnectionError> {
    let mut header = [0; 6];
    let mut filled = 0;
    loop {
        let Some((next, _)) = header.get_mut(filled..).and_then(<[u8]>::split_first_mut) else {
            return Err(ConnectionError::Malformed);
        };
        *next = stream.read_u8().await.map_err(failed)?;
        filled += 1;
        let (tag, encoded) = header.split_first().ok_or(ConnectionError::Malformed)?;
        let encoded = encoded.get(..filled - 1).unwrap_or_default();
        let is_valid = *tag == ber::SEQUENCE
            && encoded.first().is_none_or(|first| *first <= 0x84 && *first != 0x80);
        if !is_valid {
            return Err(ConnectionError::Malformed);
        }
        if let Some((length, _)) = ber::length(encoded) {
            return Ok(length);
        }
    }
}

fn connect_error(error: io::Error) -> ConnectionError {
    ConnectionError::Connect(of_io(&error))
}

fn failed(error: io::Error) -> ConnectionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => ConnectionError::Closed,
        _ => ConnectionError::Failed(of_io(&error)),
    }
}
