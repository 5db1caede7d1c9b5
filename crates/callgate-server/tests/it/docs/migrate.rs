//! The page about other callouts, followed from the configuration of each original.

use std::{fs, path::Path};

use callgate_testkit::{
    CurveKey, NatsServer, Nkey, OidcProvider, Process, Service,
    pages::checkout,
    ports::free_port,
    tools,
    wait::{LONG, eventually},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{page, quotes::blocks};
use crate::support::{
    Credential, callgate_in, connect, connect_to, has, serve_with, write_private,
};

const PAGE: &str = "docs/migrate-callouts.md";
const ADDRESS: &str = "nats://127.0.0.1:4222";

/// The one block of a language that begins with this text.
fn block(language: &str, start: &str) -> String {
    let text = page(checkout(PAGE)).text;
    let found: Vec<_> =
        blocks(&text, language).into_iter().filter(|(_, body)| body.starts_with(start)).collect();
    assert_eq!(found.len(), 1, "{language} blocks that begin with `{start}`");
    found[0].1.to_owned()
}

/// The cells of the table after this heading whose first cell is a name in backticks.
fn first_cells(heading: &str) -> Vec<String> {
    let text = page(checkout(PAGE)).text;
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split(" | ").next().unwrap().to_owned()).collect()
}

/// The keys of the original, which stay.
struct Keys {
    issuer: Nkey,
    xkey: CurveKey,
}

impl Keys {
    fn generate() -> Self {
        Self { issuer: Nkey::account(), xkey: CurveKey::generate() }
    }
}

/// Starts Callgate with the configuration on the page and the variables of the original.
async fn serve_page(
    folder: &Path,
    config: &str,
    server: &NatsServer,
    variables: &[(&str, &str)],
) -> Service {
    let config = config.replace(ADDRESS, &server.url())
        + "\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    fs::write(folder.join("callgate.toml"), config).unwrap();
    let gate = serve_with(folder, &["--config", "callgate.toml"], variables).await;
    gate.ready().await;
    gate
}

/// As in nats-by-example, which spells `auth_users` as `users`.
fn nats_by_example(keys: &Keys) -> String {
    format!(
        "accounts {{
  AUTH {{ users: [ {{ user: auth, password: auth }} ] }}
  APP {{}}
  SYS {{}}
}}
authorization {{
  auth_callout {{ issuer: {}, users: [ auth ], account: AUTH, xkey: {} }}
}}
system_account: SYS
",
        keys.issuer.public(),
        keys.xkey.public(),
    )
}

/// The users of nats-by-example, as `init --demo` writes them.
fn demo_users(folder: &Path) {
    assert_eq!(callgate_in(folder, &["init", "--demo", "demo"]).code, 0);
    fs::copy(folder.join("demo/users.json"), folder.join("users.json")).unwrap();
}

async fn behaves_like_nats_by_example(server: &NatsServer) {
    let url = server.url();
    let alice = connect(&url, "alice", "alice").await.unwrap();
    alice.talks_to_itself_on("test").await;
    let mut bob = connect(&url, "bob", "bob").await.unwrap();
    bob.talks_to_itself_on("bob.test").await;
    bob.is_refused_to_publish("test").await;
    assert!(connect(&url, "pam", "pam").await.is_err());
    let sys = connect(&url, "sys", "sys").await.unwrap();
    let reply = sys.client.request("$SYS.REQ.SERVER.PING", "".into()).await.unwrap();
    has(std::str::from_utf8(&reply.payload).unwrap(), &["server"]);
}

#[tokio::test]
async fn nats_by_example_service_is_replaced_by_flags() {
    let (keys, folder) = (Keys::generate(), tempfile::tempdir().unwrap());
    let server = NatsServer::start(&nats_by_example(&keys)).await;
    demo_users(folder.path());
    let command =
        block("sh", "callgate serve").replace("\\\n", " ").replace(ADDRESS, &server.url());
    let mut arguments: Vec<&str> = command.split_whitespace().skip(2).collect();
    arguments.extend(["--admin-listen", "127.0.0.1:0"]);
    let (issuer, xkey) = (keys.issuer.seed(), keys.xkey.seed());
    let variables = [("AUTH_PASSWORD", "auth"), ("ISSUER_NSEED", &issuer), ("ISSUER_XSEED", &xkey)];
    let gate = serve_with(folder.path(), &arguments, &variables).await;
    gate.ready().await;
    behaves_like_nats_by_example(&server).await;
}

#[tokio::test]
async fn nats_by_example_service_is_replaced_by_a_file() {
    let (keys, folder) = (Keys::generate(), tempfile::tempdir().unwrap());
    let server = NatsServer::start(&nats_by_example(&keys)).await;
    demo_users(folder.path());
    let (issuer, xkey) = (keys.issuer.seed(), keys.xkey.seed());
    let variables = [("AUTH_PASSWORD", "auth"), ("ISSUER_NSEED", &issuer), ("ISSUER_XSEED", &xkey)];
    let config = block("toml", "# callgate.toml instead of the flags");
    let _gate = serve_page(folder.path(), &config, &server, &variables).await;
    behaves_like_nats_by_example(&server).await;
}

#[test]
fn every_flag_of_nats_by_example_has_a_counterpart() {
    let flags = first_cells("The nats-by-example service");
    let expected =
        ["-nats.url`", "-nats.user`", "-nats.pass`", "-issuer.seed`", "-xkey.seed`", "-users`"];
    assert_eq!(flags, expected);
}

/// As in nats-callout101, without its block for `$G`, which nats-server refuses, and without an xkey.
fn without_xkey(keys: &Keys) -> String {
    format!(
        "accounts {{
  AUTH {{ users: [ {{ user: auth, password: auth }} ] }}
  APP {{}}
  SYS {{}}
}}
authorization {{ auth_callout {{ issuer: {}, users: [ auth ], account: AUTH }} }}
system_account: SYS
",
        keys.issuer.public(),
    )
}

#[tokio::test]
async fn users_in_go_code_become_a_users_file() {
    let (keys, folder) = (Keys::generate(), tempfile::tempdir().unwrap());
    let server = NatsServer::start(&without_xkey(&keys)).await;
    write_private(&folder.path().join("users.json"), &block("json", "{\n  \"admin\""));
    let seed = keys.issuer.seed();
    let config = block("toml", "# callgate.toml in place of main.go");
    let variables = [("NATS_PASSWORD", "auth"), ("NKEY_SEED", seed.as_str())];
    let _gate = serve_page(folder.path(), &config, &server, &variables).await;
    let url = server.url();
    for (user, account) in [("admin", "APP"), ("test-1", "$G"), ("test-2", "$G")] {
        let session = connect(&url, user, user).await.unwrap();
        assert_eq!(session.account().await, account);
        session.talks_to_itself_on("anything").await;
    }
    let mut limited = connect(&url, "test-2", "test-2").await.unwrap();
    limited.is_refused_to_publish("$JS.API.STREAM.DELETE.ORDERS").await;
    assert!(connect(&url, "test-1", "wrong").await.is_err());
}

#[tokio::test]
async fn python_handler_becomes_a_web_service() {
    let (keys, folder) = (Keys::generate(), tempfile::tempdir().unwrap());
    let server = NatsServer::start(&without_xkey(&keys)).await;
    let port = free_port().to_string();
    fs::write(
        folder.path().join("handler.py"),
        block("python", "import json").replace("8001", &port),
    )
    .unwrap();
    let _handler = Process::builder("handler", tools::python())
        .arg("handler.py")
        .current_dir(folder.path())
        .start();
    let seed = keys.issuer.seed();
    let config = block("toml", "# callgate.toml in front of the handler").replace("8001", &port);
    let variables = [("NATS_PASSWORD", "auth"), ("NKEY_SEED", seed.as_str())];
    let gate = serve_page(folder.path(), &config, &server, &variables).await;
    let url = server.url();
    let ann = Credential::token("secret-of-ann");
    let mut ann = eventually("ann", LONG, async || connect_to(&url, &ann).await.ok()).await;
    let admitted = gate.decisions(0).pop().unwrap();
    assert_eq!((&admitted["user"], &admitted["account"]), (&json!("ann"), &json!("APP")));
    ann.is_refused_to_publish("bar").await;
    ann.is_refused_to_subscribe("foo").await;
    let mark = gate.mark();
    assert!(connect_to(&url, &Credential::token("guessed")).await.is_err());
    let refused = gate.decision(mark).await;
    has(refused["detail"].as_str().unwrap(), &["invalid token"]);
}

/// The original with the change on the page.
struct Auth0 {
    provider: OidcProvider,
    service: Nkey,
    server: NatsServer,
    gate: Service,
    folder: TempDir,
}

impl Auth0 {
    async fn start() -> Self {
        let (keys, folder) = (Keys::generate(), tempfile::tempdir().unwrap());
        let (provider, service) = (OidcProvider::stand_in().await, Nkey::user());
        let change = block("text", "accounts {\n  CALLOUT");
        let original = "AUTH { users: [ { user: regular_user, password: regular } ] }
  SYS { users: [ { user: sys, password: sys } ] }";
        let server = change
            .replace("# AUTH and SYS as before", original)
            .replace("$CALLGATE_PASSWORD", "gate")
            .replace("$NATS_AUTH_NKEY_ISSUER_PUBLIC", &keys.issuer.public())
            .replace("$NATS_AUTH_XKEY_ISSUER_PUBLIC", &keys.xkey.public())
            + "system_account: SYS\n";
        let server = NatsServer::start(&server).await;
        let config = block("toml", "# callgate.toml for users of Auth0")
            .replace("UDRKOP7FKFMDUYZ3JQEI37XP6FJSUFGHOC3N5OEZQXEVZU6ORPS2IODP", &service.public())
            .replace(
                "\"https://example.eu.auth0.com/\"",
                &format!("{:?}\ninsecure_http = true", provider.issuer()),
            );
        let (issuer, xkey) = (keys.issuer.seed(), keys.xkey.seed());
        let variables = [
            ("CALLGATE_PASSWORD", "gate"),
            ("NATS_AUTH_NKEY_ISSUER_SEED", &issuer),
            ("NATS_AUTH_XKEY_ISSUER_SEED", &xkey),
        ];
        let gate = serve_page(folder.path(), &config, &server, &variables).await;
        Self { provider, service, server, gate, folder }
    }
}

#[tokio::test]
async fn auth0_users_and_signing_services_keep_their_tokens() {
    let site = Auth0::start().await;
    let url = site.server.url();
    let claims = json!({ "sub": "auth0|5f7", "aud": "https://api.example.com" });
    let token = site.provider.mint("RS256", claims).await;
    let mut user = connect_to(&url, &Credential::token(&token)).await.unwrap();
    user.talks_to_itself_on("user.auth0|5f7.news").await;
    user.talks_to_itself_on("document.get").await;
    user.is_refused_to_publish("user.auth0|other.news").await;
    assert_eq!(site.gate.decisions(0).pop().unwrap()["account"], "AUTH");

    write_private(&site.folder.path().join("service.nk"), &site.service.seed());
    let mint = ["token", "--seed", "@service.nk", "--user", "svc:llm-service"];
    let token = callgate_in(site.folder.path(), &mint).stdout;
    let token = Credential::token(token.trim());
    let mut service = connect_to(&url, &token).await.unwrap();
    service.is_refused_to_publish("document.get").await;
    let decision: Value = site.gate.decisions(0).pop().unwrap();
    assert_eq!(
        (&decision["user"], &decision["account"]),
        (&json!("svc:llm-service"), &json!("AUTH"))
    );
    // The static user is untouched, and Callgate's account stays its own.
    let regular = connect(&url, "regular_user", "regular").await.unwrap();
    assert_eq!(regular.account().await, "AUTH");
}
