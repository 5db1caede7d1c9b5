//! Unsigned requests for tests of authenticators (feature `testing`).

use std::{net::IpAddr, time::Duration};

use tokio::time::Instant;

use super::{AuthRequest, Certificate, Client, Credential, Server};
use crate::{
    clock::UnixTime,
    connection::ConnectionKind,
    keys::{KeyKind, KeyPair},
};

impl AuthRequest {
    /// A request with this credential, from 127.0.0.1 over NATS, received now and due in two seconds.
    /// Nothing in it was verified: never build a service with this feature.
    pub fn for_tests(credential: Credential) -> Self {
        let client = Client {
            host: "127.0.0.1".to_owned(),
            ip: Some([127, 0, 0, 1].into()),
            id: 7,
            connection: ConnectionKind::Nats,
            kind: "Client".to_owned(),
            kind_of_client: "nats".to_owned(),
            name: String::new(),
            lang: "rust".to_owned(),
            version: "1.0.0".to_owned(),
            mqtt_id: String::new(),
        };
        let server = Server {
            id: generate(KeyKind::Server),
            name: "test".to_owned(),
            host: "127.0.0.1".to_owned(),
            version: "2.12.0".to_owned(),
            cluster: String::new(),
            tags: Vec::new(),
        };
        Self {
            id: "test".to_owned(),
            server,
            user_nkey: generate(KeyKind::User),
            client,
            credential,
            certificate: None,
            received: UnixTime::now(),
            deadline: Instant::now() + Duration::from_secs(2),
        }
    }

    /// The same from another address.
    #[must_use]
    pub fn from_ip(mut self, ip: IpAddr) -> Self {
        self.client.host = ip.to_string();
        self.client.ip = Some(ip);
        self
    }

    /// The same over another kind of connection.
    #[must_use]
    pub fn over(mut self, connection: ConnectionKind) -> Self {
        self.client.connection = connection;
        self
    }

    /// The same with a verified certificate.
    #[must_use]
    pub fn with_certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// The same, received at another time.
    #[must_use]
    pub fn received_at(mut self, received: UnixTime) -> Self {
        self.received = received;
        self
    }

    /// The same with another deadline.
    #[must_use]
    pub fn due_at(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }
}

#[expect(clippy::expect_used, reason = "test code: a generated key parses")]
fn generate<T: std::str::FromStr<Err: std::fmt::Debug>>(kind: KeyKind) -> T {
    let pair = KeyPair::generate(kind).expect("randomness");
    pair.public_key().parse().expect("a public key")
}
