//! The raw NATS protocol: which command a server refuses.

use std::time::Duration;

use callgate_testkit::{NatsServer, Nkey};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A credential.
pub(crate) enum Login<'a> {
    User(&'a str, &'a str),
    Token(&'a str),
    Nkey(&'a Nkey),
    None,
}

impl Login<'_> {
    fn options(&self, info: &Value) -> Value {
        let mut options =
            json!({ "verbose": false, "pedantic": false, "headers": true, "lang": "test" });
        match self {
            Self::User(user, password) => {
                options["user"] = (*user).into();
                options["pass"] = (*password).into();
            }
            Self::Token(token) => options["auth_token"] = (*token).into(),
            Self::Nkey(key) => {
                let nonce = info["nonce"].as_str().expect("a nonce");
                options["nkey"] = key.public().into();
                options["sig"] = BASE64URL_NOPAD.encode(&key.sign(nonce.as_bytes())).into();
            }
            Self::None => {}
        }
        options
    }
}

/// A connection that the server admitted.
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Logs in; an error is what the server said.
    pub(crate) async fn connect(server: &NatsServer, login: &Login<'_>) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        let mut wire = Self(BufReader::new(stream));
        let info = wire.line().await;
        let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
        let options = login.options(&info);
        match wire.ask(&format!("CONNECT {options}\r\n")).await.as_slice() {
            [] => Ok(wire),
            said => Err(said.join("; ")),
        }
    }

    /// Sends a command, and returns errors and messages up to the answer to a PING.
    pub(crate) async fn ask(&mut self, command: &str) -> Vec<String> {
        self.0.get_mut().write_all(format!("{command}PING\r\n").as_bytes()).await.unwrap();
        let mut said = Vec::new();
        loop {
            let line = self.line().await;
            match line.split_whitespace().next().unwrap_or_default() {
                "PONG" => return said,
                "" => {
                    said.push("closed".to_owned());
                    return said;
                }
                "-ERR" => said.push(line),
                "MSG" => {
                    said.push(line);
                    self.line().await;
                }
                _ => {}
            }
        }
    }

    pub(crate) async fn may_publish(&mut self, subject: &str) -> bool {
        self.ask(&format!("PUB {subject} 1\r\nx\r\n")).await.iter().all(|line| !is_refusal(line))
    }

    /// `subject` may be followed by a queue group.
    pub(crate) async fn may_subscribe(&mut self, subject: &str) -> bool {
        let said = self.ask(&format!("SUB {subject} 1\r\n")).await;
        self.ask("UNSUB 1\r\n").await;
        said.iter().all(|line| !is_refusal(line))
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("a line in time");
        match read {
            Ok(0) | Err(_) => String::new(),
            Ok(_) => format!("{} ", line.trim_end()),
        }
    }
}

fn is_refusal(line: &str) -> bool {
    line.starts_with("-ERR")
}
