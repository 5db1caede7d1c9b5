//! A running `callgate serve`.

use std::{path::Path, time::Duration};

use callgate_testkit::{Process, eventually, wait::PATIENCE};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::CALLGATE;

/// The service, and its admin endpoint. Its log is JSON.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) process: Process,
    admin: String,
}

impl Gate {
    /// Starts it with these arguments, in a folder.
    pub(crate) async fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, &[]).await
    }

    /// The same, with variables.
    pub(crate) async fn start_with(
        folder: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut builder =
            Process::builder("callgate", CALLGATE).arg("serve").args(arguments).current_dir(folder);
        for (name, _) in std::env::vars() {
            if name.starts_with("CALLGATE_") {
                builder = builder.env_remove(&name);
            }
        }
        for (name, value) in variables {
            builder = builder.env(name, value);
        }
        let mut process = builder.start();
        let line = process.wait_for_stderr("serving /livez").await;
        let address = line.split("127.0.0.1:").nth(1).expect("an address of the loopback");
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        Self { process, admin: format!("127.0.0.1:{port}") }
    }

    /// Waits until `/readyz` says yes.
    pub(crate) async fn ready(&self) {
        eventually("callgate to be ready", PATIENCE, async || {
            (self.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
    }

    /// Status and body of a path of the admin endpoint.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = timeout(Duration::from_secs(5), self.fetch(path)).await;
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

    /// The value of the sample that begins so, labels included; 0 if there is none.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find(|line| line.strip_prefix(sample).is_some_and(is_value));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }

    /// Waits until a sample has at least this value.
    pub(crate) async fn metric_reaches(&self, sample: &str, value: f64) {
        eventually(&format!("{sample} to reach {value}"), PATIENCE, async || {
            (self.metric(sample).await >= value).then_some(())
        })
        .await;
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.process.stderr()
    }

    /// Where the log ends now.
    pub(crate) fn mark(&self) -> usize {
        self.log().len()
    }

    /// The records of the log after a mark.
    pub(crate) fn records(&self, mark: usize) -> Vec<Value> {
        let log = self.log();
        let records = log[mark..].lines().map(serde_json::from_str);
        records.filter_map(Result::ok).collect()
    }

    /// The decisions after a mark.
    pub(crate) fn decisions(&self, mark: usize) -> Vec<Value> {
        let decided =
            |record: &Value| matches!(record["outcome"].as_str(), Some("admitted" | "refused"));
        self.records(mark).into_iter().filter(decided).collect()
    }

    /// The first decision after a mark.
    pub(crate) async fn decision(&self, mark: usize) -> Value {
        eventually("a decision in the log", PATIENCE, async || {
            self.decisions(mark).into_iter().next()
        })
        .await
    }

    /// A record after a mark whose line has this text.
    pub(crate) async fn says(&mut self, mark: usize, text: &str) -> Value {
        let line = self.process.wait_for_stderr_after(mark, text).await;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    /// Ends it as an operator would; it must end well, and within ten seconds.
    pub(crate) async fn terminate(&mut self) {
        self.process.signal("TERM");
        let status = self.process.wait_for_exit(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

fn is_value(rest: &str) -> bool {
    rest.starts_with(' ')
}
