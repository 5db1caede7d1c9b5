//! A directory that plays recorded or hostile answers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A request as the responder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A simple bind: name and password.
    Bind(String, String),
    /// A search: its base, and the whole request.
    Search(String, Vec<u8>),
    /// An extended operation, such as StartTLS.
    Extended,
    /// Anything else: not LDAP, or an operation that Callgate never sends.
    Other(Vec<u8>),
}

/// What the responder does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Sends messages, which [`message`] and the other functions here build with the id of the request.
    Messages(Vec<Vec<u8>>),
    /// Sends these bytes, and nothing more.
    Raw(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    Cut(Vec<u8>),
    /// Sends the first bytes, and then the second ones again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// Never answers.
    Silence,
    /// Closes the connection.
    Close,
}

/// A directory whose answers are those of a function.
pub struct LdapResponder {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    answer: Box<dyn Fn(&Seen) -> Reply + Send + Sync>,
    /// With the number of the connection.
    seen: Mutex<Vec<(usize, Seen)>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    sent: AtomicUsize,
}

impl LdapResponder {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                tokio::spawn(async move {
                    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
                    shared.most_open.fetch_max(open, Ordering::SeqCst);
                    shared.serve(number, stream).await;
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared, task: task.abort_handle() }
    }

    /// `ldap://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("ldap://{}", self.address)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen_by_connection().into_iter().map(|(_, seen)| seen).collect()
    }

    /// Every request so far, with the number of its connection.
    pub fn seen_by_connection(&self) -> Vec<(usize, Seen)> {
        self.shared.seen.lock().expect("no holder panics").clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many connections were open at a time.
    pub fn most_open(&self) -> usize {
        self.shared.most_open.load(Ordering::SeqCst)
    }

    /// How many bytes of endless answers were accepted by the other side, or by buffers on the way.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Until the client goes away.
    async fn serve(&self, number: usize, mut stream: TcpStream) {
        while let Some(request) = read_message(&mut stream).await {
            let (id, seen) = parse(&request);
            let reply = (self.answer)(&seen);
            self.seen.lock().expect("no holder panics").push((number, seen));
            match reply {
                Reply::Messages(messages) => {
                    let bytes: Vec<u8> =
                        messages.iter().flat_map(|operation| message(id, operation)).collect();
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Reply::Raw(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Reply::Cut(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    return;
                }
                Reply::Endless(first, again) => {
                    let mut next = &first;
                    while stream.write_all(next).await.is_ok() {
                        self.sent.fetch_add(next.len(), Ordering::SeqCst);
                        next = &again;
                    }
                    return;
                }
                Reply::Silence => {}
                Reply::Close => return,
            }
        }
    }
}

impl Drop for LdapResponder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for LdapResponder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LdapResponder({})", self.address)
    }
}

/// The result of a bind; controls are pairs of an object identifier and a value.
pub fn bind_result(code: u8, text: &str, controls: &[(&str, &[u8])]) -> Vec<u8> {
    with_controls(element(0x61, &result(code, text)), controls)
}

/// An entry of a search.
pub fn entry(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let list: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, values)| {
            let values: Vec<u8> = values.iter().flat_map(|value| element(4, value)).collect();
            element(0x30, &[element(4, name.as_bytes()), element(0x31, &values)].concat())
        })
        .collect();
    element(0x64, &[element(4, dn.as_bytes()), element(0x30, &list)].concat())
}

/// A reference to another server, in a search.
pub fn reference(url: &str) -> Vec<u8> {
    element(0x73, &element(4, url.as_bytes()))
}

/// The end of a search.
pub fn search_done(code: u8) -> Vec<u8> {
    element(0x65, &result(code, ""))
}

/// An operation as a message.
pub fn message(id: i32, operation: &[u8]) -> Vec<u8> {
    let content = [&element(2, &id.to_be_bytes()), operation].concat();
    element(0x30, &content)
}

fn result(code: u8, text: &str) -> Vec<u8> {
    [element(10, &[code]), element(4, b""), element(4, text.as_bytes())].concat()
}

fn with_controls(operation: Vec<u8>, controls: &[(&str, &[u8])]) -> Vec<u8> {
    if controls.is_empty() {
        return operation;
    }
    let list: Vec<u8> = controls
        .iter()
        .flat_map(|(oid, value)| {
            element(0x30, &[element(4, oid.as_bytes()), element(4, value)].concat())
        })
        .collect();
    [operation, element(0xa0, &list)].concat()
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short");
    let mut bytes = vec![tag, 0x84];
    bytes.extend(length.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// The content of the next message.
async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let tag = stream.read_u8().await.ok()?;
    let first = stream.read_u8().await.ok()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        length = 0;
        for _ in 0..first & 0x7f {
            length = length << 8 | usize::from(stream.read_u8().await.ok()?);
        }
    }
    let mut content = vec![0; length.min(1 << 20)];
    stream.read_exact(&mut content).await.ok()?;
    (tag == 0x30).then_some(content)
}

fn parse(request: &[u8]) -> (i32, Seen) {
    parse_request(request).unwrap_or_else(|| (0, Seen::Other(request.to_vec())))
}

fn parse_request(request: &[u8]) -> Option<(i32, Seen)> {
    let (_, id, rest) = split(request)?;
    let id = id.iter().fold(0, |id, byte| id << 8 | i32::from(*byte));
    let (tag, operation, _) = split(rest)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let seen = match tag {
        0x60 => {
            let (_, _version, rest) = split(operation)?;
            let (_, name, rest) = split(rest)?;
            let (_, password, _) = split(rest)?;
            Seen::Bind(text(name), text(password))
        }
        0x63 => Seen::Search(text(split(operation)?.1), operation.to_vec()),
        0x77 => Seen::Extended,
        _ => Seen::Other(request.to_vec()),
    };
    Some((id, seen))
}

/// The tag and content of the first element, and what follows it.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(*first), rest),
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}
