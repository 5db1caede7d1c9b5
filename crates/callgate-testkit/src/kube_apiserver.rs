//! A real kube-apiserver with etcd, as `scripts/kube_apiserver.py` builds them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeySize,
    signature::RsaKeyPair,
};
use data_encoding::BASE64;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Process, eventually, kube::USERS, ports::free_port, tools};

/// It starts in four seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The server with its store. Both end with it.
#[derive(Debug)]
pub struct KubeApiserver {
    // Dropped first: without its store it would complain for long.
    server: Option<Process>,
    _etcd: Process,
    folder: TempDir,
    port: u16,
    etcd_port: u16,
    key: u32,
}

impl KubeApiserver {
    /// Starts both.
    ///
    /// # Panics
    /// If they are not installed, or not ready in time.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let (port, etcd_port, peer_port) = (free_port(), free_port(), free_port());
        let etcd = start_etcd(folder.path(), etcd_port, peer_port);
        let mut this = Self { server: None, _etcd: etcd, folder, port, etcd_port, key: 0 };
        this.rotate_key();
        this.write_users();
        wait_for_port(etcd_port).await;
        this.resume().await;
        this
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The authority of its certificate.
    pub fn ca(&self) -> PathBuf {
        // The server signs its own certificate, and writes the authority behind it.
        self.folder.path().join("certificates/apiserver.crt")
    }

    /// Ends the server; the store stays.
    pub async fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts the server, and waits until it is ready.
    pub async fn resume(&mut self) {
        self.server = Some(self.start_server());
        let (url, ca) = (self.url(), self.ca());
        let client = tokio::time::timeout(PATIENCE, ready_client(&url, &ca)).await;
        client.expect("the API server is ready in time");
    }

    /// Makes a new signing key, the only one from the next start on.
    pub fn rotate_key(&mut self) {
        self.key += 1;
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).expect("DER");
        let text = BASE64.encode(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("ASCII"))
            .collect();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        );
        fs::write(self.key_file(), pem).expect("a file");
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join(format!("key-{}.pem", self.key))
    }

    fn write_users(&self) {
        let group = |user: &str| if user == "admin" { ",\"system:masters\"" } else { "" };
        let lines = USERS.map(|user| format!("{user}-token,{user},{user}{}\n", group(user)));
        fs::write(self.folder.path().join("users.csv"), lines.concat()).expect("a file");
    }

    fn start_server(&self) -> Process {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let key = self.key_file().display().to_string();
        Process::builder("kube-apiserver", tools::installed("kubernetes/kube-apiserver"))
            .args([
                format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={}", self.port),
                "--insecure-port=0".to_owned(),
                format!("--cert-dir={}", path("certificates")),
                format!("--token-auth-file={}", path("users.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-account-issuer=https://kubernetes.test".to_owned(),
                format!("--service-account-signing-key-file={key}"),
                format!("--service-account-key-file={key}"),
                "--api-audiences=https://kubernetes.test".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--enable-priority-and-fairness=false".to_owned(),
            ])
            .env("HOME", self.folder.path())
            .start()
    }
}

fn start_etcd(folder: &Path, port: u16, peer_port: u16) -> Process {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    Process::builder("etcd", tools::installed("kubernetes/etcd"))
        .args([
            format!("--data-dir={}", folder.join("etcd").display()),
            format!("--listen-client-urls={}", url(port)),
            format!("--advertise-client-urls={}", url(port)),
            format!("--listen-peer-urls={}", url(peer_port)),
            format!("--initial-advertise-peer-urls={}", url(peer_port)),
            format!("--initial-cluster=default={}", url(peer_port)),
            "--unsafe-no-fsync".to_owned(),
        ])
        .start()
}

async fn wait_for_port(port: u16) {
    eventually("etcd to listen", PATIENCE, async || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.contains("\"true\"").then_some(())
    })
    .await;
}

async fn ready_client(url: &str, ca: &Path) {
    eventually("kube-apiserver to be ready", PATIENCE, async || {
        let pem = fs::read(ca).ok()?;
        let uri = url.parse().expect("a URL");
        let mut config = kube::Config::new(uri);
        config.root_cert = Some(certificates(&pem));
        config.auth_info.token = Some("admin-token".to_owned().into());
        let client = kube::Client::try_from(config).ok()?;
        let ready = http::Request::get("/readyz").body(Vec::new()).expect("a request");
        let discovery = http::Request::get("/.well-known/openid-configuration")
            .body(Vec::new())
            .expect("a request");
        client.request_text(ready).await.ok()?;
        client.request_text(discovery).await.ok().map(drop)
    })
    .await;
}

fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(pem).expect("PEM is text");
    let body = |part: &str| {
        let (base64, _) = part.split_once("-----END CERTIFICATE-----")?;
        let base64: String = base64.split_whitespace().collect();
        BASE64.decode(base64.as_bytes()).ok()
    };
    text.split("-----BEGIN CERTIFICATE-----").filter_map(body).collect()
}
