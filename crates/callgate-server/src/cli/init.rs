//! `callgate init`

mod configuration_mode;
mod kubernetes;
mod operator;
mod source;

use std::{
    io,
    path::{Path, PathBuf},
};

use callgate::{keys::KeyError, operator::JwtError, secret::Secret};
use callgate_authenticators::{kind::Registry, passwords::hash as hash_password};
use serde_json::{Value, json};

use super::{
    GOOD, Outcome,
    output::{complain, say},
};
use crate::{
    config,
    files::{WriteError, write_new},
};
use source::Source;

/// The JSON Schema of `callgate.toml`, which its first line names for editors.
pub(super) const SCHEMA_FILE: &str = "callgate.schema.json";

/// Write matching configurations for Callgate and nats-server
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  callgate init gate
  nats-server -c gate/nats-server.conf
  callgate serve --config gate/callgate.toml

Without --oidc, --kubernetes or --http, users and their passwords are in a file. With --operator,
writes an operator mode setup with its operator, accounts and credentials. Only the owner can read
the files. Existing files are never overwritten.")]
pub(super) struct Args {
    /// Directory to write to; created if missing
    dir: PathBuf,
    /// Use the demo users of nats-by-example (sys/sys, alice/alice, bob/bob); not for production
    #[arg(long, group = "source")]
    demo: bool,
    /// Admit clients with tokens of this OpenID issuer, such as https://id.example.com/realms/main
    #[arg(long, value_name = "ISSUER", group = "source")]
    oidc: Option<String>,
    /// Admit pods with their service account tokens; also writes a Secret and Helm values
    #[arg(long, group = "source")]
    kubernetes: bool,
    /// Let a web service at this URL decide who may log in
    #[arg(long, value_name = "URL", group = "source")]
    http: Option<String>,
    /// Write an operator mode setup: operator, accounts, credentials and resolver
    #[arg(long)]
    operator: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why not all files were written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the current directory is unknown: {0}")]
    Folder(io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Jwt(#[from] JwtError),
    #[error("cannot hash a password: {0}")]
    Hash(String),
    #[error("{flag}: {error}")]
    Flag { flag: &'static str, error: String },
}

/// The files to write and the text to print afterwards.
#[derive(Debug, Default)]
struct Setup {
    /// Names and contents.
    files: Vec<(&'static str, String)>,
    passwords: Passwords,
    /// Further lines to print.
    notes: Vec<String>,
}

impl Setup {
    fn to_json(&self, folder: &Path) -> Value {
        let Self { files, passwords, notes } = self;
        let path = |name: &str| folder.join(name).display().to_string();
        let passwords = passwords.0.iter();
        json!({
            "files": files.iter().map(|(name, _)| path(name)).collect::<Vec<_>>(),
            "passwords": passwords
                .map(|(user, password)| ((*user).to_owned(), password.expose().into()))
                .collect::<serde_json::Map<String, Value>>(),
            "notes": notes,
        })
    }
}

/// Generated passwords by user.
#[derive(Debug, Default)]
struct Passwords(Vec<(&'static str, Secret)>);

impl Passwords {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps a password for printing and returns its hash.
    fn hashed(&mut self, user: &'static str, password: Secret) -> Result<String, InitError> {
        let hash = hash_password(&password).map_err(|error| InitError::Hash(error.to_string()))?;
        self.0.push((user, password));
        Ok(hash)
    }

    fn table(&self) -> String {
        self.0.iter().map(|(user, password)| format!("{user}  {}\n", password.expose())).collect()
    }

    fn notes(&self) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let title = "passwords (also in passwords.txt):".to_owned();
        let rows = self.table();
        [title].into_iter().chain(rows.lines().map(|line| format!("  {line}"))).collect()
    }
}

/// Permissions in a users file for the user's own subjects.
fn restricted(user: &str) -> Value {
    let own = format!("{user}.>");
    json!({ "pub": { "allow": [own] }, "sub": { "allow": [own] } })
}

/// The same for a demo user, with `resp` as in nats-by-example. `check` warns about it: the user may
/// publish to its own subscriptions, and so choose the subjects that `resp` opens.
fn restricted_demo(user: &str) -> Value {
    let own = format!("{user}.>");
    json!({ "pub": { "allow": [own] }, "sub": { "allow": [own] }, "resp": { "max": 1 } })
}

fn seed_file(seed: &Secret) -> String {
    format!("{}\n", seed.expose())
}

pub(super) fn run(args: &Args, registry: &Registry) -> Outcome {
    let source = Source::of(args)?;
    let mut setup = match args.operator {
        true => operator::setup(&source)?,
        false => configuration_mode::setup(&source)?,
    };
    setup.files.extend(source.files()?);
    setup.files.push((SCHEMA_FILE, format!("{:#}\n", config::schema(registry))));
    setup.notes.extend(source.notes());
    write(args, &setup)?;
    match args.json {
        true => say(setup.to_json(&args.dir)),
        false => print(&setup, &args.dir, &source),
    }
    if args.demo {
        complain(
            "warning: the passwords of the --demo users are their names: never use this in production",
        );
    }
    Ok(GOOD)
}

fn print(setup: &Setup, folder: &Path, source: &Source) {
    let folder = folder.display();
    for (name, _) in &setup.files {
        say(format_args!("wrote {folder}/{name}"));
    }
    for note in setup.passwords.notes().iter().chain(&setup.notes) {
        say(note);
    }
    if *source == Source::Kubernetes {
        say(kubernetes::next_steps(&folder.to_string()));
        return;
    }
    say(format_args!("next:  nats-server -c {folder}/nats-server.conf"));
    if source.is_remote() {
        say(format_args!("       callgate check --config {folder}/callgate.toml --connect"));
    }
    say(format_args!("       callgate serve --config {folder}/callgate.toml"));
}

/// The beginning of `callgate.toml`.
fn heading(mode: &str, source: &Source) -> String {
    let login = source.example_login();
    format!(
        "#:schema ./{SCHEMA_FILE}
# Callgate for nats-server in {mode}.
# `callgate check --config callgate.toml` reports errors in this file.
# `callgate explain --config callgate.toml {login}` shows what a client may do.
"
    )
}

/// The end of `callgate.toml`.
const SESSION: &str = r#"
[session]
max_lifetime = "1h"                  # a removed user stays connected for up to this time

# Switch on to lock users out on all replicas: docs/revocation.md.
# [state]
# replicas = 1                         # 3 in a cluster
# [control]
# socket = "callgate.sock"

# Switch on to record every decision in a chain that shows changes: docs/audit.md.
# [[audit.sinks]]
# file = "audit.jsonl"
"#;

/// Writes all files, or none if one of them exists.
fn write(args: &Args, setup: &Setup) -> Result<(), InitError> {
    let store = std::path::absolute(args.dir.join("jetstream")).map_err(InitError::Folder)?;
    let store = json!(store.display().to_string()).to_string();
    let filled = setup.files.iter().map(|(name, text)| (*name, text.replace("{store}", &store)));
    Ok(write_new(&args.dir, &filled.collect::<Vec<_>>())?)
}
