//! A web service that decides.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Answers by user name; 500 to others. Stops on drop.
#[derive(Debug)]
pub(crate) struct WebService {
    url: String,
    state: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    answers: Mutex<HashMap<String, Value>>,
    questions: Mutex<Vec<Value>>,
    delay: Mutex<Duration>,
}

impl WebService {
    pub(crate) async fn start() -> Self {
        let state = Arc::<Shared>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/login", listener.local_addr().unwrap());
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, state, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The answer for this user.
    pub(crate) fn answer(&self, user: &str, answer: Value) {
        self.state.answers.lock().unwrap().insert(user.to_owned(), answer);
    }

    /// Delays every answer.
    pub(crate) fn delay(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }

    /// The questions so far.
    pub(crate) fn questions(&self) -> Vec<Value> {
        self.state.questions.lock().unwrap().clone()
    }
}

impl Drop for WebService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request. A connection without one, as `check --connect` makes, is closed.
async fn serve(mut stream: TcpStream, state: Arc<Shared>) {
    let Some(question) = read_body(&mut stream).await else { return };
    let delay = *state.delay.lock().unwrap();
    let user = question["credential"]["user"].as_str().unwrap_or_default().to_owned();
    state.questions.lock().unwrap().push(question);
    tokio::time::sleep(delay).await;
    let answer = state.answers.lock().unwrap().get(&user).map(Value::to_string);
    let (status, body) = match answer {
        Some(answer) => ("200 OK", answer),
        None => ("500 Internal Server Error", "canary-page".to_owned()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

/// The body of a request, as JSON.
async fn read_body(stream: &mut TcpStream) -> Option<Value> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_string();
        let body =
            text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if body.is_some() {
            return body;
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&chunk[..count]);
    }
}
