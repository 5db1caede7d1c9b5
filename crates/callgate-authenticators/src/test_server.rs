//! An HTTP server that says exactly what a test tells it to, for tests.

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

/// What becomes of a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
    /// A good head, then zeros until the client goes away.
    Endless,
    /// These bytes, one each 50 ms.
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

/// A server on a free port of this machine.
pub(crate) struct TestServer {
    pub(crate) origin: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    asked: Arc<AtomicUsize>,
    seen: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let replies = Arc::<Mutex<HashMap<String, Reply>>>::default();
        let (asked, seen) = (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<String>>::default());
        let state = (Arc::clone(&replies), Arc::clone(&asked), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (replies, asked, seen) = state.clone();
                tokio::spawn(async move {
                    let Some((stream, text)) = head(stream).await else { return };
                    asked.fetch_add(1, Ordering::SeqCst);
                    let path = text.split(' ').nth(1).unwrap_or_default();
                    let reply = replies.lock().unwrap().get(path).cloned();
                    *seen.lock().unwrap() = text;
                    let missing = || Reply::with_head("404 Not Found", "", "nothing");
                    answer(stream, reply.unwrap_or_else(missing)).await;
                });
            }
        });
        Self { origin, replies, asked, seen, task }
    }

    pub(crate) fn on(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The head of the last one.
    pub(crate) fn last_request(&self) -> String {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn head(mut stream: TcpStream) -> Option<(TcpStream, String)> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        head.extend_from_slice(&piece[..count]);
    }
    Some((stream, String::from_utf8_lossy(&head).into_owned()))
}

/// Errors only say that the client went away, which some tests want it to.
async fn answer(mut stream: TcpStream, reply: Reply) {
    match reply {
        Reply::Raw(bytes) => drop(stream.write_all(&bytes).await),
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
