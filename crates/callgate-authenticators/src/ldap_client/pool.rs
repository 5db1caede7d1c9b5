//! The connections of one authenticator. Search connections are bound as the service account and
//! never bind as a user; bind connections bind as users and never search.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use callgate::{authn::BackendError, secret::Secret};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    connection::{Connection, ConnectionError},
    server::Server,
};

/// How long a connection may be idle.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How old a connection may become.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The servers, and how to connect to them.
pub(crate) struct PoolSettings {
    pub(crate) servers: Vec<Server>,
    /// Unless all connections are in plain text.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) connect_timeout: Duration,
    /// Maximum number of sockets.
    pub(crate) connections: usize,
    /// The service account; without one, searches are anonymous.
    pub(crate) account: Option<Account>,
}

/// The name and password of the service account.
pub(crate) struct Account {
    pub(crate) dn: String,
    pub(crate) password: Secret,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Searches, as the service account.
    Search,
    /// Binds as one user after another.
    Bind,
    /// A bind and searches as one user. It is never used again.
    Single,
}

/// The connections of one authenticator: half of them for searches, half for binds. Sharing all of
/// them would let a burst of logins, which first search and then bind, close and open connections all
/// the time.
pub(crate) struct Pool {
    settings: PoolSettings,
    searches: Arc<Semaphore>,
    binds: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Member>,
    busy: usize,
    /// The server to try first: the last one that worked.
    first: usize,
}

struct Member {
    connection: Connection,
    purpose: Purpose,
    server: usize,
    opened: Instant,
    /// When it was last used.
    used: Instant,
}

impl Member {
    fn is_current(&self, now: Instant) -> bool {
        now < self.used + IDLE_TIMEOUT && now < self.opened + MAX_AGE
    }
}

/// A connection in use. Unless it is [kept](Lease::keep), it is closed.
pub(crate) struct Lease {
    member: Member,
    place: Place,
}

/// One of the connections that count as busy.
struct Place {
    pool: Arc<Pool>,
    /// The server, until it has answered completely: if it does not, another one is tried first.
    suspect: Option<usize>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        let binds = settings.connections / 2;
        let searches = settings.connections - binds;
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.max(1)));
        Self {
            settings,
            searches: semaphore(searches),
            binds: semaphore(binds),
            state: Mutex::default(),
        }
    }

    /// An idle connection, or a new one. Waits while as many are busy as there may be.
    pub(crate) async fn lease(self: &Arc<Self>, purpose: Purpose) -> Result<Lease, BackendError> {
        let permit = match purpose {
            Purpose::Search => Some(Arc::clone(&self.searches).acquire_owned().await?),
            Purpose::Bind => Some(Arc::clone(&self.binds).acquire_owned().await?),
            // One for each login, and their number is bounded.
            Purpose::Single => None,
        };
        self.state().busy += 1;
        let mut place = Place { pool: Arc::clone(self), suspect: None, _permit: permit };
        let member = match self.take_idle(purpose) {
            Some(member) => member,
            None => {
                self.make_room();
                self.open(purpose).await?
            }
        };
        place.suspect = Some(member.server);
        Ok(Lease { member, place })
    }

    /// Closes connections that have been idle or open for too long.
    pub(crate) fn close_expired(&self) {
        let now = Instant::now();
        self.state().idle.retain(|member| member.is_current(now));
    }

    /// How many connections are idle.
    pub(crate) fn idle(&self) -> usize {
        self.state().idle.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most recently used idle connection that is still good. Servers close idle connections,
    /// for example when they restart.
    fn take_idle(&self, purpose: Purpose) -> Option<Member> {
        let now = Instant::now();
        let mut state = self.state();
        while let Some(index) = state.idle.iter().rposition(|member| member.purpose == purpose) {
            let mut member = state.idle.remove(index);
            if member.is_current(now) && member.connection.is_quiet() {
                return Some(member);
            }
        }
        None
    }

    /// Closes the oldest idle connections so that another one can be opened, if there may be only one.
    fn make_room(&self) {
        let mut state = self.state();
        let excess = (state.idle.len() + state.busy).saturating_sub(self.settings.connections);
        let excess = excess.min(state.idle.len());
        state.idle.drain(..excess);
    }

    /// Connects to the first server that can be reached, beginning with the last one that worked.
    async fn open(&self, purpose: Purpose) -> Result<Member, BackendError> {
        let servers = &self.settings.servers;
        let first = self.state().first;
        let mut errors = Vec::new();
        for (index, server) in servers.iter().enumerate().cycle().skip(first).take(servers.len()) {
            match self.connect(server).await {
                Ok(mut connection) => {
                    if let (Purpose::Search, Some(account)) = (purpose, &self.settings.account) {
                        account.bind(&mut connection, server).await?;
                    }
                    self.state().first = index;
                    let now = Instant::now();
                    return Ok(Member {
                        connection,
                        purpose,
                        server: index,
                        opened: now,
                        used: now,
                    });
                }
                Err(error) => errors.push(format!("{server}: {error}")),
            }
        }
        Err(errors.join("; ").into())
    }

    async fn connect(&self, server: &Server) -> Result<Connection, ConnectionError> {
        let limit = self.settings.connect_timeout;
        let host = ServerName::try_from(server.host.clone());
        let host = host
            .map_err(|_| ConnectionError::Connect("it is not a host name or address".to_owned()))?;
        let opening = Connection::open(server, self.settings.tls.as_ref(), host);
        let late = |_| Err(ConnectionError::Connect(format!("no connection within {limit:?}")));
        timeout(limit, opening).await.unwrap_or_else(late)
    }
}

impl Account {
    async fn bind(&self, connection: &mut Connection, server: &Server) -> Result<(), BackendError> {
        let result = connection.bind(&self.dn, &self.password).await;
        let result = result.map_err(|error| format!("{server}: {error}"))?;
        match result.code {
            0 => Ok(()),
            code => Err(format!(
                "{server} refuses the service account `bind_dn` with code {code}{}",
                result.said()
            )
            .into()),
        }
    }
}

impl Lease {
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.member.connection
    }

    /// Returns the connection to the pool, after the complete answer to every request.
    pub(crate) fn keep(self) {
        let Self { mut member, mut place } = self;
        place.suspect = None;
        if member.purpose != Purpose::Single {
            member.used = Instant::now();
            place.pool.state().idle.push(member);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.busy -= 1;
        // Another login may already have found a server that works.
        if self.suspect == Some(state.first) {
            state.first = (state.first + 1) % self.pool.settings.servers.len();
        }
    }
}
