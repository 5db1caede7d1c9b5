//! The npm package `oidc-provider`, in a separate Node.js process.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::front::Upstream;
use crate::process::Process;
use crate::tools;
use crate::wait::{PATIENCE, eventually};

const SCRIPT: &str = include_str!("../../oidc/provider.mjs");

#[derive(Debug)]
pub(super) struct Npm {
    pub(super) process: Process,
    port: u16,
}

impl Npm {
    pub(super) async fn start(issuer: &str) -> Self {
        // Packages are found from the working directory of a script that is not a file.
        let mut process = Process::builder("oidc-provider", tools::node())
            .args(["--input-type=module", "--eval", SCRIPT, issuer])
            .current_dir(tools::folder().join("node"))
            .start();
        // Several start concurrently, and each generates RSA keys.
        let port = eventually("oidc-provider to listen", 3 * PATIENCE, async || {
            assert!(process.exit_status().is_none(), "it ended: {}", process.stderr());
            let text = process.stdout();
            text.strip_prefix("listening on ")?.trim_end().parse().ok()
        })
        .await;
        Npm { process, port }
    }

    pub(super) fn upstream(&self) -> Upstream {
        Upstream::Port(self.port)
    }

    /// Calls one of the script's control endpoints.
    pub(super) async fn control(&self, action: &str, wish: &Value) -> Value {
        let body = wish.to_string();
        let length = body.len();
        let request = format!(
            "POST /control/{action} HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = self.exchange(request.as_bytes()).await.expect("the provider answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 "), "{action} {wish}: {answer}");
        // Chunked or not: the answer is one JSON object.
        let json = body.find('{').zip(body.rfind('}')).map(|(from, to)| &body[from..=to]);
        serde_json::from_str(json.expect("an object")).expect("JSON")
    }

    async fn exchange(&self, request: &[u8]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}
