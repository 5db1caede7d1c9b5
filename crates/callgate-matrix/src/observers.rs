//! One observer in each account, which sees where a client's messages arrive.

use async_nats::{Client, ConnectOptions, Subscriber};
use callgate_testkit::{NatsServer, eventually, wait::PATIENCE};
use futures_util::{FutureExt, StreamExt};

use crate::site::{Fixed, Site};

/// The subject that every client may publish to.
pub const OPEN: &str = "probe.open";
/// The subject that most clients may not publish to.
pub const SHUT: &str = "probe.shut";

/// Which of a client's two messages arrived. The closed subject comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The account.
    pub account: &'static str,
    /// Whether the message to the closed subject also arrived.
    pub shut: bool,
}

/// Observers of every account.
#[derive(Debug)]
pub struct Observers {
    watched: Vec<(&'static str, Client, Vec<Subscriber>)>,
    /// The account and subject of every message, in order for each account.
    received: Vec<(&'static str, String)>,
}

impl Observers {
    /// Starts observing.
    ///
    /// # Panics
    /// If an observer cannot connect.
    pub async fn start(site: &Site, server: &NatsServer) -> Self {
        let mut watched = Vec::new();
        for (account, login) in &site.watchers {
            let client = connect(login, server).await;
            let mut subscribers = Vec::new();
            // Separate subscriptions: a server forwards only interest that the leaf node may publish to.
            for subject in [SHUT, OPEN] {
                let subject = format!("{subject}.>");
                subscribers.push(client.subscribe(subject).await.expect("a subscription"));
            }
            client.flush().await.expect("a connection");
            watched.push((*account, client, subscribers));
        }
        Self { watched, received: Vec::new() }
    }

    /// The messages of attempt `number`; waits for the one to the open subject.
    ///
    /// # Panics
    /// If it does not arrive.
    pub async fn arrived(&mut self, number: usize) -> Arrived {
        let (open, shut) = (format!("{OPEN}.{number}"), format!("{SHUT}.{number}"));
        let description = format!("something on `{open}`");
        eventually(&description, PATIENCE, async || {
            let seen = |subject: &str| {
                let found = self.received.iter().find(|(_, received)| received == subject);
                found.map(|(account, _)| *account)
            };
            // The message to the closed subject was sent first, so it has arrived by now or never will.
            if let Some(account) = seen(&open) {
                return Some(Arrived { account, shut: seen(&shut) == Some(account) });
            }
            self.take_in();
            None
        })
        .await
    }

    fn take_in(&mut self) {
        for (account, _, subscribers) in &mut self.watched {
            // Wait for the open subject first: by then earlier messages on the other have arrived.
            for subscriber in subscribers.iter_mut().rev() {
                while let Some(Some(message)) = subscriber.next().now_or_never() {
                    self.received.push((account, message.subject.to_string()));
                }
            }
        }
    }
}

/// Connects with a login that bypasses the callout.
///
/// # Panics
/// If the server refuses.
pub async fn connect(login: &Fixed, server: &NatsServer) -> Client {
    let options = match login {
        Fixed::Password(user, password) => {
            ConnectOptions::with_user_and_password((*user).to_owned(), (*password).to_owned())
        }
        Fixed::Credentials(text) => ConnectOptions::with_credentials(text).expect("credentials"),
    };
    options.connect(server.url()).await.expect("a login of the site")
}
