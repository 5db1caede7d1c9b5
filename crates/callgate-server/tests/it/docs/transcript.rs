//! Types the commands of the pages into a shell, next to a running service with everything switched on.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use callgate_testkit::{NatsServer, eventually, service::command, wait::LONG};
use tempfile::TempDir;

use super::{
    assert_none,
    ledger::{COMMANDS, How, commands, compared, row},
    pages,
    quotes::{patient, patient_server},
};
use crate::support::{CALLGATE, Service, Session, callgate_in, connect, run, serve, write_private};

/// What a test cannot have, and what takes its place.
const REPLACED: [(&str, &str); 1] = [
    // Not every machine has `man`.
    ("| man -l -", "| cat"),
];
/// So that alice's session is less than a tenth of all, and is kicked without a question.
const OTHER_SESSIONS: usize = 12;
/// The lock on the pages.
const LOCK: &str = "01KB6T3H3E";

/// A folder with a service of its own, and with the files that the commands name.
struct Site {
    folder: TempDir,
    _gate: Service,
    _sessions: Vec<Session>,
    _server: NatsServer,
    passwords: [(&'static str, String); 3],
    token: String,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let init = callgate_in(folder.path(), &["init", "."]);
        assert_eq!(init.code, 0, "{init:?}");
        let password = |name: &str| {
            let line = init.stdout.lines().find(|line| line.trim_start().starts_with(name));
            line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
        };
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let config = patient_server(&read("nats-server.conf"));
        let config = config.replace("127.0.0.1:4222", "127.0.0.1:{{port}}");
        let server = NatsServer::builder().config(&config).start().await;
        callgate_in(folder.path(), &["key", "user", "--out", "audit.nk"]);
        callgate_in(folder.path(), &["key", "user", "--out", "service.nk"]);
        let mint =
            ["token", "--seed", "@service.nk", "--user", "svc:llm-api", "--audience", "nats"];
        let token = callgate_in(folder.path(), &mint).stdout.trim().to_owned();
        write_files(folder.path(), &switched_on(&patient(&read("callgate.toml")), &server.url()));
        let gate = serve(folder.path(), &["--config", "callgate.toml"]).await;
        gate.ready().await;
        let logs_in = async |user: &str| {
            // On a busy machine, hashing the password may take longer than the server waits.
            eventually(&format!("the login of {user}"), LONG, async || {
                connect(&server.url(), user, &password(user)).await.ok()
            })
            .await
        };
        let mut sessions = vec![logs_in("alice").await];
        for _ in 0..OTHER_SESSIONS {
            sessions.push(logs_in("bob").await);
        }
        assert!(connect(&server.url(), "alice", "wrong").await.is_err());
        let passwords =
            [("PASSWORD", password("alice")), ("BOB", password("bob")), ("PW", password("bob"))];
        Self { folder, _gate: gate, _sessions: sessions, _server: server, passwords, token }
    }

    /// Types a command; returns its exit code and all that it printed.
    fn types(&self, typed: &str) -> (i32, String) {
        let mut search = Path::new(CALLGATE).parent().unwrap().as_os_str().to_owned();
        search.push(":");
        search.push(env::var_os("PATH").unwrap_or_default());
        let mut shell = command("sh", self.folder.path(), &["-c", typed]);
        shell.env("PATH", search).env("HOME", self.folder.path()).env("TOKEN", &self.token);
        shell.envs(self.passwords.iter().map(|(name, value)| (name, value)));
        let ran = run(&mut shell, b"secret\n");
        (ran.code, ran.text())
    }
}

/// The configuration of `init` with all that it offers, an audit, and the name of the pages for the authenticator.
fn switched_on(config: &str, url: &str) -> String {
    const OFFERED: [&str; 6] =
        ["[state]", "replicas =", "[control]", "socket =", "[system]", "nkey ="];
    let lines = config.lines().map(|line| {
        let offered =
            line.strip_prefix("# ").filter(|rest| OFFERED.iter().any(|it| rest.starts_with(it)));
        format!("{}\n", offered.unwrap_or(line))
    });
    let config = lines.collect::<String>().replace("nats://127.0.0.1:4222", url);
    config.replace("name = \"users\"", "name = \"staff\"")
        + "
[audit]
key = { file = \"audit.nk\" }
[[audit.sinks]]
file = \"audit/audit.jsonl\"
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
"
}

fn write_files(folder: &Path, config: &str) {
    let path = |name: &str| -> PathBuf { folder.join(name) };
    fs::create_dir(path("audit")).unwrap();
    std::os::unix::fs::symlink("audit/audit.jsonl", path("audit.jsonl")).unwrap();
    fs::create_dir(path("tests")).unwrap();
    fs::write(path("callgate.toml"), config).unwrap();
    // The candidate: bob loses what is not below `bob.x`.
    fs::write(path("next.toml"), config.replace("users.json", "next.json")).unwrap();
    let users = fs::read_to_string(path("users.json")).unwrap();
    let narrowed = users.replace("bob.>", "bob.x.>");
    assert_ne!(users, narrowed);
    write_private(&path("next.json"), &narrowed);
    let tests = "[[tests]]\nname = \"own name\"\nidentity = { user = \"bob\" }\n\
                 may = [\"pub:bob.news\"]\nmay_not = [\"pub:news\"]\n";
    fs::write(path("tests.toml"), tests).unwrap();
    let all = ["alice", "bob", "sys"].map(|user| {
        format!("  - {{ name: {user}, identity: {{ user: {user} }}, expect: {{ outcome: admitted }} }}\n")
    });
    fs::write(path("tests/all.yaml"), format!("tests:\n{}", all.concat())).unwrap();
    fs::write(path("identities.yaml"), "- { authenticator: staff, user: bob }\n").unwrap();
}

/// The commands that the ledger wants run, in its order, each once.
fn typed() -> Vec<(usize, String)> {
    let mut typed = BTreeSet::new();
    for page in pages() {
        let compared = compared(&page);
        for command in commands(&page).into_iter().filter(|command| !compared.contains(command)) {
            if let Some(row) = row(&command).filter(|row| matches!(COMMANDS[*row].1, How::Runs(_)))
            {
                typed.insert((row, command));
            }
        }
    }
    typed.into_iter().collect()
}

#[tokio::test]
async fn commands_on_the_pages_do_what_they_say() {
    let site = Site::start().await;
    let mut lock: Option<String> = None;
    let mut errors = Vec::new();
    for (row, command) in typed() {
        let How::Runs(expected) = COMMANDS[row].1 else { continue };
        let mut replaced = command.clone();
        for (from, to) in REPLACED {
            replaced = replaced.replace(from, to);
        }
        if let Some(id) = &lock {
            replaced = replaced.replace(LOCK, id);
        }
        let (code, said) = site.types(&replaced);
        if !expected.contains(&code) {
            errors.push(format!("`{command}` exits with {code}, not {expected:?}:\n{said}"));
        }
        let id = said.strip_prefix("lock ").and_then(|rest| rest.split(' ').next());
        lock = id.map(str::to_owned).or(lock);
    }
    assert_none(errors);
}
