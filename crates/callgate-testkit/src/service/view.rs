//! The admin endpoint and the log of a running service.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::wait::{LONG, eventually};

/// How long a responsive endpoint may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The admin endpoint and the log of a running service.
#[derive(Debug, Clone)]
pub struct View {
    admin: String,
    log: PathBuf,
}

impl View {
    pub(super) fn new(admin: String, log: PathBuf) -> Self {
        Self { admin, log }
    }

    /// Waits until `/readyz` is 200.
    pub async fn ready(&self) {
        eventually("callgate to be ready", LONG, async || {
            matches!(self.try_get("/readyz").await, Some((200, _))).then_some(())
        })
        .await;
    }

    /// Waits until `/readyz` is 503; returns why.
    pub async fn not_ready(&self) -> String {
        eventually("callgate not to be ready", LONG, async || match self.try_get("/readyz").await {
            Some((503, why)) => Some(why.trim().to_owned()),
            Some(_) | None => None,
        })
        .await
    }

    /// The address of the admin endpoint.
    pub fn admin_address(&self) -> &str {
        &self.admin
    }

    /// Status and body of a path of the admin endpoint.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = timeout(LONG, http_get(&self.admin, path)).await;
        answer.expect("an answer in time").expect("an answer")
    }

    /// The whole response, head and body, to a request with an `Accept` header.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn get_accepting(&self, path: &str, accept: &str) -> String {
        let header = format!("Accept: {accept}\r\n");
        timeout(LONG, exchange(&self.admin, path, &header))
            .await
            .expect("an answer in time")
            .expect("an answer")
    }

    /// Status and body; `None` without an answer in two seconds.
    pub async fn try_get(&self, path: &str) -> Option<(u16, String)> {
        timeout(ANSWER, http_get(&self.admin, path)).await.ok()?
    }

    /// All samples of `/metrics`; empty without an answer.
    pub async fn metrics(&self) -> Vec<(String, f64)> {
        match self.try_get("/metrics").await {
            Some((200, text)) => samples(&text),
            Some(_) | None => Vec::new(),
        }
    }

    /// The value of the sample with this name and these labels; without labels, the sum of all; 0 by default.
    ///
    /// # Panics
    /// If the admin endpoint does not answer.
    pub async fn metric(&self, sample: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let samples = samples(&text).into_iter();
        samples.filter(|(name, _)| is_of(name, sample)).map(|(_, value)| value).sum()
    }

    /// Waits until that value is reached.
    pub async fn metric_reaches(&self, sample: &str, value: f64) {
        eventually(&format!("{sample} to reach {value}"), LONG, async || {
            (self.metric(sample).await >= value).then_some(())
        })
        .await;
    }

    /// The log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The current end of the log.
    pub fn mark(&self) -> usize {
        self.log().len()
    }

    /// Records after a mark.
    pub fn records(&self, mark: usize) -> Vec<Value> {
        let log = self.log();
        let lines = log.get(mark..).unwrap_or_default().lines();
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Admissions and refusals after a mark.
    pub fn decisions(&self, mark: usize) -> Vec<Value> {
        let decided =
            |record: &Value| matches!(record["outcome"].as_str(), Some("admitted" | "refused"));
        self.records(mark).into_iter().filter(decided).collect()
    }

    /// Waits for the first decision after a mark.
    pub async fn decision(&self, mark: usize) -> Value {
        eventually("a decision in the log", LONG, async || self.decisions(mark).into_iter().next())
            .await
    }

    /// Waits for a log line after a mark that contains all of these words.
    pub async fn line(&self, mark: usize, words: &[&str]) -> String {
        eventually(&format!("a line of the log with {words:?}"), LONG, async || {
            let log = self.log();
            let mut lines = log.get(mark..).unwrap_or_default().lines();
            lines.find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
        .await
    }

    /// Waits for a record after a mark whose line contains all of these words.
    ///
    /// # Panics
    /// If the log is not JSON.
    pub async fn record(&self, mark: usize, words: &[&str]) -> Value {
        let line = self.line(mark, words).await;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    /// Waits for a log line after a mark that contains this text.
    pub async fn says(&self, mark: usize, text: &str) -> String {
        self.line(mark, &[text]).await
    }
}

fn samples(text: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| line.rsplit_once(' '));
    samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

fn is_of(name: &str, sample: &str) -> bool {
    name.strip_prefix(sample).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
}

/// Status and body of a path of an HTTP server.
pub async fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    let answer = exchange(address, path, "").await?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

async fn exchange(address: &str, path: &str, headers: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}
