//! What `callgate init` writes, taken as it is but for the port.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use async_nats::{Client, ConnectError, ConnectOptions};
use callgate_testkit::{
    NatsServer, Process,
    nats_server::Version,
    service::{Launch, binary, start},
    wait::PATIENCE,
};
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{clients::user_info, mode::Mode, report::Outcome, site::knows_default_sentinel};

/// The accounts of the users that it writes.
const USERS: [(&str, &str); 5] =
    [("sys", "SYS"), ("alice", "APP"), ("bob", "APP"), ("rita", "APP"), ("oscar", "OPS")];

struct Started {
    folder: TempDir,
    server: NatsServer,
    service: Process,
    sentinel: Option<String>,
}

impl Started {
    async fn new(mode: Mode, version: Version) -> Self {
        let folder = written(mode);
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
        let mut config = read("nats-server.conf").replace("127.0.0.1:4222", "127.0.0.1:{{port}}");
        if knows_default_sentinel(version) {
            // As the comment above it says.
            config = config.replace("# default_sentinel:", "default_sentinel:");
        }
        // On a busy machine a password's hash takes long.
        let config = match mode.is_operator() {
            true => format!("{config}\nauthorization {{ timeout: 20 }}\n"),
            false => config.replace("authorization {", "authorization {\n  timeout: 20"),
        };
        let server = NatsServer::builder().version(&version.to_string()).config(&config);
        let server = server.start().await;
        let text = read("callgate.toml").replace("nats://127.0.0.1:4222", &server.url());
        let text =
            text.replace("[authenticators.users]", "timeout = \"20s\"\n[authenticators.users]");
        let text = format!("{text}\n[admin]\nlisten = \"\"\n");
        fs::write(folder.path().join("callgate.toml"), text).expect("a file");
        let mut service = start(folder.path(), &Launch::default());
        service.wait_for_stderr("ready: answering").await;
        let sentinel = mode.is_operator().then(|| read("sentinel.creds"));
        Self { folder, server, service, sentinel }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).expect("a file of init")
    }

    fn password(&self, user: &str) -> String {
        self.find_password(user).expect("a password")
    }

    /// `None` for a user that the files do not have.
    fn find_password(&self, user: &str) -> Option<String> {
        let table = self.read("passwords.txt");
        let mut rows = table.lines().filter_map(|line| line.split_once("  "));
        rows.find(|(name, _)| *name == user).map(|(_, password)| password.to_owned())
    }

    /// What the server calls this account.
    fn account(&self, name: &str) -> String {
        let text = self.read("callgate.toml");
        let entry = text.split_once(&format!("name = \"{name}\"\nid = \"")).map(|(_, id)| id);
        let id = entry.and_then(|rest| rest.split_once('"')).map(|(id, _)| id);
        id.unwrap_or(name).to_owned()
    }

    async fn connect(
        &self,
        sentinel: Option<&str>,
        user: &str,
        password: &str,
    ) -> Result<Client, ConnectError> {
        let mut options = ConnectOptions::new();
        if let Some(sentinel) = sentinel {
            options = options.credentials(sentinel).expect("credentials");
        }
        let options = options.user_and_password(user.to_owned(), password.to_owned());
        options.connect(self.server.url()).await
    }

    /// A login with the password that was written.
    async fn login(&self, user: &str) -> Client {
        let client = self.connect(self.sentinel.as_deref(), user, &self.password(user)).await;
        client.unwrap_or_else(|error| panic!("{user} is refused: {error}"))
    }
}

pub(super) async fn works(mode: Mode, version: Version) -> Outcome {
    let mut set = Started::new(mode, version).await;
    let mut checks = vec!["files are their owner's".to_owned()];
    // Not by looking for the name in the file: a random password may contain it.
    for (user, account) in USERS.into_iter().filter(|(user, _)| set.find_password(user).is_some()) {
        let client = set.login(user).await;
        assert!(set.connect(set.sentinel.as_deref(), user, "wrong").await.is_err(), "{user}");
        checks.push(format!("{user} is let in, into {account}"));
        // bob may not request user info.
        if user == "bob" {
            continue;
        }
        let info = user_info(&client).await.expect("an answer");
        assert_eq!((info.user.as_str(), &info.account), (user, &set.account(account)));
        match user {
            "rita" => assert_eq!(info.hears(), ["_INBOX.>", "news.>", "rita.>"], "{user}"),
            _ => assert!(info.permissions.is_null(), "{user}: {}", info.permissions),
        }
    }
    bob_is_held_to_his_own(&set).await;
    checks.push("bob may publish only to bob's subjects".to_owned());
    if mode.is_operator() && knows_default_sentinel(version) {
        let plain = set.connect(None, "alice", &set.password("alice")).await;
        plain.expect("the line in the server's configuration spares the credentials file");
        checks.push("alice is let in without a credentials file by `default_sentinel`".to_owned());
    }
    set.service.signal("TERM");
    set.service.wait_for_exit(PATIENCE + PATIENCE).await;
    let break_glass = match mode.is_operator() {
        true => ConnectOptions::with_credentials(&set.read("break-glass.creds")).expect("one"),
        false => {
            let (user, password) = ("break-glass".to_owned(), set.password("break-glass"));
            ConnectOptions::with_user_and_password(user, password)
        }
    };
    let client = break_glass.connect(set.server.url()).await.expect("the way in without Callgate");
    let answer = client.request("$SYS.REQ.SERVER.PING", "".into()).await;
    answer.expect("an answer that only the system account gets");
    checks.push("break-glass is let in while Callgate is down, into SYS".to_owned());
    Outcome::passed(checks)
}

async fn bob_is_held_to_his_own(set: &Started) {
    let (alice, bob) = (set.login("alice").await, set.login("bob").await);
    let mut heard = alice.subscribe(">").await.expect("a subscription");
    user_info(&alice).await.expect("an answer, after which the subscription is known");
    for subject in ["not.bobs", "bob.own"] {
        bob.publish(subject, "".into()).await.expect("a connection");
    }
    bob.flush().await.expect("a connection");
    let own = async {
        loop {
            let subject = heard.next().await.expect("a message").subject.to_string();
            assert_ne!(subject, "not.bobs");
            if subject == "bob.own" {
                return;
            }
        }
    };
    timeout(PATIENCE, own).await.expect("bob's message reaches APP");
}

fn written(mode: Mode) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary());
    command.arg("init").arg(folder.path());
    if mode.is_operator() {
        command.arg("--operator");
    }
    let output = command.output().expect("callgate starts");
    assert!(output.status.success(), "{output:?}");
    let again = command.output().expect("callgate starts");
    assert_eq!(again.status.code(), Some(2), "nothing is overwritten: {again:?}");
    assert_private(folder.path());
    folder
}

fn assert_private(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}
