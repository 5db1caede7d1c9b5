//! The connection to NATS: its options and its events.

mod connect_errors;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event};
use callgate::{
    keys::{KeyPair, Seed},
    responder::AUTH_SUBJECT,
    secret::Secret,
};
use connect_errors::{ConnectErrors, host_and_port};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use crate::telemetry::Metrics;

/// How to connect and log in to NATS.
#[derive(Debug, Clone)]
pub(crate) struct NatsSettings {
    pub(crate) purpose: Purpose,
    pub(crate) servers: Vec<async_nats::ServerAddr>,
    pub(crate) login: Login,
    pub(crate) tls: TlsSettings,
    /// The queue group for requests; empty for [`Purpose::System`].
    pub(crate) queue: String,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `[nats]`: requests, in the callout account.
    Callout,
    /// `[system]`: lists and closes connections, in the system account.
    System,
}

impl Purpose {
    /// The section of the configuration.
    pub(crate) const fn section(self) -> &'static str {
        match self {
            Self::Callout => "nats",
            Self::System => "system",
        }
    }

    /// The name that a list of connections shows.
    const fn client_name(self) -> &'static str {
        match self {
            Self::Callout => "callgate",
            Self::System => "callgate-system",
        }
    }

    /// What Callgate is connected to.
    const fn target(self) -> &'static str {
        match self {
            Self::Callout => "NATS",
            Self::System => "the system account",
        }
    }
}

/// The login to NATS.
#[derive(Debug, Clone, Default)]
pub(crate) enum Login {
    /// No login other than the user and password in the URL, if any.
    #[default]
    None,
    Password {
        user: String,
        password: Secret,
    },
    Token(Secret),
    Nkey(Secret),
    /// The contents of a credentials file.
    Creds(Secret),
}

/// `[nats.tls]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// True if the table exists, even if empty: nothing is sent before TLS is established.
    pub(crate) required: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) first: bool,
}

impl NatsSettings {
    /// True if all settings of a running connection are the same.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.purpose == other.purpose
            && self.servers == other.servers
            && self.queue == other.queue
            && self.tls == other.tls
            && self.login.same_as(&other.login)
    }
}

impl Login {
    /// Describes the login without its secret.
    fn describe(&self, purpose: Purpose) -> String {
        let key = |text: &Secret| {
            let pair = Seed::find(text.expose()).and_then(KeyPair::from_seed);
            pair.map(|pair| pair.public_key()).unwrap_or_default()
        };
        match self {
            Self::None => "a client without a login".to_owned(),
            Self::Password { user, .. } => format!("the user `{}`", user.escape_debug()),
            Self::Token(_) => format!("the token in {}.token", purpose.section()),
            Self::Nkey(seed) => format!("the nkey {}", key(seed)),
            Self::Creds(text) => format!("the credentials of {}", key(text)),
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (
                Self::Password { user, password },
                Self::Password { user: other_user, password: other },
            ) => user == other_user && password.matches(other.expose()),
            (Self::Token(secret), Self::Token(other))
            | (Self::Nkey(secret), Self::Nkey(other))
            | (Self::Creds(secret), Self::Creds(other)) => secret.matches(other.expose()),
            (
                Self::None
                | Self::Password { .. }
                | Self::Token(_)
                | Self::Nkey(_)
                | Self::Creds(_),
                _,
            ) => false,
        }
    }
}

/// State of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Down,
    Up {
        /// Number of the connection, counted from the start.
        connection: u64,
        /// How often a server refused or ended the subscription for requests.
        refused: u64,
    },
}

/// A connection that could not be attempted or made.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", purpose.section())]
pub(crate) struct ConnectError {
    purpose: Purpose,
    error: String,
}

impl ConnectError {
    fn new(settings: &NatsSettings, error: &dyn std::error::Error) -> Self {
        Self { purpose: settings.purpose, error: error.to_string() }
    }

    /// No server accepted the connection. Names the servers, and says what to check.
    fn no_server(settings: &NatsSettings, error: &dyn std::error::Error) -> Self {
        let error = crate::telemetry::sanitize_detail(&error.to_string());
        let servers: Vec<_> = settings.servers.iter().map(host_and_port).collect();
        let login = settings.login.describe(settings.purpose);
        let advice = connect_errors::advice(settings.purpose, &error, &login);
        let error = format!("cannot connect to {}: {error}; {advice}", servers.join(", "));
        Self { purpose: settings.purpose, error }
    }

    /// The error without the section of the configuration.
    pub(crate) fn into_reason(self) -> String {
        self.error
    }
}

/// The client closes the connection when the third ping has no answer, so a frozen server, or one behind
/// a broken link, is given up after six seconds.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// For connecting and for the server's first message, since a frozen server still accepts connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Connects, retrying forever, also if no server is reachable yet.
pub(crate) async fn connect(
    settings: &NatsSettings,
    metrics: Arc<Metrics>,
) -> Result<(Client, watch::Receiver<Link>), ConnectError> {
    let (sender, link) = watch::channel(Link::Down);
    let observer = Arc::new(Observer {
        purpose: settings.purpose,
        link: sender,
        metrics,
        connections: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        connect_errors: ConnectErrors::new(
            settings.purpose,
            settings.login.describe(settings.purpose),
        ),
    });
    let pool_observer = Arc::clone(&observer);
    let options = options(settings)?
        .name(settings.purpose.client_name())
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(reconnect_delay(settings.servers.len()))
        // Chooses no server; only reads the servers' last errors before each attempt.
        .reconnect_to_server_callback(move |servers, _| {
            pool_observer.note_servers(&servers);
            std::future::ready(None)
        })
        .event_callback(move |event| {
            observer.note(&event);
            std::future::ready(())
        });
    let client = async_nats::connect_with_options(settings.servers.clone(), options).await;
    Ok((client.map_err(|error| ConnectError::new(settings, &error))?, link))
}

/// Connects once, for a command that does not wait for a server.
pub(crate) async fn connect_once(settings: &NatsSettings) -> Result<Client, ConnectError> {
    let name = settings.purpose.client_name();
    let options = options(settings)?.name(name).connection_timeout(CONNECT_TIMEOUT);
    let client = async_nats::connect_with_options(settings.servers.clone(), options).await;
    client.map_err(|error| ConnectError::no_server(settings, &error))
}

fn options(settings: &NatsSettings) -> Result<ConnectOptions, ConnectError> {
    let options = ConnectOptions::new();
    let mut options = match &settings.login {
        Login::None => options,
        Login::Password { user, password } => {
            options.user_and_password(user.clone(), password.expose().to_owned())
        }
        Login::Token(token) => options.token(token.expose().to_owned()),
        Login::Nkey(seed) => options.nkey(seed.expose().to_owned()),
        Login::Creds(text) => {
            with_credentials(text).map_err(|error| ConnectError::new(settings, &error))?
        }
    };
    if let Some(ca) = &settings.tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((cert, key)) = &settings.tls.identity {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    if requires_tls(settings) {
        options = options.require_tls(true);
    }
    if settings.tls.first {
        options = options.tls_first();
    }
    Ok(options)
}

/// Options with the login of a credentials file.
///
/// # Errors
/// If the text is not a credentials file.
pub(crate) fn with_credentials(text: &Secret) -> std::io::Result<ConnectOptions> {
    // Secrets are trimmed, but the parser needs the final line end.
    let text = Zeroizing::new(format!("{}\n", text.expose()));
    ConnectOptions::new().credentials(&text)
}

/// True if TLS is required before logging in, whatever a server or an attacker on the path announces. One
/// `tls://` requires it on every connection, as in nats.go (`setupServerPool`), because discovered servers
/// have addresses without a scheme.
fn requires_tls(settings: &NatsSettings) -> bool {
    let secure = |server: &async_nats::ServerAddr| matches!(server.scheme(), "tls" | "wss");
    settings.tls.required || settings.servers.iter().any(secure)
}

/// No delay for the first attempt at each of `servers`, then short delays that double up to two seconds:
/// while Callgate is disconnected, all logins are refused.
fn reconnect_delay(servers: usize) -> impl Fn(usize) -> Duration + Send + Sync + 'static {
    move |attempts| {
        let round = attempts.saturating_sub(1) / servers.max(1);
        let exponent = u32::try_from(round.min(6)).unwrap_or(6);
        match round {
            0 => Duration::ZERO,
            _ => Duration::from_millis(50 * 2u64.pow(exponent)).min(Duration::from_secs(2)),
        }
    }
}

/// Passes connection events on to the service, the log and the metrics.
#[derive(Debug)]
struct Observer {
    purpose: Purpose,
    link: watch::Sender<Link>,
    metrics: Arc<Metrics>,
    connections: AtomicU64,
    refused: AtomicU64,
    connect_errors: ConnectErrors,
}

impl Observer {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.count_connected(true);
                let connection = self.connections.fetch_add(1, Ordering::Relaxed);
                let refused = self.refused.load(Ordering::Relaxed);
                self.link.send_replace(Link::Up { connection, refused });
                self.connect_errors.clear();
                info!("connected to {}", self.purpose.target());
            }
            Event::Disconnected | Event::Closed => {
                self.count_connected(false);
                let was_up = self.link.send_replace(Link::Down) != Link::Down;
                if was_up && self.is_wanted() {
                    warn!("lost connection to {}; reconnecting", self.purpose.target());
                }
            }
            Event::LameDuckMode => info!("NATS server is shutting down; moving to another server"),
            Event::SlowConsumer(_) => self.warn_slow(),
            Event::ServerError(error) => {
                error!(%error, "NATS server reported an error");
                if refuses_requests(&error.to_string()) {
                    self.note_refused();
                }
            }
            Event::ClientError(error) => {
                debug!(%error, "connection attempt failed");
                self.connect_errors.note_event(&error.to_string());
            }
            Event::Draining => {}
        }
    }

    fn count_connected(&self, connected: bool) {
        match self.purpose {
            Purpose::Callout => self.metrics.connected(connected),
            Purpose::System => self.metrics.system_connected(connected),
        }
    }

    fn warn_slow(&self) {
        match self.purpose {
            Purpose::Callout => {
                error!("requests arrived faster than they were read; some were lost");
            }
            Purpose::System => warn!(
                "events of servers arrived faster than they were read; some were lost, and the next \
                 comparison of all connections corrects the sessions"
            ),
        }
    }

    fn note_refused(&self) {
        let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        self.link.send_modify(|link| match link {
            Link::Up { refused, .. } => *refused = count,
            Link::Down => {}
        });
    }

    fn note_servers(&self, servers: &[async_nats::Server]) {
        if self.is_wanted() {
            self.connect_errors.note_servers(servers);
        }
    }

    /// False once the service shuts down and closes the connection itself.
    fn is_wanted(&self) -> bool {
        !self.link.is_closed()
    }
}

/// Whether a server error means that no more requests arrive. The client does not notice and behaves as if
/// still subscribed (nats-server: `processSubEx` and `removeUnauthorizedSubs` in client.go).
fn refuses_requests(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    let subject = AUTH_SUBJECT.to_ascii_lowercase();
    (error.contains("permissions violation for subscription") && error.contains(&subject))
        || error.contains("maximum subscriptions exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_required_by_table_or_any_address() {
        for (servers, table, required) in [
            (&["nats://a"][..], false, false),
            (&["ws://a"], false, false),
            (&["nats://a"], true, true),
            (&["nats://a", "tls://b"], false, true),
            (&["wss://a", "nats://b"], false, true),
        ] {
            let settings = NatsSettings {
                purpose: Purpose::Callout,
                servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
                login: Login::None,
                tls: TlsSettings { required: table, ..TlsSettings::default() },
                queue: String::new(),
            };
            assert_eq!(requires_tls(&settings), required, "{servers:?} {table}");
        }
    }

    #[test]
    fn errors_about_other_subscriptions_are_ignored() {
        for (error, expected) in [
            (
                r#"Permissions Violation for Subscription to "$SYS.REQ.USER.AUTH" using queue "q""#,
                true,
            ),
            (r#"Permissions Violation for Subscription to "$SYS.REQ.USER.AUTH" (sid "10")"#, true),
            ("nats: maximum subscriptions exceeded", true),
            (r#"Permissions Violation for Subscription to "$SRV.PING""#, false),
            (r#"Permissions Violation for Publish to "$SYS.REQ.USER.AUTH""#, false),
            ("Stale Connection", false),
        ] {
            assert_eq!(refuses_requests(error), expected, "{error}");
        }
    }

    #[test]
    fn first_attempts_have_no_delay_then_backoff() {
        let delay = reconnect_delay(3);
        let millis = |attempts| delay(attempts).as_millis();
        assert_eq!([0, 1, 2, 3].map(millis), [0; 4]);
        assert_eq!([4, 6, 7, 10].map(millis), [100, 100, 200, 400]);
        assert_eq!([100, usize::MAX].map(millis), [2000; 2]);
    }
}
