//! Policy tests, and previews of changes.

mod diff;
mod replay;
mod results;
mod shadow;
mod subjects;
mod tests;
mod unusable;

use std::{
    fs,
    path::{Path, PathBuf},
};

use callgate_testkit::{Nkey, pages::checkout};
use serde_json::Value;

use crate::support::{CommandOutput, command, run, write_private};

/// A folder with a configuration and a users file.
struct Folder(tempfile::TempDir);

impl Folder {
    /// `policy` is appended to a minimal configuration with the authenticator `staff`.
    fn new(users: &Value, policy: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        write_private(&folder.path("issuer.nk"), &Nkey::account().seed());
        folder.users(users);
        folder.config("callgate.toml", policy);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write_private(&self.path(name), text);
    }

    fn users(&self, users: &Value) {
        self.write("users.json", &users.to_string());
    }

    fn config(&self, name: &str, policy: &str) {
        self.config_with(name, "users.json", policy);
    }

    fn config_with(&self, name: &str, users: &str, policy: &str) {
        let text = format!(
            "default_account = \"APP\"\n\
             [nats]\nservers = [\"nats://127.0.0.1:4222\"]\nuser = \"auth\"\npassword = \"x\"\n\
             [issuer]\nseed = {{ file = \"issuer.nk\" }}\ncallout_account = \"AUTH\"\n\
             [[authenticators]]\nname = \"staff\"\n[authenticators.users]\nfile = \"{users}\"\n{policy}"
        );
        self.write(name, &text);
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        run(&mut command(self.0.path(), arguments), b"")
    }

    /// `callgate test` with a file of this content.
    fn test(&self, tests: &str, arguments: &[&str]) -> CommandOutput {
        self.write("tests.toml", tests);
        self.run(&[&["test", "tests.toml", "--config", "callgate.toml"], arguments].concat())
    }
}

/// Runs the command in the folder of the example.
fn example(arguments: &[&str]) -> CommandOutput {
    let folder = tempfile::tempdir().unwrap();
    copy(&checkout("examples/policy"), folder.path());
    let mut command = command(folder.path(), arguments);
    command.env("NATS_PASSWORD", "unused").env("ISSUER_SEED", Nkey::account().seed());
    run(&mut command, b"")
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        write_private(&to.join(path.file_name().unwrap()), &fs::read_to_string(&path).unwrap());
    }
}
