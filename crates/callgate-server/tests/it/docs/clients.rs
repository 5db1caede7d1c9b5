//! The code on the pages about clients connects with each kind of credential, and again after expiry
//! and kick.

mod drivers;
#[allow(unreachable_pub, reason = "as on the page")]
mod rust_page;

use std::{fs, path::Path};

use async_nats::Client;
use callgate_testkit::{
    NatsServer, Nkey, Process,
    client_certificates::{ClientAuthority, client_params},
    oidc_provider::Authority,
    pages::checkout,
    tools,
    wait::{LONG, eventually},
};
use futures_util::StreamExt;
use serde_json::json;

use super::{page, quotes::blocks};
use crate::{
    scenario::Written,
    support::{Pair, connect, serve, write_private},
};

const OWN: &str = r#"
[roles.own]
publish = ["{{ encode(user) }}.>"]
subscribe = ["{{ encode(user) }}.>"]
inbox = "private"
responses = { max = 1 }
[[bindings]]
roles = ["own"]
"#;
/// Short, so that a test sees sessions end.
const SESSION: &str = "2s";

/// A language whose page is run.
#[derive(Debug, Clone, Copy)]
enum Language {
    #[cfg(feature = "go")]
    Go,
    #[cfg(feature = "java")]
    Java,
    Python,
    #[cfg(feature = "node")]
    JavaScript,
}

impl Language {
    fn start(self, folder: &Path, variables: &[(&str, &str)]) -> Process {
        let started = match self {
            #[cfg(feature = "go")]
            Self::Go => {
                fs::create_dir_all(folder.join("natsauth")).unwrap();
                fs::write(folder.join("natsauth/natsauth.go"), file("go", "go")).unwrap();
                fs::write(folder.join("main.go"), drivers::GO).unwrap();
                let built =
                    tools::go(folder).args(["build", "-o", "client", "."]).output().unwrap();
                assert!(built.status.success(), "{built:?}");
                Process::builder("Go client", folder.join("client"))
            }
            #[cfg(feature = "java")]
            Self::Java => {
                let libraries = tools::installed("java/libraries").join("*");
                let path = format!("{}:.", libraries.display());
                fs::write(folder.join("NatsAuth.java"), file("java", "java")).unwrap();
                fs::write(folder.join("Main.java"), drivers::JAVA).unwrap();
                let compile = ["-cp", &path, "NatsAuth.java", "Main.java"];
                let built =
                    callgate_testkit::service::command("javac", folder, &compile).output().unwrap();
                assert!(built.status.success(), "{built:?}");
                Process::builder("Java client", "java").args(["-cp", &path, "Main"])
            }
            Self::Python => {
                let program = file("python", "python") + drivers::PYTHON;
                fs::write(folder.join("client.py"), program).unwrap();
                Process::builder("Python client", tools::python()).arg("client.py")
            }
            #[cfg(feature = "node")]
            Self::JavaScript => {
                let modules = folder.join("node_modules");
                if !modules.exists() {
                    std::os::unix::fs::symlink(tools::node_modules(), modules).unwrap();
                }
                let program = file("javascript", "javascript") + drivers::JAVASCRIPT;
                fs::write(folder.join("client.mjs"), program).unwrap();
                Process::builder("JavaScript client", tools::node()).arg("client.mjs")
            }
        };
        let started = started.current_dir(folder);
        variables.iter().fold(started, |builder, (name, value)| builder.env(name, value)).start()
    }
}

/// The one file on the page of a language.
fn file(name: &str, language: &str) -> String {
    let text = page(checkout(&format!("docs/client-{name}.md"))).text;
    let found = blocks(&text, language);
    assert_eq!(found.len(), 1, "docs/client-{name}.md");
    found[0].1.to_owned()
}

async fn replies(client: &Process, count: usize) {
    let what = format!("{count} replies");
    eventually(&what, LONG, async || {
        (client.stdout().matches("pong").count() >= count).then_some(())
    })
    .await;
}

/// Logs in with a password, with an nkey, and with a token that is replaced during the first session; kicks the
/// last one.
async fn converses(language: Language) {
    let nkey = Nkey::user();
    let users = |token: &str| {
        json!({
            "ann.p": { "password": "secret", "account": "APP" },
            "ned.n": { "nkey": nkey.public(), "account": "APP" },
            "tom.t": { "token": token, "account": "APP", "expires_after": SESSION },
        })
    };
    let pair = Pair::builder(users("first")).gate_config(OWN).start().await;
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name).display().to_string();
    write_private(&work.path().join("seed.nk"), &nkey.seed());
    fs::write(path("token"), "first\n").unwrap();
    let url = pair.server.url();
    let (seed, token) = (path("seed.nk"), path("token"));
    let shared = [
        ("URL", url.as_str()),
        ("PASSWORD", "secret"),
        ("SEED_FILE", &seed),
        ("TOKEN_FILE", &token),
    ];
    let start = |kind, name, subject| {
        let own = [("KIND", kind), ("NAME", name), ("SUBJECT", subject)];
        language.start(work.path(), &[&shared[..], &own].concat())
    };
    replies(&start("password", "ann.p", "ann=2Ep.echo"), 1).await;
    replies(&start("nkey", "ned.n", "ned=2En.echo"), 1).await;

    let client = start("token", "tom.t", "tom=2Et.echo");
    replies(&client, 1).await;
    pair.write("users.json", users("second").to_string());
    fs::write(path("token"), "second\n").unwrap();
    let logins = async |count: usize| {
        eventually(&format!("{count} logins of tom"), LONG, async || {
            let all = pair.gate.decisions(0);
            let of_tom = all
                .into_iter()
                .filter(|one| one["user"] == "tom.t" && one["outcome"] == "admitted");
            of_tom.collect::<Vec<_>>().get(count - 1).cloned()
        })
        .await
    };
    let renewed = logins(2).await;
    replies(&client, client.stdout().matches("pong").count() + 1).await;
    // A kick of a session that has ended meanwhile does nothing; the next session ends by itself.
    let system = connect(&url, "operator", "operator").await.unwrap();
    let server = renewed["server_id"].as_str().unwrap();
    let kick = format!("$SYS.REQ.SERVER.{server}.KICK");
    let body = json!({ "cid": renewed["client_id"] }).to_string();
    system.client.request(kick, body.into()).await.unwrap();
    logins(3).await;
    replies(&client, client.stdout().matches("pong").count() + 1).await;
}

/// A set for operator mode with one user, `tom.t`, and a folder with the token in `token`.
async fn operator_mode() -> (Written, tempfile::TempDir) {
    let work = tempfile::tempdir().unwrap();
    let users = work.path().join("users.json");
    let tom = json!({ "tom.t": { "token": "first", "account": "APP" } });
    write_private(&users, &tom.to_string());
    fs::write(work.path().join("token"), "first\n").unwrap();
    let own = |text: &str| match text.contains("[[authenticators]]") {
        true => text.replace("users.json", &users.display().to_string()) + OWN,
        false => text.to_owned(),
    };
    (Written::start("2.15", &["--operator", "--demo"], own).await, work)
}

/// In operator mode, clients add the sentinel's credentials.
async fn converses_in_operator_mode(language: Language) {
    let (written, work) = operator_mode().await;
    let variables = [
        ("URL", written.server.url()),
        ("KIND", "sentinel".to_owned()),
        ("NAME", "tom.t".to_owned()),
        ("SUBJECT", "tom=2Et.echo".to_owned()),
        ("TOKEN_FILE", "token".to_owned()),
        ("SENTINEL_FILE", written.folder().join("pair/sentinel.creds").display().to_string()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    replies(&language.start(work.path(), &variables), 1).await;
}

/// A server that verifies client certificates, and the files of a client of it.
struct Certificates {
    server: NatsServer,
    _gate: callgate_testkit::Service,
    folder: tempfile::TempDir,
}

impl Certificates {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let devices = ClientAuthority::root("devices");
        let client = devices.sign(&client_params("cid.c", vec![], 7));
        let ours = Authority::new("ours");
        // nats.js looks for `localhost` if the address is numeric.
        let (certificate, key) = ours.server_pem_for(&["127.0.0.1", "localhost"]);
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            write_private(&path, text);
            path.display().to_string()
        };
        file("client.pem", &client.pem);
        file("client.key", &client.key_pem);
        file("ca.pem", ours.pem());
        let init = crate::support::callgate_in(folder.path(), &["init", "."]);
        assert_eq!(init.code, 0, "{init:?}");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let tls = format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true, timeout: 10 }}\n",
            file("server.pem", &certificate),
            file("server.key", &key),
            file("devices.pem", devices.pem()),
        );
        let server = read("nats-server.conf").replace("127.0.0.1:4222", "127.0.0.1:{{port}}");
        let server = NatsServer::builder().config(&(tls + &server)).start().await;
        let config = read("callgate.toml");
        let (before, _) = config.split_once("[[authenticators]]").unwrap();
        let nats = "tls = { ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" }\nnkey";
        let config =
            before.replacen("nkey", nats, 1).replace("nats://127.0.0.1:4222", &server.url())
                + "[[authenticators]]\naccount = \"APP\"\n[authenticators.certificate]\n\
               ca = \"devices.pem\"\nuser = \"cn\"\n"
                + OWN
                + "[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
        fs::write(folder.path().join("callgate.toml"), config).unwrap();
        let gate = serve(folder.path(), &["--config", "callgate.toml"]).await;
        gate.ready().await;
        Self { server, _gate: gate, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

async fn converses_with_a_certificate(language: Language) {
    let site = Certificates::start().await;
    let variables = [
        ("URL", site.server.url().replace("nats://", "tls://")),
        ("KIND", "certificate".to_owned()),
        ("NAME", "cid.c".to_owned()),
        ("SUBJECT", "cid=2Ec.echo".to_owned()),
        ("CERT", site.path("client.pem")),
        ("KEY", site.path("client.key")),
        ("CA", site.path("ca.pem")),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let work = tempfile::tempdir().unwrap();
    replies(&language.start(work.path(), &variables), 1).await;
}

async fn runs_the_page(language: Language) {
    converses(language).await;
    converses_in_operator_mode(language).await;
    converses_with_a_certificate(language).await;
}

#[tokio::test]
async fn python_page_connects_with_every_credential() {
    runs_the_page(Language::Python).await;
}

/// Compiled only if Go is installed: a skipped test is not a passed one.
#[cfg(feature = "go")]
#[tokio::test]
async fn go_page_connects_with_every_credential() {
    runs_the_page(Language::Go).await;
}

/// Compiled only if a JDK is installed: a skipped test is not a passed one.
#[cfg(feature = "java")]
#[tokio::test]
async fn java_page_connects_with_every_credential() {
    runs_the_page(Language::Java).await;
}

/// Compiled only if Node.js is installed: a skipped test is not a passed one.
#[cfg(feature = "node")]
#[tokio::test]
async fn javascript_page_connects_with_every_credential() {
    runs_the_page(Language::JavaScript).await;
}

async fn answers_itself(client: &Client, subject: &str) {
    let mut requests = client.subscribe(subject.to_owned()).await.unwrap();
    let responder = client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let _ = responder.publish(request.reply.unwrap(), "pong".into()).await;
        }
    });
    client.flush().await.unwrap();
    let reply = client.request(subject.to_owned(), "".into()).await.unwrap();
    assert_eq!(reply.payload, "pong");
}

#[tokio::test]
async fn rust_page_connects_with_every_credential() {
    assert_eq!(file("rust", "rust"), include_str!("clients/rust_page.rs"), "docs/client-rust.md");
    let nkey = Nkey::user();
    let users = json!({
        "ann.p": { "password": "secret", "account": "APP" },
        "ned.n": { "nkey": nkey.public(), "account": "APP" },
        "tom.t": { "token": "first", "account": "APP", "expires_after": SESSION },
    });
    let pair = Pair::builder(users).gate_config(OWN).start().await;
    let url = pair.server.url();
    let token = pair.path("token");
    fs::write(&token, "first\n").unwrap();
    let ann = rust_page::with_password(&url, "ann.p", "secret").await.unwrap();
    answers_itself(&ann, "ann=2Ep.echo").await;
    let ned = rust_page::with_nkey(&url, "ned.n", &nkey.seed()).await.unwrap();
    answers_itself(&ned, "ned=2En.echo").await;
    let tom = rust_page::with_token(&url, "tom.t", token).await.unwrap();
    answers_itself(&tom, "tom=2Et.echo").await;
    eventually("another session of tom", LONG, async || {
        let all = pair.gate.decisions(0);
        (all.iter().filter(|one| one["user"] == "tom.t").count() > 1).then_some(())
    })
    .await;

    let (written, _work) = operator_mode().await;
    let sentinel = fs::read_to_string(written.folder().join("pair/sentinel.creds")).unwrap();
    let url = written.server.url();
    let tom = rust_page::with_sentinel(&url, "tom.t", &sentinel, "first").await.unwrap();
    answers_itself(&tom, "tom=2Et.echo").await;

    let site = Certificates::start().await;
    let url = site.server.url().replace("nats://", "tls://");
    let [certificate, key, ca] =
        ["client.pem", "client.key", "ca.pem"].map(|name| site.path(name).into());
    let cid = rust_page::with_certificate(&url, "cid.c", certificate, key, ca).await.unwrap();
    answers_itself(&cid, "cid=2Ec.echo").await;
}
