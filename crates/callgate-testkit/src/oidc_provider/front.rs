//! A proxy between a provider and its clients: it forwards, counts, stops, delays,
//! and misbehaves.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::ports::free_port;
use crate::wait::{PATIENCE, eventually};

/// How a path misbehaves.
#[derive(Clone, Debug)]
pub enum Misbehavior {
    /// No answer until [`Front::behave`]; then the real one, late.
    Held,
    /// A status, headers (each ended by `\r\n`) and a body.
    Answer(&'static str, String, String),
    /// A valid head, then white space until the client disconnects.
    Endless,
    /// The real answer, one byte a second.
    Dripping,
    /// Half of the real answer, and then nothing, on an open connection.
    HalfClosed,
}

/// The address of a provider.
#[derive(Debug)]
pub struct Front {
    origin: String,
    port: u16,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    upstream: Option<Upstream>,
    listener: Option<JoinHandle<()>>,
}

/// The source of real responses.
#[derive(Clone, Debug)]
pub(super) enum Upstream {
    Port(u16),
    Pages(Arc<Mutex<HashMap<String, String>>>),
}

#[derive(Debug, Default)]
struct Shared {
    faults: watch::Sender<HashMap<String, Misbehavior>>,
    asked: Mutex<HashMap<String, usize>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Front {
    pub(super) fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        let port = free_port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://127.0.0.1:{port}");
        let shared = Arc::default();
        Front { origin, port, tls, shared, upstream: None, listener: None }
    }

    /// In front of the HTTP server at this port of the loopback.
    ///
    /// # Panics
    /// If another process took its port.
    pub async fn of_port(port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let mut front = Self::new(tls);
        front.serve(Upstream::Port(port)).await;
        front
    }

    pub(super) async fn serve(&mut self, upstream: Upstream) {
        self.upstream = Some(upstream);
        self.come_up().await;
    }

    /// `http://127.0.0.1:PORT` or `https://…`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of requests for a path so far, including those to which it misbehaved.
    pub fn asked(&self, path: &str) -> usize {
        self.shared.asked.lock().expect("no holder panics").get(path).copied().unwrap_or(0)
    }

    /// Waits for this many requests for a path.
    ///
    /// # Panics
    /// If that takes more than twenty seconds.
    pub async fn asked_reaches(&self, path: &str, count: usize) {
        eventually(&format!("{path} to be asked {count} times"), 2 * PATIENCE, async || {
            (self.asked(path) >= count).then_some(())
        })
        .await;
    }

    /// Makes a path misbehave until [`Front::behave`].
    pub fn misbehave(&self, path: &str, misbehavior: Misbehavior) {
        self.shared.faults.send_modify(|faults| drop(faults.insert(path.to_owned(), misbehavior)));
    }

    /// Ends all misbehavior; held requests are answered now.
    pub fn behave(&self) {
        self.shared.faults.send_modify(HashMap::clear);
    }

    /// Shows another certificate, to connections of after the next [`Front::come_up`].
    ///
    /// # Panics
    /// If it does not speak TLS.
    pub fn show(&mut self, tls: Arc<ServerConfig>) {
        assert!(self.tls.replace(tls).is_some(), "this provider speaks plain HTTP");
    }

    /// Listens again with another certificate, or without TLS.
    ///
    /// # Panics
    /// If another process took the port.
    pub async fn restart_with(&mut self, tls: Option<Arc<ServerConfig>>) {
        self.go_down().await;
        self.tls = tls;
        self.come_up().await;
    }

    /// Stops listening: connecting is refused from now on.
    pub async fn go_down(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
            let _aborted = listener.await;
        }
    }

    /// Listens (again).
    ///
    /// # Panics
    /// If another process took the port.
    pub async fn come_up(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.expect("our own port");
        let upstream = self.upstream.clone().expect("it was served before");
        let acceptor = self.tls.clone().map(TlsAcceptor::from);
        let shared = Arc::clone(&self.shared);
        self.listener = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, upstream) = (Arc::clone(&shared), upstream.clone());
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Errors only say that the client went away, or does not trust us.
                    let _ = match acceptor {
                        None => shared.answer(Box::new(stream), upstream, "http").await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => shared.answer(Box::new(stream), upstream, "https").await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        }));
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

impl Shared {
    async fn answer(
        &self,
        mut stream: Box<dyn Stream>,
        upstream: Upstream,
        scheme: &str,
    ) -> io::Result<()> {
        let request = read_request(&mut stream).await?;
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        *self.asked.lock().expect("no holder panics").entry(path.clone()).or_default() += 1;
        match self.misbehavior_of(&path, &mut stream).await? {
            None => forward(&mut stream, upstream, &path, &request, scheme).await?,
            Some(Misbehavior::Held) => return Ok(()),
            Some(Misbehavior::Answer(status, headers, body)) => {
                stream.write_all(page(status, &headers, &body).as_bytes()).await?;
            }
            Some(Misbehavior::Dripping) => {
                let mut answer = Vec::new();
                forward(&mut answer, upstream, &path, &request, scheme).await?;
                for byte in answer {
                    stream.write_u8(byte).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Some(Misbehavior::HalfClosed) => {
                let mut answer = Vec::new();
                forward(&mut answer, upstream, &path, &request, scheme).await?;
                stream.write_all(&answer[..answer.len() / 2]).await?;
                stream.shutdown().await?;
                let mut rest = [0; 512];
                while stream.read(&mut rest).await? > 0 {}
                return Ok(());
            }
            Some(Misbehavior::Endless) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b' '; 65536]).await?;
                }
            }
        }
        stream.shutdown().await
    }

    /// How the path misbehaves, once it is not held. [`Misbehavior::Held`] means that the client is gone.
    async fn misbehavior_of(
        &self,
        path: &str,
        stream: &mut impl Stream,
    ) -> io::Result<Option<Misbehavior>> {
        let mut faults = self.faults.subscribe();
        let released =
            faults.wait_for(|faults| !matches!(faults.get(path), Some(Misbehavior::Held)));
        let mut byte = [0];
        tokio::select! {
            faults = released => Ok(faults.expect("the sender is ours").get(path).cloned()),
            gone = stream.read(&mut byte) => gone.map(|_| Some(Misbehavior::Held)),
        }
    }
}

/// Reads the head, and the body if there is one. Bodies are forms, which are ASCII.
async fn read_request(stream: &mut impl Stream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut body = vec![0; body_length(&head)];
    stream.read_exact(&mut body).await?;
    Ok(head + &String::from_utf8_lossy(&body))
}

fn body_length(head: &str) -> usize {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().map_or(0, |(_, length)| length.trim().parse().expect("a length"))
}

async fn forward(
    stream: &mut (impl AsyncWrite + Unpin),
    upstream: Upstream,
    path: &str,
    request: &str,
    scheme: &str,
) -> io::Result<()> {
    match upstream {
        Upstream::Pages(pages) => {
            let body = pages.lock().expect("no holder panics").get(path).cloned();
            let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
            stream.write_all(page(status, "", &body.unwrap_or_default()).as_bytes()).await
        }
        Upstream::Port(port) => {
            let (first, rest) = request.split_once("\r\n").unwrap_or((request, ""));
            let ours = format!("Connection: close\r\nX-Forwarded-Proto: {scheme}\r\n");
            let mut provider = TcpStream::connect(("127.0.0.1", port)).await?;
            provider.write_all(format!("{first}\r\n{ours}{rest}").as_bytes()).await?;
            tokio::io::copy(&mut provider, stream).await.map(drop)
        }
    }
}

fn page(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}
