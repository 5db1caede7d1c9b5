//! `callgate init`

mod configuration_mode;
mod operator;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use callgate::{keys::KeyError, operator::JwtError, secret::Secret};
use callgate_authenticators::passwords::hash as hash_password;
use serde_json::{Value, json};

use super::{
    GOOD,
    output::{complain, say, unusable},
};
use crate::files::write_private;

/// Write a ready pair of configurations for Callgate and nats-server
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  callgate init gate
  nats-server -c gate/nats-server.conf
  callgate serve --config gate/callgate.toml

With --operator the set is for operator mode: operator, accounts and credentials are all in it.
Every file is readable by its owner only, and none is overwritten.")]
pub(super) struct Args {
    /// The folder to write to; it is made if it is not there
    dir: PathBuf,
    /// Write the users of nats-by-example (sys/sys, alice/alice, bob/bob): for trying things only
    #[arg(long)]
    demo: bool,
    /// Write a set for operator mode: an operator, accounts, credentials and a resolver
    #[arg(long)]
    operator: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error(
        "`{0}` is there already: nothing was written; choose another folder, or remove it first"
    )]
    Exists(String),
    #[error("cannot write `{path}`: {error}")]
    Write { path: String, error: io::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Jwt(#[from] JwtError),
    #[error("a password cannot be hashed: {0}")]
    Hash(String),
}

/// What is to be written, and told.
#[derive(Debug, Default)]
struct Set {
    /// Names and texts.
    files: Vec<(&'static str, String)>,
    passwords: Passwords,
    /// What else to say when all is written.
    notes: Vec<String>,
}

impl Set {
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

/// Passwords that were made up, by whom they belong to.
#[derive(Debug, Default)]
struct Passwords(Vec<(&'static str, Secret)>);

impl Passwords {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps a password to be told, and returns its hash.
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
        let title = "passwords (also in passwords.txt, shown only now):".to_owned();
        let rows = self.table();
        [title].into_iter().chain(rows.lines().map(|line| format!("  {line}"))).collect()
    }
}

/// Leave for one's own subjects, in a users file.
fn restricted(user: &str) -> Value {
    let own = format!("{user}.>");
    json!({ "pub": { "allow": [own] }, "sub": { "allow": [own] }, "resp": { "max": 1 } })
}

fn seed_file(seed: &Secret) -> String {
    format!("{}\n", seed.expose())
}

pub(super) fn run(args: &Args) -> u8 {
    let made = match args.operator {
        true => operator::set(args.demo),
        false => configuration_mode::set(args.demo),
    };
    let set = match made.and_then(|set| write(args, &set).map(|()| set)) {
        Ok(set) => set,
        Err(error) => return unusable(error),
    };
    match args.json {
        true => say(set.to_json(&args.dir)),
        false => tell(&set, &args.dir),
    }
    if args.demo {
        complain(
            "warning: the users of --demo have their names for passwords: never use this in production",
        );
    }
    GOOD
}

fn tell(set: &Set, folder: &Path) {
    let folder = folder.display();
    for (name, _) in &set.files {
        say(format_args!("wrote {folder}/{name}"));
    }
    for note in set.passwords.notes().iter().chain(&set.notes) {
        say(note);
    }
    say(format_args!("next:  nats-server -c {folder}/nats-server.conf"));
    say(format_args!("       callgate serve --config {folder}/callgate.toml"));
}

/// Writes everything, or nothing if one of the files is there.
fn write(args: &Args, set: &Set) -> Result<(), InitError> {
    let wrong = |path: &Path, error| InitError::Write { path: path.display().to_string(), error };
    make_folder(&args.dir).map_err(|error| wrong(&args.dir, error))?;
    for (name, _) in &set.files {
        let path = args.dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists(path.display().to_string()));
        }
    }
    for (name, text) in &set.files {
        let path = args.dir.join(name);
        write_private(&path, text).map_err(|error| wrong(&path, error))?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
