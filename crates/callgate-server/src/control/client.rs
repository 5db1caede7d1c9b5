//! The command's end of the control socket.

use std::{io, path::Path};

use callgate::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixStream,
};

use super::{
    conversation::{Viewer, Worker, conversation},
    protocol::{Failure, Message, Reply},
    socket::send,
};

/// Sends an order to the service.
///
/// # Errors
/// If the service cannot be reached.
pub(crate) async fn send_order(socket: &Path, message: &Message) -> io::Result<Viewer> {
    let mut stream = UnixStream::connect(socket).await?;
    send(&mut stream, message).await?;
    let (worker, viewer) = conversation();
    tokio::spawn(async move {
        if let Err(error) = relay(stream, worker).await {
            tracing::debug!(%error, "lost the control socket");
        }
    });
    Ok(viewer)
}

async fn relay(stream: UnixStream, mut worker: Worker) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        // The service's answers are as long as its list of sessions.
        if lines.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let reply = json::parse_typed(&line).unwrap_or_else(|error| Reply::Failed {
            message: format!(
                "cannot read the service's answer: {error}: is this command of the same version?"
            ),
            failure: Failure::Unusable,
        });
        match reply {
            Reply::Confirm { matching, total } => {
                let go = worker.confirm(matching, total).await;
                send(&mut write, &super::protocol::Answer { go }).await?;
            }
            reply => worker.show(reply).await,
        }
    }
}
