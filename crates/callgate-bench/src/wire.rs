//! The few words of the NATS protocol that load needs, over one TCP connection.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The reading half.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: BufReader<OwnedReadHalf>,
    line: String,
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Writer {
    stream: OwnedWriteHalf,
}

/// What a server sends.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message: its subject and its payload without headers.
    Message(String, Vec<u8>),
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// `-ERR`
    Error,
    /// Anything else.
    Other,
}

/// Connects and sends CONNECT, without waiting for an answer.
pub(crate) async fn connect(address: SocketAddr, options: &str) -> io::Result<(Reader, Writer)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let mut reader =
        Reader { stream: BufReader::with_capacity(64 * 1024, read), line: String::new() };
    let mut writer = Writer { stream: write };
    reader.receive().await?;
    writer.write(format!("CONNECT {options}\r\nPING\r\n").as_bytes()).await?;
    Ok((reader, writer))
}

impl Writer {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}

impl Reader {
    pub(crate) async fn receive(&mut self) -> io::Result<Received> {
        self.line.clear();
        if self.stream.read_line(&mut self.line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut words = self.line.split_ascii_whitespace();
        match words.next() {
            Some("MSG" | "HMSG") => {
                let headers = self.line.starts_with('H');
                let words: Vec<&str> = words.collect();
                let number = |word: Option<&&str>| word.and_then(|word| word.parse::<usize>().ok());
                let total = number(words.last()).ok_or(io::ErrorKind::InvalidData)?;
                let head = match headers {
                    true => number(words.iter().rev().nth(1)).ok_or(io::ErrorKind::InvalidData)?,
                    false => 0,
                };
                let subject = words.first().copied().unwrap_or_default().to_owned();
                let mut payload = vec![0; total + 2];
                self.stream.read_exact(&mut payload).await?;
                payload.truncate(total);
                payload.drain(..head.min(total));
                Ok(Received::Message(subject, payload))
            }
            Some("PING") => Ok(Received::Ping),
            Some("PONG") => Ok(Received::Pong),
            Some("-ERR") => Ok(Received::Error),
            Some(_) | None => Ok(Received::Other),
        }
    }
}
