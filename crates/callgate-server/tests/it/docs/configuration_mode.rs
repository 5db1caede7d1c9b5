//! The steps of docs/configuration-mode.md, done as the page says.

use std::fs;

use callgate_testkit::{
    NatsServer,
    pages::checkout,
    wait::{LONG, eventually},
};

use super::{
    page,
    quotes::{blocks, configurations},
};
use crate::support::{callgate_in, command, connect, has, run, serve, write_private};

/// The block that begins with this text.
fn block<'a>(text: &'a str, language: &str, start: &str) -> &'a str {
    let found = blocks(text, language).into_iter().find(|(_, body)| body.starts_with(start));
    found.unwrap_or_else(|| panic!("no {language} block begins with `{start}`")).1
}

#[tokio::test]
async fn configuration_mode_works_step_by_step() {
    let text = page(checkout("docs/configuration-mode.md")).text;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let configuration = configurations(&text).first().unwrap().1;
    let mut server = block(&text, "text", "# nats-server.conf\n").to_owned();
    let mut users = block(&text, "json", "{").to_owned();

    let keys = block(&text, "console", "$ callgate key account");
    let lines: Vec<_> = keys.lines().collect();
    assert_eq!(lines.len(), 6, "three commands and their output");
    for pair in lines.chunks(2) {
        let typed = pair[0].strip_prefix("$ callgate ").unwrap().split('#').next().unwrap();
        let ran = callgate_in(folder.path(), &typed.split_whitespace().collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(server.contains(pair[1]), "{} is not in nats-server.conf", pair[1]);
        server = server.replace(pair[1], ran.stdout.trim());
    }
    for (arguments, file, password) in [
        (&["hash-password", "--bcrypt"][..], &mut server, "glass"),
        (&["hash-password"], &mut users, "wonderland"),
    ] {
        let typed = format!("$ callgate {}\n", arguments.join(" "));
        let placeholder = block(&text, "console", &typed).lines().nth(1).unwrap();
        let hash = run(&mut command(folder.path(), arguments), password.as_bytes());
        assert_eq!(hash.code, 0, "{hash:?}");
        assert!(file.contains(placeholder), "{file}");
        *file = file.replace(placeholder, hash.stdout.trim());
    }
    write_private(&path("users.json"), &users);
    fs::write(path("callgate.toml"), configuration).unwrap();
    let check = callgate_in(folder.path(), &["check", "--config", "callgate.toml", "--strict"]);
    has(&check.stdout, &["the configuration is valid: 0 errors, 0 warnings"]);

    let server = server.replace("127.0.0.1:4222", "127.0.0.1:{{port}}");
    let server = NatsServer::builder().config(&server).start().await;
    let own = configuration.replace("nats://127.0.0.1:4222", &server.url());
    fs::write(path("callgate.toml"), own + "\n[admin]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let gate = serve(folder.path(), &["--config", "callgate.toml"]).await;
    gate.ready().await;
    for (user, password, account) in
        [("alice", "wonderland", "APP"), ("break-glass", "glass", "SYS")]
    {
        // On a slow machine, a hash may take longer than the server's timeout.
        let login = async || connect(&server.url(), user, password).await.ok();
        assert_eq!(eventually(user, LONG, login).await.account().await, account);
        assert!(connect(&server.url(), user, "wrong").await.is_err());
    }
}
