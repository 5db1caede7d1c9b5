//! The quick start in README.md, typed into a shell. Compiled only if the `nats` command is installed: a
//! skipped test is not a passed one.

use std::{fs, path::Path};

use callgate_testkit::{NatsServer, service::command, tools};

use super::{
    page,
    quotes::{blocks, first_difference, patient, patient_server},
};
use crate::support::{CALLGATE, callgate_in, has, run, serve};

/// The blocks of the section, from `callgate init` on: building the program takes too long here.
fn section() -> String {
    let text = page(callgate_testkit::pages::checkout("README.md")).text;
    let (_, section) = text.split_once("\n## Quick start\n").unwrap();
    section.split("\n## ").next().unwrap().to_owned()
}

/// Each command of a block with the lines that it should print.
fn commands(block: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, Vec::new())),
            (None, Some((_, output))) => output.push(line),
            (None, None) => panic!("a block begins with output: {line}"),
        }
    }
    commands
}

#[tokio::test]
async fn quick_start_ends_with_a_client_that_publishes_and_one_that_is_refused() {
    let section = section();
    let folder = tempfile::tempdir().unwrap();
    let found = blocks(&section, "console");
    let typed = commands(found[1].1);
    assert_eq!(typed[0].0, "callgate init gate");
    let init = callgate_in(folder.path(), &["init", "gate"]);
    let lines: Vec<_> = init.stdout.lines().map(str::to_owned).collect();
    assert_eq!(first_difference(&typed[0].1, &lines), None);

    // On a free port instead of the usual one.
    let path = |name: &str| folder.path().join("gate").join(name);
    let config = fs::read_to_string(path("nats-server.conf")).unwrap();
    let config = patient_server(&config).replace("127.0.0.1:4222", "127.0.0.1:{{port}}");
    let server = NatsServer::builder().config(&config).start().await;
    let config = fs::read_to_string(path("callgate.toml")).unwrap();
    let rest = "\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    let config = patient(&config);
    fs::write(path("callgate.toml"), config.replace("nats://127.0.0.1:4222", &server.url()) + rest)
        .unwrap();
    let gate = serve(folder.path(), &["--config", "gate/callgate.toml"]).await;
    gate.ready().await;

    let (password, logins) = typed_logins(&section);
    for (typed, output) in logins {
        let script = format!("{password}\n{typed} 2>&1");
        let printed = in_shell(folder.path(), &server.url(), &script);
        // `nats` repeats the error of a server at a time of its own: before its last line or after it.
        let expected = [&["…"], &output[..], &["…"]].concat();
        assert_eq!(first_difference(&expected, &printed), None, "{printed:?}");
    }
    let (explain, output) = typed_explain(&section);
    let printed = in_shell(folder.path(), &server.url(), &format!("{password}\n{explain} 2>&1"));
    assert_eq!(first_difference(&output, &printed), None, "{printed:?}");
    let records: Vec<_> = gate.decisions(0);
    let shown = blocks(&section, "text")[0].1;
    for (line, record) in shown.lines().zip(&records) {
        let reason = record["reason"].as_str().unwrap();
        has(line, &[&format!("reason={reason} "), "user=\"bob\""]);
        if let Some(detail) = record["detail"].as_str().filter(|detail| !detail.is_empty()) {
            has(line, &[&format!("detail=\"{detail}\"")]);
        }
    }
    assert_eq!(records.len(), shown.lines().count());
}

/// The assignment of the password, and the commands of the clients with their output.
fn typed_logins(section: &str) -> (&str, Vec<(&str, Vec<&str>)>) {
    let found = blocks(section, "console");
    let (_, block) = found.iter().find(|(_, body)| body.contains("nats --user")).unwrap();
    let mut typed = commands(block);
    let (password, _) = typed.remove(0);
    assert_eq!(typed.len(), 3);
    (password, typed)
}

/// `callgate explain` with its output.
fn typed_explain(section: &str) -> (&str, Vec<&str>) {
    let found = blocks(section, "console");
    let mut typed = found.iter().flat_map(|(_, body)| commands(body));
    typed.find(|(command, _)| command.starts_with("callgate explain ")).unwrap()
}

fn in_shell(folder: &Path, url: &str, script: &str) -> Vec<String> {
    let nats = tools::installed("go-tools/nats");
    let programs = [Path::new(CALLGATE), nats.as_path()].map(|program| program.parent().unwrap());
    let mut search = std::env::join_paths(programs).unwrap();
    search.push(":");
    search.push(std::env::var_os("PATH").unwrap_or_default());
    let mut shell = command("sh", folder, &["-c", script]);
    let ran = run(
        shell
            .env("PATH", search)
            .env("NATS_URL", url)
            .env("NATS_TIMEOUT", "60s")
            .env("HOME", folder),
        b"",
    );
    ran.stdout.lines().map(str::to_owned).collect()
}
