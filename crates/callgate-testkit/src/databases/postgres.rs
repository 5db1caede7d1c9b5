//! PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::{
    ServerTls, as_stdin, copy_folder, data_folder, hand_over, run_unprivileged, unprivileged,
};
use crate::ports::free_port;
use crate::process::Process;
use crate::tools::installed;

/// The password of the superuser `postgres`.
const SUPERUSER_PASSWORD: &str = "superuser";

/// A running PostgreSQL with password logins (SCRAM) on 127.0.0.1.
#[derive(Debug)]
pub struct Postgres {
    // Before `folder`: the server ends before its data goes.
    process: Process,
    folder: TempDir,
    port: u16,
    with_tls: bool,
    /// Its sessions, while they are suspended.
    frozen: Vec<u32>,
}

impl Postgres {
    /// A server without TLS that has run `sql` in the database `postgres`. Each statement ends with `;`
    /// at the end of a line.
    ///
    /// # Panics
    /// If it is not installed, does not start, or a statement fails.
    pub async fn start(sql: &str) -> Self {
        Self::start_with(sql, None).await
    }

    /// The same; with `tls`, connections without TLS are refused.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub async fn start_with(sql: &str, tls: Option<&ServerTls>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let data = new_cluster(folder.path());
        execute(folder.path(), &data, sql);
        if let Some(tls) = tls {
            tls.write_into(&data);
        }
        set_access(&data, tls.is_some());
        let port = free_port();
        let process = launch(&data, port, tls.is_some());
        let mut server =
            Self { process, folder, port, with_tls: tls.is_some(), frozen: Vec::new() };
        server.wait_until_ready().await;
        server
    }

    /// The address of the server for this user and password.
    pub fn url(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/postgres", self.port)
    }

    /// The address for the superuser.
    pub fn superuser_url(&self) -> String {
        self.url("postgres", SUPERUSER_PASSWORD)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops the server. All connections break.
    pub async fn stop(&mut self) {
        // An immediate shutdown, which leaves no shared memory behind.
        self.process.signal("QUIT");
        self.process.wait_for_exit(Duration::from_secs(10)).await;
    }

    /// Starts it again on the same port, with the same data.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_again(&mut self) {
        self.process = launch(&self.data(), self.port, self.with_tls);
        self.wait_until_ready().await;
    }

    /// Stops it, runs `sql`, and starts it again, with this TLS.
    ///
    /// # Panics
    /// If a statement fails, or the server does not start.
    pub async fn restart_with(&mut self, sql: &str, tls: Option<&ServerTls>) {
        self.stop().await;
        let data = self.data();
        execute(self.folder.path(), &data, sql);
        if let Some(tls) = tls {
            tls.write_into(&data);
        }
        self.with_tls = tls.is_some();
        set_access(&data, self.with_tls);
        self.start_again().await;
    }

    /// Suspends the server and all its sessions, until [`Postgres::thaw`].
    pub async fn freeze(&mut self) {
        self.process.freeze().await;
        self.frozen = self.children();
        for child in &self.frozen {
            crate::process::send_signal("STOP", *child);
        }
    }

    /// Resumes a frozen server.
    pub fn thaw(&mut self) {
        for child in std::mem::take(&mut self.frozen) {
            crate::process::send_signal("CONT", child);
        }
        self.process.signal("CONT");
    }

    fn children(&self) -> Vec<u32> {
        let pid = self.process.pid();
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        list.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn wait_until_ready(&mut self) {
        self.process.wait_for_stderr("database system is ready to accept connections").await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        self.process.signal("QUIT");
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while self.process.exit_status().is_none() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A new database cluster. The first in a process is made by initdb, the others are copies.
fn new_cluster(folder: &Path) -> PathBuf {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let template = tempfile::tempdir().expect("a temporary directory can be made");
        let data = data_folder(template.path());
        let password = data.join("password");
        fs::write(&password, SUPERUSER_PASSWORD).expect("a file can be written");
        hand_over(&data);
        let cluster = data.join("cluster").display().to_string();
        let pwfile = password.display().to_string();
        let arguments = ["-D", &cluster, "--no-sync", "-A", "scram-sha-256", "--pwfile", &pwfile]
            .into_iter()
            .chain(["-U", "postgres", "--encoding=UTF8", "--locale=C"]);
        let arguments: Vec<String> = arguments.map(str::to_owned).collect();
        run_unprivileged(
            &installed("postgresql/bin/initdb"),
            &arguments,
            std::process::Stdio::null(),
        );
        template
    });
    let parent = data_folder(folder);
    fs::remove_dir(&parent).expect("it is empty");
    copy_folder(&template.path().join("data/cluster"), &parent);
    parent
}

/// Runs statements in single-user mode, which needs no client.
fn execute(folder: &Path, data: &Path, sql: &str) {
    // With `-j` a statement ends with a semicolon and two newlines.
    let sql = sql.replace(";\n", ";\n\n") + "\n\n";
    let arguments = ["--single", "-j", "-D", &data.display().to_string(), "-c", "fsync=off"];
    let arguments: Vec<String> =
        arguments.into_iter().chain(["postgres"]).map(str::to_owned).collect();
    let program = installed("postgresql/bin/postgres");
    let stderr = run_unprivileged(&program, &arguments, as_stdin(folder, &sql));
    assert!(!stderr.contains("ERROR:"), "the set-up of PostgreSQL failed:\n{stderr}");
}

fn set_access(data: &Path, with_tls: bool) {
    let kind = if with_tls { "hostssl" } else { "host" };
    let rule = format!("{kind} all all 127.0.0.1/32 scram-sha-256\n");
    fs::write(data.join("pg_hba.conf"), rule).expect("a file can be written");
}

fn launch(data: &Path, port: u16, with_tls: bool) -> Process {
    let tls = if with_tls { "ssl=on" } else { "ssl=off" };
    unprivileged("PostgreSQL", &installed("postgresql/bin/postgres"))
        .current_dir("/")
        .arg("-D")
        .arg(data)
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "unix_socket_directories="])
        .args(["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=60"])
        .args(["-c", tls, "-c", "log_connections=on", "-c", "lc_messages=C"])
        .start()
}
