//! Logs why no server can be reached: each cause once a minute, with advice.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{ConnectErrorKind, Server, ServerAddr};
use tokio::time::Instant;
use tracing::warn;

use super::Purpose;

/// The same cause is logged again after this time; attempts are made every two seconds.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Causes logged within that time, since a server controls the text of its errors.
const MAX_CAUSES: usize = 8;

/// Errors while there is no connection.
#[derive(Debug)]
pub(super) struct ConnectErrors {
    purpose: Purpose,
    /// Describes the login.
    login: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failed attempts of each server that were noted.
    seen: HashMap<String, usize>,
    logged: Vec<(String, Instant)>,
}

impl ConnectErrors {
    pub(super) fn new(purpose: Purpose, login: String) -> Self {
        Self { purpose, login, state: Mutex::default() }
    }

    /// Logs the errors of earlier attempts. The client's events contain only the kind of an error; the
    /// cause is kept with the server.
    pub(super) fn note_servers(&self, servers: &[Server]) {
        for server in servers {
            let name = host_and_port(&server.addr);
            let (failures, error) = (server.failed_attempts, server.last_error.as_deref());
            let before = self.with(|state| state.seen.insert(name.clone(), failures));
            if let Some(error) = error.filter(|_| before.unwrap_or_default() < failures) {
                self.log(&name, error);
            }
        }
    }

    /// Logs a failed attempt from the client's event. Only DNS errors need this; all others are kept with
    /// the server.
    pub(super) fn note_event(&self, event: &str) {
        if event.contains(&ConnectErrorKind::Dns.to_string()) {
            self.log("", event);
        }
    }

    /// Forgets what was logged, when a connection is established.
    pub(super) fn clear(&self) {
        self.with(|state| state.logged.clear());
    }

    fn log(&self, server: &str, error: &str) {
        let cause = format!("{server} {error}");
        let is_new = self.with(|state| {
            state.logged.retain(|(_, at)| at.elapsed() < REPEAT_AFTER);
            let is_new =
                state.logged.len() < MAX_CAUSES && state.logged.iter().all(|(it, _)| *it != cause);
            if is_new {
                state.logged.push((cause, Instant::now()));
            }
            is_new
        });
        if !is_new {
            return;
        }
        let error_text = crate::telemetry::sanitize_detail(error);
        let advice = advice(self.purpose, error, &self.login);
        match self.purpose {
            Purpose::Callout => {
                warn!(
                    server,
                    error = error_text,
                    advice,
                    "cannot connect to NATS; not ready, retrying"
                );
            }
            Purpose::System => warn!(
                server,
                error = error_text,
                advice,
                "cannot connect to the system account; sessions cannot be listed or ended, retrying"
            ),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An address without the user and password that it may contain.
pub(super) fn host_and_port(server: &ServerAddr) -> String {
    format!("{}:{}", server.host(), server.port())
}

/// Advice by the text of an error: of nats-server (`errors.go`), rustls (`Error`) or the system.
pub(super) fn advice(purpose: Purpose, error: &str, login: &str) -> String {
    let error = error.to_lowercase();
    let advice = [
        ("unknownissuer", "the server's certificate is not signed by an authority in nats.tls.ca"),
        ("notvalidforname", "the server's certificate is not valid for the host in nats.servers"),
        ("expired", "a certificate or the login has expired"),
        (
            "invalidcontenttype",
            "TLS is required, but the server does not use TLS on this port: configure `tls` in nats-server",
        ),
        (
            "handshake eof",
            "the server aborted the TLS handshake: check that it uses TLS on this port",
        ),
        ("unknownca", "the server does not know the authority that signed nats.tls.cert"),
        (
            "certificaterequired",
            "the server requires a client certificate: set nats.tls.cert and nats.tls.key",
        ),
        ("refused", "no server is listening: start the server or correct nats.servers"),
        ("dns error", "the host name in nats.servers cannot be resolved"),
        ("timed out", "the server does not answer: check for a frozen server or a firewall"),
    ];
    if error.contains("authorization violation") {
        let account = match purpose {
            Purpose::Callout => "callout",
            Purpose::System => "system",
        };
        return format!(
            "the server refuses {login}: it must be listed in auth_callout.auth_users and be a user of \
             the {account} account with this password or key"
        );
    }
    let known = advice.into_iter().find(|(word, _)| error.contains(word));
    let advice = known.map_or("check nats.servers and the server's log", |(_, advice)| advice);
    match purpose {
        Purpose::Callout => advice.to_owned(),
        Purpose::System => advice.replace("nats.", "system."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_logged_once_and_few_are_logged() {
        let errors = ConnectErrors::new(Purpose::Callout, "us".to_owned());
        let logged = || errors.with(|state| state.logged.len());
        for (error, count) in [("refused", 1), ("refused", 1), ("timed out", 2)] {
            errors.log("a:1", error);
            assert_eq!(logged(), count, "{error}");
        }
        errors.log("b:1", "refused");
        assert_eq!(logged(), 3);
        (0..20).for_each(|number| errors.log("a:1", &number.to_string()));
        assert_eq!(logged(), MAX_CAUSES);
        errors.clear();
        errors.log("a:1", "refused");
        assert_eq!(logged(), 1);
    }

    #[test]
    fn addresses_are_logged_without_password() {
        let server = "nats://user:canary@host:4223".parse().unwrap();
        assert_eq!(host_and_port(&server), "host:4223");
    }
}
