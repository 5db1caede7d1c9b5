//! Why no server is reached: told once a minute for each cause, with what to do about it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{ConnectErrorKind, Server, ServerAddr};
use tokio::time::Instant;
use tracing::warn;

/// Attempts come every two seconds.
const AGAIN: Duration = Duration::from_secs(60);
/// How many causes are told of in that time: an error may hold whatever a server says.
const MOST: usize = 8;

/// What goes wrong while there is no connection.
#[derive(Debug)]
pub(super) struct ConnectErrors {
    /// Who we say that we are.
    login: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The failures of each server that were looked at.
    seen: HashMap<String, usize>,
    told: Vec<(String, Instant)>,
}

impl ConnectErrors {
    pub(super) fn new(login: String) -> Self {
        Self { login, state: Mutex::default() }
    }

    /// Looks at what the attempts before this one came to. The client's events name only the kind of an
    /// error; its cause is kept with the server.
    pub(super) fn look(&self, servers: &[Server]) {
        for server in servers {
            let name = shown(&server.addr);
            let (failures, error) = (server.failed_attempts, server.last_error.as_deref());
            let before = self.with(|state| state.seen.insert(name.clone(), failures));
            if let Some(error) = error.filter(|_| before.unwrap_or_default() < failures) {
                self.tell(&name, error);
            }
        }
    }

    /// An attempt failed, as the client's event says: only a host without an address is told of in no
    /// other way.
    pub(super) fn failed(&self, event: &str) {
        if event.contains(&ConnectErrorKind::Dns.to_string()) {
            self.tell("", event);
        }
    }

    /// There is a connection: what goes wrong from now on is news.
    pub(super) fn is_over(&self) {
        self.with(|state| state.told.clear());
    }

    fn tell(&self, server: &str, error: &str) {
        let cause = format!("{server} {error}");
        let is_news = self.with(|state| {
            state.told.retain(|(_, at)| at.elapsed() < AGAIN);
            let is_news = state.told.len() < MOST && state.told.iter().all(|(it, _)| *it != cause);
            if is_news {
                state.told.push((cause, Instant::now()));
            }
            is_news
        });
        if is_news {
            warn!(
                server,
                error = crate::telemetry::sanitize_detail(error),
                advice = advice(error, &self.login),
                "cannot connect to NATS; not ready, and trying again until it works"
            );
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Without the user and password that an address may hold.
fn shown(server: &ServerAddr) -> String {
    format!("{}:{}", server.host(), server.port())
}

/// What to do about an error, as far as its words tell: those of nats-server (`errors.go`), of rustls
/// (`Error`) and of the system.
fn advice(error: &str, login: &str) -> String {
    let error = error.to_lowercase();
    let advice = [
        (
            "unknownissuer",
            "the server's certificate is not signed by the authorities in nats.tls.ca",
        ),
        (
            "notvalidforname",
            "the server's certificate is for other names than the host in nats.servers",
        ),
        ("expired", "a certificate, or the login, is past its end"),
        (
            "invalidcontenttype",
            "TLS is required here, and the server speaks none on this port: configure `tls` there",
        ),
        (
            "handshake eof",
            "the server broke the TLS handshake off: does it speak TLS on this port?",
        ),
        ("unknownca", "the server does not know the authority that signed nats.tls.cert"),
        (
            "certificaterequired",
            "the server wants a certificate of ours: set nats.tls.cert and nats.tls.key",
        ),
        ("refused", "nothing listens there: start the server, or correct nats.servers"),
        ("dns error", "the host in nats.servers is not known"),
        ("timed out", "the server does not answer: is it frozen, or a firewall between?"),
    ];
    if error.contains("authorization violation") {
        return format!(
            "the server refuses {login}: it must be one of auth_callout.auth_users there, a user of \
             the callout account, with this password or key"
        );
    }
    let known = advice.into_iter().find(|(word, _)| error.contains(word));
    known.map_or("look at nats.servers, and at the server's log", |(_, advice)| advice).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_a_minute_and_no_more_than_a_few_of_them() {
        let errors = ConnectErrors::new("us".to_owned());
        let told = || errors.with(|state| state.told.len());
        for (error, count) in [("refused", 1), ("refused", 1), ("timed out", 2)] {
            errors.tell("a:1", error);
            assert_eq!(told(), count, "{error}");
        }
        errors.tell("b:1", "refused");
        assert_eq!(told(), 3);
        (0..20).for_each(|number| errors.tell("a:1", &number.to_string()));
        assert_eq!(told(), MOST);
        errors.is_over();
        errors.tell("a:1", "refused");
        assert_eq!(told(), 1);
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let server = "nats://user:canary@host:4223".parse().unwrap();
        assert_eq!(shown(&server), "host:4223");
    }
}
