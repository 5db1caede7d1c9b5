//! The raw NATS protocol: shows what a library hides, such as which command a server refused.

use std::time::Duration;

use callgate_testkit::NatsServer;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) struct Wire {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// What a server said about one command.
#[derive(Debug, Default)]
pub(crate) struct ServerReply {
    /// Texts of `-ERR`.
    pub(crate) errors: Vec<String>,
    /// Messages that arrived.
    pub(crate) messages: Vec<Received>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) subject: String,
    pub(crate) sid: String,
    pub(crate) reply: Option<String>,
    pub(crate) payload: Vec<u8>,
}

impl Wire {
    /// Logs in; the password is the user's name.
    pub(crate) async fn connect(server: &NatsServer, user: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let mut wire = Self { reader: BufReader::new(reader), writer };
        let options = serde_json::json!({
            "user": user, "pass": user, "verbose": false, "pedantic": false, "headers": true,
            "no_responders": true, "lang": "proof", "version": "1", "protocol": 1,
        });
        let said = wire.ask(&[format!("CONNECT {options}\r\n")]).await;
        assert!(said[0].errors.is_empty(), "{user}: {:?}", said[0].errors);
        wire
    }

    /// Sends commands, all at once, and tells what the server said about each: servers work in
    /// order, so that each is fenced by a PING of its own.
    pub(crate) async fn ask(&mut self, commands: &[String]) -> Vec<ServerReply> {
        let all: String = commands.iter().map(|command| format!("{command}PING\r\n")).collect();
        let writer = &mut self.writer;
        let reader = &mut self.reader;
        // Concurrently: a server that cannot write stops reading.
        let (sent, said) = tokio::join!(writer.write_all(all.as_bytes()), async {
            let mut said = Vec::new();
            for _ in commands {
                said.push(timeout(PATIENCE, until_pong(reader)).await.expect("an answer in time"));
            }
            said
        });
        sent.unwrap();
        said
    }

    /// One command.
    pub(crate) async fn ask_one(&mut self, command: String) -> ServerReply {
        self.ask(&[command]).await.remove(0)
    }

    /// The messages that have arrived.
    pub(crate) async fn fence(&mut self) -> ServerReply {
        self.ask_one(String::new()).await
    }

    /// The next line as it is; nothing if the server has closed the connection.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).await.ok()?;
        (read > 0).then_some(line)
    }
}

pub(crate) fn publish(subject: &str, payload: &str) -> String {
    format!("PUB {subject} {}\r\n{payload}\r\n", payload.len())
}

pub(crate) fn publish_with_reply(subject: &str, reply: &str, payload: &str) -> String {
    format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len())
}

/// `wanted` is a subject, with or without a queue group.
pub(crate) fn subscribe(wanted: &str, sid: usize) -> String {
    format!("SUB {wanted} {sid}\r\n")
}

async fn until_pong(reader: &mut BufReader<OwnedReadHalf>) -> ServerReply {
    let mut said = ServerReply::default();
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line).await.unwrap();
        assert!(read > 0, "the server closed the connection: {said:?}");
        let line = line.trim_end();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("PONG", _) => return said,
            ("PING" | "INFO" | "+OK", _) => {}
            ("-ERR", why) => said.errors.push(why.trim_matches('\'').to_owned()),
            ("MSG", rest) => said.messages.push(message(reader, rest, 0).await),
            ("HMSG", rest) => said.messages.push(message(reader, rest, 1).await),
            _ => panic!("not understood: {line}"),
        }
    }
}

/// `MSG subject sid [reply] bytes`, and `HMSG subject sid [reply] header bytes`.
async fn message(
    reader: &mut BufReader<OwnedReadHalf>,
    line: &str,
    header_words: usize,
) -> Received {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (last, rest) = words.split_last().unwrap();
    let rest = &rest[..rest.len() - header_words];
    let mut payload = vec![0; last.parse::<usize>().unwrap() + 2];
    reader.read_exact(&mut payload).await.unwrap();
    payload.truncate(payload.len() - 2);
    Received {
        subject: rest[0].to_owned(),
        sid: rest[1].to_owned(),
        reply: rest.get(2).map(|reply| (*reply).to_owned()),
        payload,
    }
}
