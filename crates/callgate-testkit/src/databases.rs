//! Real database servers, filled with SQL before they start.
//!
//! Each has a database `app` (PostgreSQL: `postgres`) and listens on a free loopback port. As root, they
//! run as `nobody`, because database servers refuse root.

mod mariadb;
mod pgbouncer;
mod postgres;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

pub use mariadb::MariaDb;
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;

use crate::process::{Process, ProcessBuilder};

/// How root changes to another user to start a database.
const BECOME_NOBODY: [&str; 4] = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];

/// TLS of a database server: its certificate and key, as PEM.
#[derive(Clone)]
pub struct ServerTls {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// A certificate of this authority for this host.
    #[cfg(feature = "oidc")]
    pub fn of(authority: &crate::oidc_provider::Authority, host: &str) -> Self {
        let (certificate, key) = authority.server_pem_for(&[host]);
        Self { certificate, key }
    }

    /// Writes `server.crt` and `server.key` into a server's folder.
    fn write_into(&self, folder: &Path) {
        let key = folder.join("server.key");
        fs::write(folder.join("server.crt"), &self.certificate).expect("a file can be written");
        fs::write(&key, &self.key).expect("a file can be written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
        hand_over(folder);
    }
}

/// A server program, as `nobody` if this process runs as root.
fn unprivileged(name: &str, program: &Path) -> ProcessBuilder {
    match is_root() {
        true => Process::builder(name, BECOME_NOBODY[0]).args(&BECOME_NOBODY[1..]).arg(program),
        false => Process::builder(name, program),
    }
}

/// Runs a set-up step to its end. Returns stderr.
fn run_unprivileged(program: &Path, arguments: &[String], stdin: Stdio) -> String {
    let mut command = match is_root() {
        true => {
            let mut command = Command::new(BECOME_NOBODY[0]);
            command.args(&BECOME_NOBODY[1..]).arg(program);
            command
        }
        false => Command::new(program),
    };
    let output = command.args(arguments).current_dir("/").stdin(stdin).output();
    let output = output.unwrap_or_else(|error| panic!("{program:?} does not start: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program:?} failed:\n{stderr}");
    stderr
}

/// A text as the standard input of a set-up step.
fn as_stdin(folder: &Path, text: &str) -> Stdio {
    let file = folder.join("set-up.sql");
    fs::write(&file, text).expect("a file can be written");
    fs::File::open(&file).expect("it was just written").into()
}

/// An empty folder that `nobody` may enter, below a temporary one.
fn data_folder(parent: &Path) -> std::path::PathBuf {
    let folder = parent.join("data");
    fs::create_dir_all(&folder).expect("a folder can be made");
    fs::set_permissions(parent, fs::Permissions::from_mode(0o711)).expect("our own folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("our own folder");
    hand_over(&folder);
    folder
}

/// A copy of a prepared data folder.
fn copy_folder(from: &Path, to: &Path) {
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to));
}

/// Makes `nobody` the owner, if this process runs as root.
fn hand_over(folder: &Path) {
    if is_root() {
        run(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(folder));
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

fn run(command: &mut Command) {
    let status = command.status().expect("the program is installed");
    assert!(status.success(), "{command:?}: {status}");
}
