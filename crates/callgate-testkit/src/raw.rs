//! Connections that speak just enough of a protocol to log in: cheap enough for thousands of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A native connection without any reaction to the server.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
}

impl RawClient {
    /// Sends a login with these members of `CONNECT`, such as `auth_token`, and does not wait for the answer.
    ///
    /// # Panics
    /// If the server does not accept connections.
    pub async fn begin(port: u16, members: &Value) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        read_until(&mut stream, |text| text.ends_with("\r\n")).await;
        let mut connect =
            json!({ "verbose": false, "pedantic": false, "lang": "raw", "version": "1" });
        for (key, value) in members.as_object().expect("an object") {
            connect[key] = value.clone();
        }
        let text = format!("CONNECT {connect}\r\nPING\r\n");
        stream.write_all(text.as_bytes()).await.expect("a connection");
        Self { stream }
    }

    /// Waits for the answer to the login, and returns whether it is admitted.
    ///
    /// # Panics
    /// If there is no answer within a minute.
    pub async fn is_admitted(&mut self) -> bool {
        let text =
            read_until(&mut self.stream, |text| text.contains("PONG") || text.contains("-ERR"))
                .await;
        text.contains("PONG")
    }

    /// Waits until the server closes the connection.
    ///
    /// # Panics
    /// If it does not within a minute.
    pub async fn closed(&mut self) {
        end_of(&mut self.stream).await;
    }
}

/// An MQTT 3.1.1 connection with a clean session.
#[derive(Debug)]
pub struct MqttClient {
    stream: TcpStream,
}

impl MqttClient {
    /// Logs in; `None` if the server refuses.
    ///
    /// # Panics
    /// If the server does not accept connections, or the login is longer than 100 bytes.
    pub async fn connect(port: u16, id: &str, user: &str, password: &str) -> Option<Self> {
        let field = |text: &str| {
            let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
            [&length[..], text.as_bytes()].concat()
        };
        // Protocol level 4; user name, password and clean session; keep alive for 600 s.
        let head = [&field("MQTT")[..], &[4, 0xC2, 2, 88]].concat();
        let body = [head, field(id), field(user), field(password)].concat();
        let length = u8::try_from(body.len()).ok().filter(|length| *length < 128);
        let packet = [&[0x10, length.expect("a short login")][..], &body].concat();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.write_all(&packet).await.expect("a connection");
        let mut answer = [0; 4];
        let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer");
        (read.is_ok() && answer == [0x20, 2, 0, 0]).then_some(Self { stream })
    }

    /// Waits until the server closes the connection.
    ///
    /// # Panics
    /// If it does not within a minute.
    pub async fn closed(&mut self) {
        end_of(&mut self.stream).await;
    }
}

async fn read_until(stream: &mut TcpStream, is_enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while !is_enough(&text) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("an answer of the server");
    text
}

async fn end_of(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let reading = async { while let Ok(1..) = stream.read(&mut buffer).await {} };
    timeout(PATIENCE, reading).await.expect("the server closes the connection");
}
