//! The commands for `nsc` that the docs show, typed as they stand there.

#![cfg(feature = "go-tools")]
#![allow(clippy::unwrap_used, reason = "test code")]

use std::{env, fs, path::Path, process::Command};

use callgate_testkit::{NatsServer, tools};

#[tokio::test]
async fn documented_nsc_commands_work() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operator-mode.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("## With `nsc`").unwrap();
    let (_, script) = section.split_once("```sh\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path =
        format!("{}:{}", tools::folder().join("go-tools").display(), env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let resolver = fs::read_to_string(folder.path().join("resolver.conf")).unwrap();
    for name in ["AUTH", "APP", "SYS"] {
        assert!(resolver.contains(&format!("// Account \"{name}\"")), "{resolver}");
    }
    NatsServer::start(&resolver).await;
    for word in ["auth_users", "allowed_accounts", "xkey", "\"role\": \"reader\""] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
}
