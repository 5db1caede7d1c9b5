//! The main scenario on every supported nats-server line.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use async_nats::ConnectErrorKind;
use callgate_testkit::{
    NatsServer, Nkey, Process, eventually, tools,
    wait::{LONG, PATIENCE},
};
use serde_json::json;

use crate::support::{
    Credential, Pair, Service, callgate_in, connect, connect_to, expect_no_admission, has, refusal,
    serve,
};

const LINES: [&str; 5] = ["2.10", "2.11", "2.12", "2.14", "2.15"];

/// The running output of `init`: nats-server on a free port, and Callgate.
pub(crate) struct Written {
    folder: tempfile::TempDir,
    pub(crate) server: NatsServer,
    pub(crate) gate: Service,
}

impl Written {
    /// Runs `init` with these arguments, changes the files, and starts both programs.
    pub(crate) async fn start(
        version: &str,
        arguments: &[&str],
        change: impl Fn(&str) -> String,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let init = callgate_in(folder.path(), &[&["init", "pair"], arguments].concat());
        assert_eq!(init.code, 0, "{init:?}");
        let server = fs::read_to_string(folder.path().join("pair/nats-server.conf")).unwrap();
        let server = change(&server).replace("127.0.0.1:4222", "127.0.0.1:{{port}}");
        let server = NatsServer::builder().version(version).config(&server).start().await;
        let path = folder.path().join("pair/callgate.toml");
        let config = fs::read_to_string(&path).unwrap();
        let config = change(&config).replace("nats://127.0.0.1:4222", &server.url());
        let rest = "\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
        fs::write(&path, config + rest).unwrap();
        let gate = serve(folder.path(), &["--config", "pair/callgate.toml"]).await;
        gate.ready().await;
        Self { folder, server, gate }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn password(&self, user: &str) -> String {
        let table = fs::read_to_string(self.folder.path().join("pair/passwords.txt")).unwrap();
        let line = table.lines().find(|line| line.starts_with(&format!("{user} ")));
        line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
    }

    async fn reason_of(&self, user: &str, password: &str) -> String {
        let mark = self.gate.mark();
        let outcome = connect(&self.server.url(), user, password).await;
        assert_eq!(refusal(outcome), ConnectErrorKind::AuthorizationViolation);
        // By name, because the record of an earlier login may come after the mark.
        let words = ["\"outcome\":\"refused\"", &format!("\"user\":\"{user}\"")];
        self.gate.record(mark, &words).await["reason"].as_str().unwrap().to_owned()
    }
}

/// All users do what is permitted and try what is not.
async fn run_scenario(pair: &mut Written, passwords: [&str; 3]) {
    let [alice, bob, sys] = passwords;
    let url = pair.server.url();
    let alice = connect(&url, "alice", alice).await.unwrap();
    alice.talks_to_itself_on("test").await;
    assert_eq!(alice.account().await, "APP");

    let mut bob = connect(&url, "bob", bob).await.unwrap();
    bob.is_refused_to_publish("test").await;
    bob.is_refused_to_subscribe("test").await;
    bob.talks_to_itself_on("bob.test").await;

    assert_eq!(pair.reason_of("pam", "pam").await, "unknown_user");
    assert_eq!(pair.reason_of("alice", "wrong").await, "bad_password");

    let sys = connect(&url, "sys", sys).await.unwrap();
    let answer = sys.client.request("$SYS.REQ.SERVER.PING", "".into()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["server"]["name"], "gate-1");
}

/// The server's full timeout, since the machine may be busy with a build.
fn patient(text: &str) -> String {
    text.replace("name = \"users\"", "name = \"users\"\ntimeout = \"10s\"")
}

/// Removes the xkey from both files.
fn without_xkey(text: &str) -> String {
    let text = patient(text);
    let kept = text.lines().filter(|line| !line.trim().starts_with("xkey"));
    kept.map(|line| format!("{line}\n")).collect()
}

async fn the_story_on(version: &str) {
    let mut sealed = Written::start(version, &["--demo"], patient).await;
    run_scenario(&mut sealed, ["alice", "bob", "sys"]).await;
    sealed.gate.terminate().await;
    // The break-glass user of the system account.
    let (url, password) = (sealed.server.url(), sealed.password("break-glass"));
    let operator = connect(&url, "break-glass", &password).await.unwrap();
    assert_eq!(operator.account().await, "SYS");
    expect_no_admission(&url, "alice", "alice").await;

    let mut clear = Written::start(version, &["--demo"], without_xkey).await;
    has(&clear.gate.log(), &["no xkey: servers send passwords and tokens unencrypted"]);
    run_scenario(&mut clear, ["alice", "bob", "sys"]).await;
}

#[tokio::test]
async fn scenario_on_server_2_10() {
    the_story_on(LINES[0]).await;
}

#[tokio::test]
async fn scenario_on_server_2_11() {
    the_story_on(LINES[1]).await;
}

#[tokio::test]
async fn scenario_on_server_2_12() {
    the_story_on(LINES[2]).await;
}

#[tokio::test]
async fn scenario_on_server_2_14() {
    the_story_on(LINES[3]).await;
}

#[tokio::test]
async fn scenario_on_server_2_15() {
    the_story_on(LINES[4]).await;
}

/// The server sends nonces, because the callout user is an nkey user.
#[tokio::test]
async fn only_proven_nkeys_are_admitted_on_every_server() {
    for line in LINES {
        let (known, other) = (Nkey::user(), Nkey::user());
        let users = json!({ "robot": { "nkey": known.public(), "account": "APP" } });
        let pair = Pair::builder(users).version(line).start().await;
        let (outcome, decision) = pair.attempt(&Credential::nkey(&known)).await;
        assert_eq!(outcome.unwrap().account().await, "APP", "{line}");
        assert_eq!((&decision["user"], &decision["reason"]), (&json!("robot"), &json!("admitted")));
        assert_eq!(pair.refuses(&Credential::nkey(&other)).await, "bad_signature", "{line}");
    }
}

#[tokio::test]
async fn init_passwords_work_and_are_stored_as_argon2id() {
    let mut pair = Written::start("2.15", &[], patient).await;
    let passwords = ["alice", "bob", "sys"].map(|user| pair.password(user));
    run_scenario(&mut pair, [&passwords[0], &passwords[1], &passwords[2]]).await;
    let users = fs::read_to_string(pair.folder.path().join("pair/users.json")).unwrap();
    assert_eq!(users.matches("$argon2id$v=19$").count(), 3);
    assert!(passwords.iter().all(|password| !users.contains(password)));
}

/// Only the ports are changed.
#[tokio::test]
async fn init_output_works_unchanged() {
    for arguments in [&[][..], &["--demo"]] {
        let pair = Written::start("2.15", arguments, str::to_owned).await;
        let url = pair.server.url();
        for (user, account) in [("alice", "APP"), ("sys", "SYS")] {
            let password = match arguments {
                ["--demo"] => user.to_owned(),
                _ => pair.password(user),
            };
            // On a slow machine, a hash may take longer than the default timeout, repeatedly.
            let session =
                eventually(user, LONG, async || connect(&url, user, &password).await.ok()).await;
            assert_eq!(session.account().await, account);
            assert!(connect(&url, user, "wrong").await.is_err());
        }
        expect_no_admission(&url, "pam", "pam").await;
    }
}

/// Names, modes and contents of all files in a folder.
fn contents(folder: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                mode,
                fs::read(path).unwrap(),
            )
        })
        .collect();
    found.sort();
    found
}

#[test]
fn init_writes_private_files_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let first = callgate_in(folder.path(), &["init", "new/pair"]);
    assert_eq!(first.code, 0, "{first:?}");
    let before = contents(&folder.path().join("new/pair"));
    let names: Vec<_> = before.iter().map(|(name, _, _)| name.as_str()).collect();
    for name in ["callgate.toml", "users.json", "nats-server.conf", "issuer.nk", "xkey.xk"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(before.iter().all(|(_, mode, _)| *mode == 0o600), "{before:?}");
    let printed = String::from_utf8(
        before[names.iter().position(|n| *n == "passwords.txt").unwrap()].2.clone(),
    );
    for line in printed.unwrap().lines() {
        has(&first.stdout, &[line]);
    }
    for again in [&["init", "new/pair"][..], &["init", "--demo", "new/pair"]] {
        let second = callgate_in(folder.path(), again);
        assert_eq!(second.code, 2, "{second:?}");
        has(&second.stderr, &["already exists", "nothing was written"]);
        assert_eq!(contents(&folder.path().join("new/pair")), before);
    }
}

#[test]
fn init_writes_nothing_if_one_file_exists() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("users.json"), "mine").unwrap();
    let init = callgate_in(folder.path(), &["init", "."]);
    assert_eq!(init.code, 2, "{init:?}");
    has(&init.stderr, &["users.json", "nothing was written"]);
    assert_eq!(contents(folder.path()).len(), 1);
}

/// The demo users are those of nats-by-example. Their one warning is about `resp` of bob.
#[test]
fn init_output_passes_strict_check() {
    for (arguments, code, verdict) in [
        (&[][..], 0, "0 errors, 0 warnings"),
        (&["--operator"], 0, "0 errors, 0 warnings"),
        (&["--demo"], 1, "0 errors, 1 warning"),
        (&["--operator", "--demo"], 1, "0 errors, 1 warning"),
        (&["--oidc", "https://id.example.com/realms/main"], 0, "0 errors, 0 warnings"),
        (&["--operator", "--oidc", "https://id.example.com/"], 0, "0 errors, 0 warnings"),
        (&["--http", "https://decide.example.com/login"], 0, "0 errors, 0 warnings"),
        (&["--operator", "--http", "http://localhost:8080/"], 0, "0 errors, 0 warnings"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let init = callgate_in(folder.path(), &[&["init", "pair"], arguments].concat());
        assert_eq!(init.code, 0, "{init:?}");
        let check = callgate_in(folder.path(), &["check", "pair/callgate.toml", "--strict"]);
        assert_eq!(check.code, code, "{arguments:?} {check:?}");
        has(&check.stdout, &[verdict]);
        if code != 0 {
            has(&check.stdout, &["permissions of `bob`", "`responses` is not a boundary"]);
        }
    }
}

#[test]
fn demo_warns_that_it_is_not_for_production() {
    let folder = tempfile::tempdir().unwrap();
    let init = callgate_in(folder.path(), &["init", "--demo", "pair"]);
    has(&init.text(), &["not for production"]);
}

const PYTHON: &str = r#"
import asyncio, sys, nats
async def main(url):
    async def quiet(error): pass
    bob = await nats.connect(url, user="bob", password="bob", error_cb=quiet)
    inbox = await bob.subscribe("bob.news")
    await bob.publish("bob.news", b"hello")
    print((await inbox.next_msg(5)).data.decode())
    await bob.close()
    try:
        await nats.connect(url, user="bob", password="wrong", allow_reconnect=False,
                           max_reconnect_attempts=0, error_cb=quiet)
    except Exception as error:
        print(type(error).__name__, error)
asyncio.run(main(sys.argv[1]))
"#;

#[tokio::test]
async fn python_clients_are_admitted_and_refused() {
    let pair = Pair::of(json!({ "bob": { "pass": "bob", "account": "APP" } })).await;
    let mark = pair.gate.mark();
    let mut client = Process::builder("nats-py", tools::python())
        .args(["-c", PYTHON, &pair.server.url()])
        .start();
    let status = client.wait_for_exit(PATIENCE).await;
    assert!(status.success(), "{}", client.stderr());
    has(&client.stdout().to_lowercase(), &["hello\n", "authorization violation"]);
    let reasons: Vec<_> =
        pair.gate.decisions(mark).iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons[..2], [json!("admitted"), json!("bad_password")]);
}

#[tokio::test]
async fn client_without_credential_is_refused() {
    let pair = Pair::of(json!({ "bob": { "pass": "bob", "account": "APP" } })).await;
    assert_eq!(pair.refuses(&Credential::Nothing).await, "no_credential");
    assert!(connect_to(&pair.server.url(), &Credential::password("bob", "bob")).await.is_ok());
}
