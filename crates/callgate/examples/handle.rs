//! Bytes in, bytes out: a callout without a NATS client library.
//!
//! The part of the NATS protocol that a responder needs fits on a page, so this example implements it on a
//! plain socket. It handles one request at a time and does not reconnect; a real service should.
//!
//! ```text
//! NATS_ADDRESS=127.0.0.1:4222 NATS_USER=auth NATS_PASSWORD=… ISSUER_SEED=SA… XKEY_SEED=SX… \
//!     cargo run --example handle
//! ```

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use callgate::{
    Callgate, Refusal, Reply, User, XKEY_HEADER,
    clock::UnixTime,
    keys::{AccountSigner, CurveKey},
    request::{AuthRequest, Credential},
    secret::Secret,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let callout = callout()?;
    let mut server = Connection::open(&env::var("NATS_ADDRESS")?)?;
    server.log_in(&env::var("NATS_USER")?, &env::var("NATS_PASSWORD")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    loop {
        let message = server.next_message()?;
        let handle = callout.handle(&message.payload, message.xkey.as_deref(), UnixTime::now());
        match runtime.block_on(handle) {
            Reply::Answer(answer) => server.publish(&message.reply, &answer)?,
            Reply::Silent => {}
        }
    }
}

fn callout() -> Result<Callgate> {
    let issuer = AccountSigner::from_seed(&Secret::new(env::var("ISSUER_SEED")?))?;
    // `Callgate::serve` gets the callout account from the server; `handle` needs it here.
    let mut builder = Callgate::builder(issuer).callout_account("AUTH").authorize(authorize);
    if let Ok(seed) = env::var("XKEY_SEED") {
        builder = builder.xkey(CurveKey::from_seed(&Secret::new(seed))?);
    }
    Ok(builder.build()?)
}

async fn authorize(request: Arc<AuthRequest>) -> std::result::Result<User, Refusal> {
    match request.credential() {
        Credential::Password { user, password }
            if user == "alice" && password.matches("wonderland") =>
        {
            Ok(User::in_account("APP").publish("orders.>").subscribe("orders.>"))
        }
        _ => Err(Refusal::deny("unknown user or wrong password")),
    }
}

/// A request from the server.
struct Message {
    reply: String,
    xkey: Option<String>,
    payload: Vec<u8>,
}

/// The part of the NATS client protocol that a responder needs.
struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(writer.try_clone()?), writer })
    }

    /// `headers` must be on: the server's curve key, needed to open requests, arrives in a header.
    fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        let options = serde_json::json!({
            "user": user, "pass": password, "headers": true, "verbose": false, "pedantic": false,
            "tls_required": false, "protocol": 1, "lang": "rust", "version": "1", "name": "handle",
        });
        write!(self.writer, "CONNECT {options}\r\nSUB $SYS.REQ.USER.AUTH callgate 1\r\n")?;
        Ok(())
    }

    fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        let head = format!("PUB {subject} {}\r\n", payload.len());
        self.writer.write_all(&[head.as_bytes(), payload, b"\r\n"].concat())?;
        Ok(())
    }

    fn next_message(&mut self) -> Result<Message> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err("the server closed the connection".into());
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["PING"] => self.writer.write_all(b"PONG\r\n")?,
                ["MSG", _subject, _sid, reply, size] => {
                    let payload = self.read(size.parse()?)?;
                    return Ok(Message { reply: (*reply).to_owned(), xkey: None, payload });
                }
                ["HMSG", _subject, _sid, reply, head, size] => {
                    let mut bytes = self.read(size.parse()?)?;
                    let payload = bytes.split_off(bytes.len().min(head.parse()?));
                    let xkey = header(&String::from_utf8(bytes)?, XKEY_HEADER);
                    return Ok(Message { reply: (*reply).to_owned(), xkey, payload });
                }
                ["-ERR", reason @ ..] => return Err(reason.join(" ").into()),
                // INFO, PONG, +OK, and messages without a reply subject.
                _ => {}
            }
        }
    }

    /// Reads a payload and the line break after it.
    fn read(&mut self, size: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; size + 2];
        self.reader.read_exact(&mut bytes)?;
        bytes.truncate(size);
        Ok(bytes)
    }
}

/// The value of a header. After the first line, `NATS/1.0`, each line is `Name: value`.
fn header(head: &str, name: &str) -> Option<String> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| (found == name).then(|| value.trim().to_owned()))
}
