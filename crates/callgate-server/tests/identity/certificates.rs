//! Client certificates, presented to real servers that verify them.

use std::{fs, path::Path, sync::Arc, time::Duration};

use async_nats::{ConnectError, ConnectOptions};
use aws_lc_rs::digest::{SHA256, digest};
use callgate_testkit::{
    CurveKey, NatsServer, Nkey, Service, Session,
    client_certificates::{
        CertificateParams, ClientAuthority, ClientCertificate, DnType, client_params, dns, email,
        uri,
    },
    eventually,
    files::write_private,
    oidc_provider::Authority,
    service::Launch,
    wait::PATIENCE,
};
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    support::{CALLGATE, callgate},
    web_service::WebService,
};

/// A server whose listeners verify client certificates, and Callgate.
struct Bench {
    server: NatsServer,
    service: Service,
    folder: TempDir,
    devices: ClientAuthority,
    mesh: ClientAuthority,
    /// Known to nats-server, but not to Callgate.
    other: ClientAuthority,
}

const CONFIG: &str = r#"
[[authenticators]]
name = "mesh"
[authenticators.certificate]
trust_domains = { "example.org" = "mesh.pem" }

[[authenticators]]
name = "devices"
[authenticators.certificate]
ca = "devices.pem"
user = "cn"
groups = "ou"
crl = "devices.crl"

[roles.prod]
publish = ["prod.>"]
subscribe = ["prod.>"]
[roles.device]
publish = ["devices.{{ user }}.>"]
subscribe = ["devices.{{ user }}.>"]

[[bindings]]
authenticator = "mesh"
when = 'claims.spiffe.path.startsWith("/ns/prod/")'
roles = ["prod"]
[[bindings]]
authenticator = "devices"
when = '"sensors" in groups'
roles = ["device"]
"#;

/// Services that decide about certificates and passwords.
fn deciders(url: &str) -> String {
    format!(
        "
[[authenticators]]
name = \"devices\"
timeout = \"20s\"
[authenticators.http]
url = \"{url}\"
takes = [\"certificate\"]
[authenticators.ceiling]
subscribe = [\"devices.>\"]

[[authenticators]]
name = \"people\"
timeout = \"20s\"
[authenticators.nats]
subject = \"callgate.ask.people\"
[authenticators.ceiling]
subscribe = [\"people.>\"]
"
    )
}

impl Bench {
    async fn start(version: &str) -> Self {
        Self::start_with(version, CONFIG).await
    }

    async fn start_with(version: &str, authenticators: &str) -> Self {
        let [devices, mesh, other] = ["devices", "mesh", "other"].map(ClientAuthority::root);
        let servers = Authority::new("servers");
        let (server_pem, server_key) = servers.server_pem();
        let known = [&devices, &mesh, &other].map(ClientAuthority::pem).concat();
        let [issuer, auth] = [Nkey::account(), Nkey::user()];
        let xkey = CurveKey::generate();
        let tls = "tls { cert_file: \"{{dir}}/server.pem\", key_file: \"{{dir}}/server.key\", \
                   ca_file: \"{{dir}}/known.pem\", verify: true }";
        let config = format!(
            "{tls}
websocket {{ listen: \"127.0.0.1:{{{{websocket_port}}}}\", {tls} }}
accounts {{ AUTH {{ users: [ {{ nkey: \"{auth}\" }}, {{ user: team, password: team }} ] }}, APP {{}} }}
authorization {{ timeout: 5, auth_callout {{ issuer: \"{issuer}\", xkey: \"{xkey}\", \
             account: AUTH, auth_users: [ \"{auth}\", team ] }} }}
",
            auth = auth.public(),
            issuer = issuer.public(),
            xkey = xkey.public(),
        );
        let server = NatsServer::builder()
            .version(version)
            .file("server.pem", server_pem)
            .file("server.key", server_key)
            .file("known.pem", known)
            .config(&config)
            .start()
            .await;
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for (name, seed) in
            [("issuer.nk", issuer.seed()), ("xkey.xk", xkey.seed()), ("auth.nk", auth.seed())]
        {
            write_private(&folder.path().join(name), &seed);
        }
        write("servers.pem", servers.pem());
        write("devices.pem", devices.pem());
        write("mesh.pem", mesh.pem());
        write("devices.crl", &devices.revocation_list(&[], 2099).pem);
        // Callgate itself needs a certificate for this port.
        write_client(folder.path(), &devices.sign(&client_params("callgate", vec![], 1)));
        let head = format!(
            "default_account = \"APP\"
[nats]
servers = [\"tls://127.0.0.1:{}\"]
nkey = {{ file = \"auth.nk\" }}
tls = {{ ca = \"servers.pem\", cert = \"client.pem\", key = \"client.key\" }}
[issuer]
seed = {{ file = \"issuer.nk\" }}
xkeys = [{{ file = \"xkey.xk\" }}]
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
",
            server.port()
        );
        write("callgate.toml", &format!("{head}{authenticators}"));
        let service = Service::start(folder.path(), &Launch::of(CALLGATE)).await;
        service.ready().await;
        Self { server, service, folder, devices, mesh, other }
    }

    /// Connects with a certificate; returns the outcome and the decision.
    async fn attempt(
        &self,
        url: &str,
        certificate: &ClientCertificate,
        options: ConnectOptions,
    ) -> (Result<Session, ConnectError>, Value) {
        let mark = self.service.mark();
        let outcome = self.connect(url, certificate, options).await;
        (outcome, self.service.decision(mark).await)
    }

    async fn connect(
        &self,
        url: &str,
        certificate: &ClientCertificate,
        options: ConnectOptions,
    ) -> Result<Session, ConnectError> {
        let files = tempfile::tempdir().unwrap();
        write_client(files.path(), certificate);
        let options = options
            .add_root_certificates(self.folder.path().join("servers.pem"))
            .add_client_certificate(
                files.path().join("client.pem"),
                files.path().join("client.key"),
            )
            .connection_timeout(Duration::from_secs(20));
        Session::connect(url, options).await
    }

    fn urls(&self) -> [String; 2] {
        let websocket = self.server.websocket_url().replace("ws://", "wss://");
        [format!("tls://127.0.0.1:{}", self.server.port()), websocket]
    }
}

fn write_client(folder: &Path, certificate: &ClientCertificate) {
    fs::write(folder.join("client.pem"), &certificate.pem).unwrap();
    write_private(&folder.join("client.key"), &certificate.key_pem);
}

fn sensor(name: &str, serial: u64) -> CertificateParams {
    let mut params = client_params(name, vec![], serial);
    params.distinguished_name.push(DnType::OrganizationalUnitName, "sensors");
    params
}

#[tokio::test]
async fn questions_describe_the_verified_certificate() {
    let web = WebService::start().await;
    web.answer(
        "",
        json!({ "result": "allow", "user": "thermo", "permissions": { "sub": ["devices.t"] } }),
    );
    let bench = Bench::start_with("2.15.1", &deciders(web.url())).await;
    let [url, websocket] = &bench.urls();
    let names = vec![
        dns("thermo.example"),
        email("thermo@example.com"),
        uri("urn:thermo"),
        dns("second.example"),
    ];
    let mut params = client_params("thermo-1", names, 7);
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    let device = bench.devices.sign(&params);
    let expected = json!({
        "subject": "O=Acme,CN=thermo-1",
        "dns": ["thermo.example", "second.example"],
        "email": ["thermo@example.com"],
        "uri": ["urn:thermo"],
        "sha256": HEXLOWER.encode(digest(&SHA256, &device.der).as_ref()),
        "not_after": "2099-01-01T00:00:00Z",
    });

    let (outcome, decision) = bench.attempt(url, &device, ConnectOptions::new()).await;
    outcome.unwrap_or_else(|error| panic!("{error}: {decision}"));
    assert_eq!(decision["user"], "thermo", "{decision}");
    let question = web.questions().pop().unwrap();
    assert_eq!(question["credential"], json!({ "kind": "certificate" }), "{question}");
    assert_eq!(question["certificate"], expected, "{question}");

    // The service on a subject learns of the certificate beside a password. Names that it does not have are
    // left out.
    let team = ConnectOptions::with_user_and_password("team".into(), "team".into());
    let team = bench.connect(url, &device, team).await.unwrap();
    let mut questions = team.client.subscribe("callgate.ask.people").await.unwrap();
    team.client.flush().await.unwrap();
    let plain = bench.other.sign(&client_params("", vec![], 8));
    let alice = ConnectOptions::with_user_and_password("alice".into(), "secret".into());
    let (question, (outcome, decision)) = tokio::join!(
        async {
            let message = questions.next().await.unwrap();
            let answer = json!({ "result": "allow", "permissions": { "sub": ["people.a"] } });
            let reply = message.reply.unwrap();
            team.client.publish(reply, answer.to_string().into()).await.unwrap();
            serde_json::from_slice::<Value>(&message.payload).unwrap()
        },
        bench.attempt(websocket, &plain, alice)
    );
    outcome.unwrap_or_else(|error| panic!("{error}: {decision}"));
    assert_eq!(question["credential"]["kind"], "password", "{question}");
    let expected = json!({
        "subject": "",
        "sha256": HEXLOWER.encode(digest(&SHA256, &plain.der).as_ref()),
        "not_after": "2099-01-01T00:00:00Z",
    });
    assert_eq!(question["certificate"], expected, "{question}");
}

async fn certificates_on(version: &str) {
    let bench = Bench::start(version).await;
    let anonymous = ConnectOptions::new;
    for url in &bench.urls() {
        let device = bench.devices.sign(&sensor("thermo-1", 7));
        let (outcome, decision) = bench.attempt(url, &device, anonymous()).await;
        let mut session = outcome.unwrap_or_else(|error| panic!("{version}: {error}: {decision}"));
        assert_eq!(decision["authenticator"], "devices", "{decision}");
        assert_eq!(decision["user"], "thermo-1", "{decision}");
        session.talks_to_itself_on("devices.thermo-1.t").await;
        session.is_refused_to_publish("devices.thermo-2.t").await;

        let workload = client_params("", vec![uri("spiffe://example.org/ns/prod/api")], 1);
        let (outcome, decision) =
            bench.attempt(url, &bench.mesh.sign(&workload), anonymous()).await;
        outcome.unwrap_or_else(|error| panic!("{version}: {error}: {decision}"));
        assert_eq!(decision["user"], "spiffe://example.org/ns/prod/api", "{decision}");

        // The server accepts it, but Callgate knows no such root.
        let foreign = bench.other.sign(&sensor("thermo-1", 7));
        let (outcome, decision) = bench.attempt(url, &foreign, anonymous()).await;
        assert!(outcome.is_err(), "{decision}");
        assert_eq!(decision["reason"], "bad_certificate", "{decision}");

        // A certificate is never a fallback for another credential.
        let with_password =
            ConnectOptions::with_user_and_password("thermo-1".into(), "wrong".into());
        let (outcome, decision) = bench.attempt(url, &device, with_password).await;
        assert!(outcome.is_err(), "{decision}");
        assert_eq!(decision["reason"], "unknown_user", "{decision}");
    }
}

#[tokio::test]
async fn certificates_are_verified_again_on_the_oldest_server_line() {
    certificates_on("2.10.26").await;
}

#[tokio::test]
async fn certificates_are_verified_again_on_the_newest_server_line() {
    certificates_on("2.15.1").await;
}

#[tokio::test]
async fn revoked_certificate_is_refused_without_a_restart() {
    let bench = Bench::start("2.15.1").await;
    let [url, _] = &bench.urls();
    let device = bench.devices.sign(&sensor("thermo-1", 7));
    let (outcome, decision) = bench.attempt(url, &device, ConnectOptions::new()).await;
    assert!(outcome.is_ok(), "{decision}");
    let write = |text: &str| fs::write(bench.folder.path().join("devices.crl"), text).unwrap();
    write(&bench.devices.revocation_list(&[7], 2099).pem);
    let refused_as = async |reason: &str| {
        eventually(&format!("a refusal as {reason}"), PATIENCE, async || {
            let (outcome, decision) = bench.attempt(url, &device, ConnectOptions::new()).await;
            (outcome.is_err() && decision["reason"] == reason).then_some(())
        })
        .await;
    };
    refused_as("certificate_revoked").await;
    // Without a list, the status of no certificate is known.
    fs::remove_file(bench.folder.path().join("devices.crl")).unwrap();
    refused_as("backend_unavailable").await;
    let expires = "callgate_crl_expires_seconds{authenticator=\"devices\"}";
    bench.service.metric_reaches(expires, 0.0).await;
    write(&bench.devices.revocation_list(&[], 2099).pem);
    eventually("the list to be in force again", PATIENCE, async || {
        let (outcome, _) = bench.attempt(url, &device, ConnectOptions::new()).await;
        outcome.is_ok().then_some(())
    })
    .await;
    assert!(bench.service.metric(expires).await > 1e6);
}

#[tokio::test]
async fn explain_treats_the_certificate_as_verified_by_the_server() {
    let bench = Bench::start("2.15.1").await;
    let explain = |file: &str| {
        let arguments = ["explain", "--config", "callgate.toml", "--cert", file, "--json"];
        callgate(bench.folder.path(), &arguments)
    };
    let write = |name: &str, text: &str| fs::write(bench.folder.path().join(name), text).unwrap();
    let device = bench.devices.sign(&sensor("thermo-1", 7));
    write("chain.pem", &format!("{}{}", device.pem, bench.devices.pem()));
    let ran = explain("chain.pem");
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["user"], "thermo-1", "{report}");
    let foreign = bench.other.sign(&sensor("thermo-1", 7));
    write("foreign.pem", &format!("{}{}", foreign.pem, bench.other.pem()));
    let ran = explain("foreign.pem");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.json()["reason"], "bad_certificate", "{ran:?}");
    write("none.pem", &device.key_pem);
    let ran = explain("none.pem");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("`none.pem` contains no certificate"), "{ran:?}");
}

/// Logs in with this TLS configuration; returns the server's answer to the first ping, and whether the TLS
/// session was resumed.
async fn log_in(port: u16, config: &Arc<ClientConfig>) -> (String, bool) {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let mut info = String::new();
    stream.read_line(&mut info).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    let mut stream = connector.connect(name, stream.into_inner()).await.unwrap();
    let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    stream.write_all(b"CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n").await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    loop {
        let line = lines.next_line().await.ok().flatten().unwrap_or_default();
        if !line.starts_with("INFO") {
            return (line, resumed);
        }
    }
}

#[tokio::test]
async fn resumed_tls_session_of_a_revoked_certificate_is_refused() {
    let bench = Bench::start("2.15.1").await;
    let device = bench.devices.sign(&sensor("thermo-1", 7));
    let mut roots = RootCertStore::empty();
    let servers = fs::read(bench.folder.path().join("servers.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&servers).unwrap()).unwrap();
    let chain = vec![CertificateDer::from(device.der.clone())];
    let key = PrivateKeyDer::from_pem_slice(device.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let write = |list: &str| fs::write(bench.folder.path().join("devices.crl"), list).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .unwrap();
        let config = Arc::new(config);
        let good = eventually("a login with a resumed session", PATIENCE, async || {
            let (answer, resumed) = log_in(bench.server.port(), &config).await;
            (resumed && answer == "PONG").then_some(answer)
        });
        good.await;
        write(&bench.devices.revocation_list(&[7], 2099).pem);
        let mark = bench.service.mark();
        eventually("a resumed session to be refused", PATIENCE, async || {
            let (answer, resumed) = log_in(bench.server.port(), &config).await;
            (resumed && answer.contains("Authorization Violation")).then_some(())
        })
        .await;
        let line = bench.service.line(mark, &["certificate_revoked"]).await;
        assert!(!line.is_empty());
        write(&bench.devices.revocation_list(&[], 2099).pem);
    }
}
