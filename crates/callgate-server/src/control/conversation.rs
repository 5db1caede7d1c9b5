//! The two ends of an order: the one that carries it out, and the one that shows what happens. Between them
//! is a socket, or nothing.

use tokio::sync::mpsc;

use super::protocol::{Answer, Reply};

/// The end that carries the order out.
#[derive(Debug)]
pub(crate) struct Worker {
    replies: mpsc::Sender<Reply>,
    answers: mpsc::Receiver<Answer>,
}

/// The end that shows what happens.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) replies: mpsc::Receiver<Reply>,
    pub(crate) answers: mpsc::Sender<Answer>,
}

/// Both ends.
pub(crate) fn conversation() -> (Worker, Viewer) {
    let (reply_sender, replies) = mpsc::channel(16);
    let (answers, answer_receiver) = mpsc::channel(1);
    (Worker { replies: reply_sender, answers: answer_receiver }, Viewer { replies, answers })
}

impl Worker {
    /// Shows something. A viewer that has gone changes nothing: an order is carried out to its end.
    pub(crate) async fn show(&self, reply: Reply) {
        let _ = self.replies.send(reply).await;
    }

    /// Asks whether to act on `matching` sessions; no without an answer.
    pub(crate) async fn confirm(&mut self, matching: usize, total: usize) -> bool {
        self.show(Reply::Confirm { matching, total }).await;
        self.answers.recv().await.is_some_and(|answer| answer.go)
    }
}
