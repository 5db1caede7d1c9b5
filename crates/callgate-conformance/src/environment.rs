//! A running environment: nats-server with every listener, the service, and watchers.

use callgate_testkit::{NatsServer, eventually, nats_server::Version, wait::PATIENCE};

use crate::{
    certificates::Certificates,
    gate::{Gate, Logged},
    mode::Mode,
    observers::Observers,
    site::{Site, Variation},
};

/// Everything that a cell needs.
#[derive(Debug)]
pub struct Environment {
    /// Keys and accounts.
    pub site: Site,
    /// The server's line.
    pub version: Version,
    /// The server.
    pub server: NatsServer,
    /// The service.
    pub gate: Gate,
    /// The watchers.
    pub observers: Observers,
    /// For TLS.
    pub certificates: Certificates,
    next: usize,
}

impl Environment {
    /// Starts all of it.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start(mode: Mode, version: Version) -> Self {
        let site = Site::new(mode, version, &Variation::default());
        let certificates = Certificates::generate();
        let server = server(&site, version, &certificates).await;
        let gate = Gate::start(&site, &[&server]).await;
        let observers = Observers::start(&site, &server).await;
        Self { site, version, server, gate, observers, certificates, next: 0 }
    }

    /// A number that no other attempt in this environment has.
    pub fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// The decisions after the first `seen` of the log, as soon as there are `count`.
    pub async fn decisions_after(&self, seen: usize, count: usize) -> Vec<Logged> {
        let description = format!("{count} decisions after {seen}");
        eventually(&description, PATIENCE, async || {
            let fresh = self.gate.decisions().split_off(seen);
            (fresh.len() >= count).then_some(fresh)
        })
        .await
    }
}

/// A server of this version that listens in every way.
pub async fn server(site: &Site, version: Version, certificates: &Certificates) -> NatsServer {
    // Both lines are refused where they do not belong: see the scenario about that.
    let jwt = if site.mode.is_operator() { "jwt_cookie: jwt" } else { "" };
    let others = match version.minor {
        ..11 => "",
        11.. => "user_cookie: user, pass_cookie: pass, token_cookie: token",
    };
    // Plain clients and TLS clients share the port; whoever speaks TLS must show a certificate.
    let config = format!(
        r#"
server_name: "conformance"
server_tags: ["rack:7", "conformance"]
listen: "127.0.0.1:{{{{port}}}}"
jetstream {{ store_dir: "{{{{dir}}}}/jetstream", max_memory_store: 64MB, max_file_store: 64MB }}
websocket {{ listen: "127.0.0.1:{{{{websocket_port}}}}", no_tls: true
  {jwt}
  {others} }}
mqtt {{ listen: "127.0.0.1:{{{{mqtt_port}}}}" }}
leafnodes {{ listen: "127.0.0.1:{{{{leaf_port}}}}" }}
allow_non_tls: true
tls {{ cert_file: "{{{{dir}}}}/server.pem", key_file: "{{{{dir}}}}/server.key"
      ca_file: "{{{{dir}}}}/ca.pem", verify: true, timeout: 5 }}
{}
"#,
        site.server
    );
    NatsServer::builder()
        .version(&version.to_string())
        .file("ca.pem", &certificates.ca)
        .file("server.pem", &certificates.server.certificate)
        .file("server.key", &certificates.server.key)
        .file("client.pem", &certificates.client.certificate)
        .file("client.key", &certificates.client.key)
        .config(&config)
        .start()
        .await
}
