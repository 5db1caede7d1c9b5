//! What `callgate init` writes, taken as it is but for the port.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use async_nats::ConnectOptions;
use callgate_testkit::{
    NatsServer,
    gate::{Launch, binary, start},
    nats_server::Version,
};
use tempfile::TempDir;

use crate::{clients::user_info, mode::Mode, report::Outcome};

pub(super) async fn works(mode: Mode, version: Version) -> Outcome {
    let folder = written(mode);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file of init");
    let config = read("nats-server.conf").replace("127.0.0.1:4222", "127.0.0.1:{{port}}");
    let server = NatsServer::builder().version(&version.to_string()).config(&config).start().await;
    let callgate = folder.path().join("callgate.toml");
    let text = read("callgate.toml").replace("nats://127.0.0.1:4222", &server.url());
    fs::write(&callgate, format!("{text}\n[admin]\nlisten = \"\"\n")).expect("a file");
    let mut gate = start(folder.path(), &Launch::default());
    gate.wait_for_stderr("ready: answering").await;

    let passwords = read("passwords.txt");
    let sentinel = mode.is_operator().then(|| read("sentinel.creds"));
    let connect = async |user: &str, password: &str| {
        let mut options = ConnectOptions::new();
        if let Some(sentinel) = &sentinel {
            options = options.credentials(sentinel).expect("credentials");
        }
        options.user_and_password(user.to_owned(), password.to_owned()).connect(server.url()).await
    };
    let mut checks = vec!["files are their owner's".to_owned()];
    for user in passwords.lines().filter_map(|line| line.split_once("  ")) {
        let client = connect(user.0, user.1).await;
        let client = client.unwrap_or_else(|error| panic!("{} is refused: {error}", user.0));
        // Bob may not ask who he is.
        let info = user_info(&client).await;
        assert!(info.is_some_and(|info| info.user == user.0) || user.0 == "bob", "{}", user.0);
        checks.push(format!("{} is let in", user.0));
        assert!(connect(user.0, "wrong").await.is_err(), "{}", user.0);
    }
    if mode.is_operator() {
        let break_glass = ConnectOptions::with_credentials(&read("break-glass.creds"));
        let client = break_glass.expect("credentials").connect(server.url()).await;
        client.expect("the way in when Callgate is down");
        checks.push("break-glass.creds is let in".to_owned());
    }
    Outcome::passed(checks)
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
