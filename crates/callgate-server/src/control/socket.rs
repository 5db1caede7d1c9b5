//! The control socket of the service.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixStream as BlockingStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use callgate::json;
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
    sync::Semaphore,
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    actor::Actor,
    conversation::{Viewer, Worker, conversation},
    protocol::{Answer, Failure, Message, Order, Reply},
};

/// The longest line of a client, in bytes.
const MAX_LINE: u64 = 1024 * 1024;
/// How long a client may take to send its order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to receive a reply. One that was stopped must hold up neither its order nor
/// those of others.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a person may take to confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(300);
/// Orders at a time; more clients wait.
const MAX_ORDERS: usize = 16;
/// After an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Carries out orders.
pub(crate) trait CarryOut: Send + Sync + 'static {
    /// Carries out one order; the last reply is [`Reply::Done`] or [`Reply::Failed`].
    fn carry_out(&self, order: Order, actor: Actor, worker: Worker) -> BoxFuture<'_, ()>;
}

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("control.socket: another process answers on `{0}`: stop it, or choose another path")]
    InUse(String),
    #[error("control.socket: `{0}` exists and is not a socket: choose another path")]
    NotASocket(String),
    #[error("control.socket: cannot listen on `{path}`: {error}")]
    Io { path: String, error: io::Error },
}

/// A listening socket, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens. A socket that a dead process left is replaced, and a missing folder is created.
    ///
    /// # Errors
    /// If the path is in use or cannot be used.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let shown = || path.display().to_string();
        let failed = |error| SocketError::Io { path: shown(), error };
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(failed)?;
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NotASocket(shown()));
            }
            Ok(_) if BlockingStream::connect(path).is_ok() => {
                return Err(SocketError::InUse(shown()));
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self { listener, path: path.to_owned() };
        // Until then, `may_order` refuses other users who connect.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(socket)
    }

    /// Serves clients; never returns.
    pub(crate) async fn serve(self, orders: Arc<dyn CarryOut>) {
        let slots = Arc::new(Semaphore::new(MAX_ORDERS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a connection to the control socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let orders = Arc::clone(&orders);
            tokio::spawn(async move {
                let _slot = slot;
                if let Err(error) = serve_one(stream, orders).await {
                    debug!(%error, "a client of the control socket has gone");
                }
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a user may give orders: the service's own and root.
fn may_order(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

async fn serve_one(stream: UnixStream, orders: Arc<dyn CarryOut>) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let read = timeout(ORDER_TIMEOUT, read_line::<Message>(&mut lines)).await;
    let message = match read.map_err(|_elapsed| io::ErrorKind::TimedOut)? {
        Ok(message) if may_order(uid) => message,
        Ok(_) => return send(&mut write, &not_permitted()).await,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return send(&mut write, &not_an_order(&error)).await;
        }
        Err(error) => return Err(error),
    };
    let actor = Actor::of_uid(uid, message.claimed_actor.as_deref());
    let (worker, Viewer { mut replies, answers }) = conversation();
    // An order is carried out to its end, also if its client goes away.
    tokio::spawn(async move { orders.carry_out(message.order, actor, worker).await });
    while let Some(reply) = replies.recv().await {
        timeout(REPLY_TIMEOUT, send(&mut write, &reply)).await??;
        if matches!(reply, Reply::Confirm { .. }) {
            let answer = timeout(CONFIRM_TIMEOUT, read_line::<Answer>(&mut lines)).await??;
            let _ = answers.send(answer).await;
        }
    }
    write.shutdown().await
}

fn not_permitted() -> Reply {
    let message = "only the service's own user and root may use the control socket".to_owned();
    Reply::Failed { message, failure: Failure::Unusable }
}

fn not_an_order(error: &io::Error) -> Reply {
    let message = format!(
        "the service does not understand the order ({error}): it may be of another version than the command"
    );
    Reply::Failed { message, failure: Failure::Unusable }
}

/// Reads one line of JSON.
pub(super) async fn read_line<T: serde::de::DeserializeOwned>(
    lines: &mut BufReader<OwnedReadHalf>,
) -> io::Result<T> {
    let mut line = Vec::new();
    lines.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // The text of the parser may quote the line.
    json::parse_typed(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Sends one line of JSON.
pub(super) async fn send(
    write: &mut (impl AsyncWriteExt + Unpin),
    message: &impl serde::Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    write.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows more than a socket buffers, and counts the orders that end.
    struct Chatty(tokio::sync::mpsc::UnboundedSender<()>);

    impl CarryOut for Chatty {
        fn carry_out(&self, _: Order, _: Actor, worker: Worker) -> BoxFuture<'_, ()> {
            let ended = self.0.clone();
            Box::pin(async move {
                for _ in 0..64 {
                    let message = "x".repeat(64 * 1024);
                    worker.show(Reply::Failed { message, failure: Failure::Unusable }).await;
                }
                let _ = ended.send(());
            })
        }
    }

    #[tokio::test]
    async fn order_that_is_not_understood_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (sender, _ended) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(Socket::bind(&path).unwrap().serve(Arc::new(Chatty(sender))));
        for line in ["canary\n", "{\"order\":\"canary\"}\n", "{\"order\":{\"canary\":7}}\n"] {
            let mut client = UnixStream::connect(&path).await.unwrap();
            client.write_all(line.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("does not understand the order"), "{answer}");
            assert!(!answer.contains("canary") && !answer.contains("expected one of"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stopped_clients_hold_up_no_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(Socket::bind(&path).unwrap().serve(Arc::new(Chatty(sender))));
        let mut clients = Vec::new();
        for _ in 0..=MAX_ORDERS {
            let mut client = UnixStream::connect(&path).await.unwrap();
            let message = Message { order: Order::Locks, claimed_actor: None };
            send(&mut client, &message).await.unwrap();
            clients.push(client);
        }
        for _ in &clients {
            ended.recv().await.expect("the order ends although its client does not read");
        }
    }
}
