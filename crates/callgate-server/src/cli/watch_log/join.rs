//! Joins violations to sessions, which the running service knows.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use callgate::keys::{KeyKind, parse_public};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    audit::event::Session,
    cli::output::complain,
    control::{self, Done, Message, Order, Reply, Row},
    sessions::Filter,
};

/// How long the service may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer is used: a client that violates its permissions often does so many times.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// How long the service is not asked again after it did not answer, and about a connection that it does not
/// know.
const RETRY_DELAY: Duration = Duration::from_secs(5);
const MAX_REMEMBERED: usize = 1024;

/// The sessions of one server.
#[derive(Debug)]
pub(super) struct Sessions {
    socket: PathBuf,
    /// The server's name.
    server: String,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The server's public key, once a session on it is known. A restart changes it.
    server_id: Option<String>,
    known: HashMap<u64, Known>,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    session: Option<Session>,
    until: Instant,
}

impl Sessions {
    pub(super) fn new(socket: PathBuf, server: &str, runtime: Handle) -> Self {
        Self { socket, server: server.to_owned(), runtime, state: Mutex::default() }
    }

    /// The session of a connection, if the service knows it and its user is this one. `user` may also be
    /// the public key of the client. Waits for the service, so not for async code.
    pub(super) fn find(&self, client_id: u64, user: Option<&str>) -> Option<Session> {
        let session = self.session(client_id, Instant::now())?;
        let is_key = |user: &str| parse_public(user, &[KeyKind::User]).is_ok();
        let is_same = user.is_none_or(|user| is_key(user) || session.user.as_deref() == Some(user));
        is_same.then_some(session)
    }

    fn session(&self, client_id: u64, now: Instant) -> Option<Session> {
        let server_id = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match state.known.get(&client_id) {
                Some(known) if known.until > now => return known.session.clone(),
                Some(_) | None if state.retry_at.is_some_and(|at| at > now) => return None,
                Some(_) | None => state.server_id.clone(),
            }
        };
        let asked = self.runtime.block_on(self.ask(client_id, server_id));
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let row = match asked {
            Ok(row) => row,
            Err(why) => {
                complain(format_args!("warning: violations are not joined to sessions: {why}"));
                state.retry_at = Some(now + RETRY_DELAY);
                return None;
            }
        };
        state.server_id = row.as_ref().map(|row| row.server_id.clone()).or(state.server_id.take());
        if state.known.len() >= MAX_REMEMBERED {
            state.known.clear();
        }
        let lasts = if row.is_some() { REMEMBERED_FOR } else { RETRY_DELAY };
        let session = row.map(session);
        state.known.insert(client_id, Known { session: session.clone(), until: now + lasts });
        session
    }

    /// Asks for one connection, and for all of the server while its key is not known.
    async fn ask(&self, client_id: u64, server_id: Option<String>) -> Result<Option<Row>, String> {
        let id = server_id.and_then(|server| format!("{server}/{client_id}").parse().ok());
        if id.is_some() {
            let rows = self.rows(Filter { id, ..Filter::default() }).await?;
            if let Some(row) = rows.into_iter().find(|row| row.client_id == client_id) {
                return Ok(Some(row));
            }
        }
        let server = Some(self.server.clone());
        let rows = self.rows(Filter { server, ..Filter::default() }).await?;
        Ok(rows.into_iter().find(|row| row.client_id == client_id))
    }

    async fn rows(&self, filter: Filter) -> Result<Vec<Row>, String> {
        let message = Message { order: Order::Sessions { filter }, claimed_actor: None };
        let answer = async {
            let viewer = control::send_order(&self.socket, &message).await;
            let mut viewer = viewer.map_err(|error| error.to_string())?;
            match viewer.replies.recv().await {
                Some(Reply::Done(done)) => match *done {
                    Done::Sessions(done) => Ok(done.sessions),
                    other => Err(format!("unexpected answer: {other:?}")),
                },
                Some(Reply::Failed { message, failure: _ }) => Err(message),
                Some(_) | None => Err("the service did not answer".to_owned()),
            }
        };
        let answer = timeout(ANSWER_TIMEOUT, answer).await;
        answer.unwrap_or_else(|_elapsed| Err("the service does not answer in time".to_owned()))
    }
}

fn session(row: Row) -> Session {
    Session {
        user: Some(row.user),
        authenticator: row.authenticator,
        account: Some(row.account),
        client_host: row.source.map(|source| source.to_string()),
        connection: Some(row.kind),
        client_name: Some(row.client_name).filter(|name| !name.is_empty()),
        client_id: Some(row.client_id),
        server: Some(row.server),
        server_id: Some(row.server_id),
        request: row.decision,
    }
}
