//! A running `callgate serve`, whose log is JSON.

use std::{path::Path, time::Duration};

use callgate_testkit::{Process, eventually};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::CALLGATE;

/// Longer than the longest pause that is waited for: ten seconds between questions for keys.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Gate {
    process: Process,
    admin: String,
}

impl Gate {
    /// Starts it with the `callgate.toml` of a folder; it need not become ready.
    pub(crate) async fn start(folder: &Path) -> Self {
        let mut builder = Process::builder("callgate", CALLGATE)
            .args(["serve", "--config", "callgate.toml"])
            .current_dir(folder);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CALLGATE_")) {
            builder = builder.env_remove(&name);
        }
        let mut process = builder.start();
        let line = process.wait_for_stderr("serving /livez").await;
        let address = line.split("127.0.0.1:").nth(1).expect("an address of the loopback");
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        Self { process, admin: format!("127.0.0.1:{port}") }
    }

    /// Waits until `/readyz` says yes.
    pub(crate) async fn ready(&self) {
        eventually("callgate to be ready", PATIENCE, async || self.readiness().await.ok()).await;
    }

    /// `Err` is what `/readyz` says is missing.
    pub(crate) async fn readiness(&self) -> Result<(), String> {
        match self.get("/readyz").await {
            (200, _) => Ok(()),
            (_, body) => Err(body),
        }
    }

    /// The value of a sample, labels included; 0 if there is none.
    pub(crate) async fn metric(&self, sample: &str) -> u64 {
        let (_, text) = self.get("/metrics").await;
        let mut values = text.lines().filter_map(|line| line.strip_prefix(sample));
        let value = values.find(|rest| rest.starts_with(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }

    /// Waits until a sample has at least this value.
    pub(crate) async fn metric_reaches(&self, sample: &str, value: u64) {
        eventually(&format!("{sample} to reach {value}"), PATIENCE, async || {
            (self.metric(sample).await >= value).then_some(())
        })
        .await;
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.process.stderr()
    }

    /// Waits for a line that has all of these words.
    pub(crate) async fn says(&self, words: &[&str]) -> String {
        eventually(&format!("a line of the log with {words:?}"), PATIENCE, async || {
            let log = self.log();
            let mut lines = log.lines();
            lines.find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
        .await
    }

    /// The decision about the client of this name.
    pub(crate) async fn decision(&self, name: &str) -> Value {
        let client = format!("\"client_name\":\"{name}\"");
        let line = self.says(&["\"outcome\":", &client]).await;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = timeout(PATIENCE, self.fetch(path)).await;
        answer.expect("an answer in time").expect("an answer")
    }

    async fn fetch(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.expect("a status"), body.to_owned()))
    }
}
