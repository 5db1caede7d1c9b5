//! An HTTP server with scripted answers, for tests.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// How the server answers a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends these bytes and closes the connection.
    Raw(Vec<u8>),
    /// Closes the connection without an answer.
    Hangup,
    /// Sends nothing and keeps the connection open.
    Silence,
    /// Sends a valid head, then spaces until the client disconnects.
    Endless,
    /// Sends these bytes, one every 50 ms.
    Dripping(Vec<u8>),
}

impl Reply {
    pub(crate) fn json(body: &str) -> Self {
        Self::with_head("200 OK", "content-type: text/plain\r\n", body)
    }

    pub(crate) fn with_head(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
        Self::Raw(format!("{head}{body}").into_bytes())
    }
}

/// A server on a free loopback port.
pub(crate) struct TestServer {
    pub(crate) origin: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    requests: Arc<AtomicUsize>,
    last_request: Arc<Mutex<String>>,
    last_body: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let replies = Arc::<Mutex<HashMap<String, Reply>>>::default();
        let requests = Arc::<AtomicUsize>::default();
        let last_request = Arc::<Mutex<String>>::default();
        let last_body = Arc::<Mutex<String>>::default();
        let state = (
            Arc::clone(&replies),
            Arc::clone(&requests),
            Arc::clone(&last_request),
            Arc::clone(&last_body),
        );
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (replies, requests, last_request, last_body) = state.clone();
                tokio::spawn(async move {
                    let Some((stream, text, body)) = request(stream).await else { return };
                    requests.fetch_add(1, Ordering::SeqCst);
                    let path = text.split(' ').nth(1).unwrap_or_default();
                    let reply = replies.lock().unwrap().get(path).cloned();
                    *last_request.lock().unwrap() = text;
                    *last_body.lock().unwrap() = body;
                    let missing = || Reply::with_head("404 Not Found", "", "nothing");
                    answer(stream, reply.unwrap_or_else(missing)).await;
                });
            }
        });
        Self { origin, replies, requests, last_request, last_body, task }
    }

    pub(crate) fn on(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    pub(crate) fn request_count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The head of the last request.
    pub(crate) fn last_request(&self) -> String {
        self.last_request.lock().unwrap().clone()
    }

    /// The body of the last request.
    pub(crate) fn last_body(&self) -> String {
        self.last_body.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads the head and the body of a request.
async fn request(mut stream: TcpStream) -> Option<(TcpStream, String, String)> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| {
                rest.split("\r\n").next().and_then(|number| number.parse::<usize>().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((stream, format!("{head}\r\n\r\n"), body.to_owned()));
            }
        }
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&chunk[..count]);
    }
}

/// Ignores errors: in some tests the client disconnects.
async fn answer(mut stream: TcpStream, reply: Reply) {
    match reply {
        Reply::Raw(bytes) => drop(stream.write_all(&bytes).await),
        Reply::Hangup => {}
        Reply::Silence => drop(stream.read(&mut [0; 1]).await),
        Reply::Endless => {
            let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            let mut result = stream.write_all(head).await;
            while result.is_ok() {
                result = stream.write_all(&[b' '; 65536]).await;
            }
        }
        Reply::Dripping(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}
