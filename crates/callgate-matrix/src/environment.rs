//! A running environment: nats-server with every listener, the service, and observers.

use callgate_testkit::{
    NatsServer, OidcProvider, eventually, nats_server::Version, oidc_provider::AUDIENCE,
    wait::PATIENCE,
};
use serde_json::json;

use crate::{
    certificates::Certificates,
    mode::Mode,
    observers::Observers,
    service::{LoggedDecision, Service},
    site::{Site, Variation},
};

/// What a cell needs.
#[derive(Debug)]
pub struct Environment {
    /// Keys and accounts.
    pub site: Site,
    /// The server's version.
    pub version: Version,
    /// The server.
    pub server: NatsServer,
    /// The service.
    pub service: Service,
    /// The observers.
    pub observers: Observers,
    /// For TLS.
    pub certificates: Certificates,
    /// Bearer tokens of an identity provider.
    pub tokens: Tokens,
    _provider: OidcProvider,
    next: usize,
}

/// Bearer tokens of an identity provider that the service trusts.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Of olga, who has the role `open` in APP.
    pub good: String,
    /// Of otto; expired.
    pub ended: String,
}

impl Tokens {
    async fn mint(provider: &OidcProvider) -> Self {
        let good = provider.mint("ES256", json!({ "sub": "olga" })).await;
        let past = json!({ "sub": "otto", "iat": 1_600_000_000, "exp": 1_600_000_600 });
        Self { good, ended: provider.mint("ES256", past).await }
    }
}

/// The service's entry for the provider.
fn trusting(provider: &OidcProvider) -> String {
    format!(
        "[[authenticators]]\nname = \"idp\"\naccount = \"APP\"\n[authenticators.oidc]\n\
         issuer = \"{}\"\naudience = [\"{AUDIENCE}\"]\ninsecure_http = true\n\
         [[bindings]]\nauthenticator = \"idp\"\nroles = [\"open\"]\n",
        provider.issuer()
    )
}

impl Environment {
    /// Starts everything.
    ///
    /// # Panics
    /// If a part does not start.
    pub async fn start(mode: Mode, version: Version) -> Self {
        let site = Site::new(mode, version, &Variation::default());
        let certificates = Certificates::generate();
        let server = server(&site, version, &certificates).await;
        let provider = OidcProvider::stand_in().await;
        let tokens = Tokens::mint(&provider).await;
        let service = Service::start_with(&site, &[&server], &trusting(&provider)).await;
        let observers = Observers::start(&site, &server).await;
        let (_provider, next) = (provider, 0);
        Self { site, version, server, service, observers, certificates, tokens, _provider, next }
    }

    /// A number that is unique among the attempts in this environment.
    pub fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// The decisions after the first `seen` of the log, as soon as there are `count`.
    pub async fn decisions_after(&self, seen: usize, count: usize) -> Vec<LoggedDecision> {
        let description = format!("{count} decisions after {seen}");
        eventually(&description, PATIENCE, async || {
            let fresh = self.service.decisions().split_off(seen);
            (fresh.len() >= count).then_some(fresh)
        })
        .await
    }
}

/// A server of this version with every listener.
pub async fn server(site: &Site, version: Version, certificates: &Certificates) -> NatsServer {
    // Each mode refuses the other's line; a scenario shows it.
    let jwt = if site.mode.is_operator() { "jwt_cookie: jwt" } else { "" };
    let others = match version.minor {
        ..11 => "",
        11.. => "user_cookie: user, pass_cookie: pass, token_cookie: token",
    };
    // Plain and TLS clients share the port; TLS clients must present a certificate.
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
