//! The code snippets in the page about service tokens create valid tokens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is how a test fails")]

use std::{process::Command, sync::Arc};

use callgate::{
    clock::UnixTime,
    keys::{KeyKind, KeyPair},
};
use callgate_authenticators::{
    kind::{BuildContext, SharedResources},
    service_tokens::{ServiceTokens, Settings},
};
use callgate_config::{Document, Format, Report, Sources, Table};

const PAGE: &str = include_str!("../../../docs/service-tokens.md");

/// The only snippet in this language.
fn snippet(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut snippets = PAGE.split(&fence).skip(1);
    let snippet = snippets.next().unwrap().split("```").next().unwrap();
    assert!(snippets.next().is_none(), "several snippets for {language}");
    snippet
}

/// Runs a program with the seed in `SEED`, and checks the token that it prints.
fn check(program: &mut Command) {
    let key = KeyPair::generate(KeyKind::User).unwrap();
    let output = program.env("SEED", key.seed().expose()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let identity = services(&key).identify(text.trim(), UnixTime::now());
    assert_eq!(identity.unwrap_or_else(|no| panic!("{no:?}: {text}")).user, "svc:llm-api");
}

fn services(key: &KeyPair) -> ServiceTokens {
    let toml = format!(
        "audience = \"nats\"\n[[services]]\npublic_key = \"{}\"\nuser = \"svc:llm-api\"\nroles = []",
        key.public_key()
    );
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let context =
        BuildContext::new("services", sources.clone(), Arc::new(SharedResources::default()));
    let table = Table::root(&document, "", &report, &sources);
    ServiceTokens::new(Settings::read(&context, table).unwrap())
}

#[test]
fn python_snippet_creates_a_valid_token() {
    let folder = tempfile::tempdir().unwrap();
    let code = format!(
        "{}\n\nimport os\nprint(service_token(os.environ['SEED'], 'svc:llm-api', audience='nats'))\n",
        snippet("python")
    );
    std::fs::write(folder.path().join("token.test.py"), code).unwrap();
    let mut python = Command::new(callgate_testkit::tools::python());
    check(python.arg("token.test.py").current_dir(folder.path()));
}

/// Compiled only if Go is installed: a skipped test is not a passed one.
#[cfg(feature = "go")]
#[test]
fn go_snippet_creates_a_valid_token() {
    const MAIN: &str = r#"package main

import (
	"fmt"
	"os"
	"time"

	"callgate.test/snippets/auth"
)

func main() {
	token, err := auth.ServiceToken([]byte(os.Getenv("SEED")), "svc:llm-api", "nats", 15*time.Minute)
	if err != nil {
		panic(err)
	}
	fmt.Println(token)
}
"#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("auth")).unwrap();
    std::fs::write(folder.path().join("auth/auth.go"), snippet("go")).unwrap();
    std::fs::write(folder.path().join("main.go"), MAIN).unwrap();
    check(callgate_testkit::tools::go(folder.path()).args(["run", "."]));
}

/// Compiled only if Node.js is installed: a skipped test is not a passed one.
#[cfg(feature = "node")]
#[test]
fn javascript_snippet_creates_a_valid_token() {
    let folder = tempfile::tempdir().unwrap();
    let modules = callgate_testkit::tools::node_modules();
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    let code = format!(
        "{}\nconsole.log(serviceToken(process.env.SEED, 'svc:llm-api', 900, 'nats'));\n",
        snippet("javascript")
    );
    std::fs::write(folder.path().join("token.test.mjs"), code).unwrap();
    let mut node = Command::new(callgate_testkit::tools::node());
    check(node.arg("token.test.mjs").current_dir(folder.path()));
}
