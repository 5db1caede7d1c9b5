//! MariaDB.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::{ServerTls, as_stdin, copy_folder, data_folder, run_unprivileged, unprivileged};
use crate::ports::free_port;
use crate::process::Process;
use crate::tools::installed;

/// The tables that `mariadb-install-db` creates, in this order.
const SYSTEM_TABLES: [&str; 3] =
    ["mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"];

/// A running MariaDB on 127.0.0.1.
#[derive(Debug)]
pub struct MariaDb {
    // Before `folder`: the server ends before its data goes.
    process: Process,
    folder: TempDir,
    port: u16,
    with_tls: bool,
}

impl MariaDb {
    /// A server without TLS that has run `sql` in the database `app`. Each statement is one line.
    ///
    /// # Panics
    /// If it is not installed, does not start, or a statement fails.
    pub async fn start(sql: &str) -> Self {
        Self::start_with(sql, None).await
    }

    /// The same; with `tls`, it offers TLS.
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    pub async fn start_with(sql: &str, tls: Option<&ServerTls>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let data = data_folder(folder.path());
        fs::remove_dir(&data).expect("it is empty");
        copy_folder(&template().join("data"), &data);
        // Only after `flush privileges` are there users.
        execute(folder.path(), &data, &format!("use app;\nflush privileges;\n{sql}\n"));
        if let Some(tls) = tls {
            tls.write_into(&data);
        }
        let port = free_port();
        let process = launch(&data, port, tls.is_some());
        let mut server = Self { process, folder, port, with_tls: tls.is_some() };
        server.wait_until_ready().await;
        server
    }

    /// The address of the server for this user and password.
    pub fn url(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/app", self.port)
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
        self.process.signal("TERM");
        self.process.wait_for_exit(Duration::from_secs(10)).await;
    }

    /// Starts it again on the same port, with the same data.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_again(&mut self) {
        self.process = launch(&self.folder.path().join("data"), self.port, self.with_tls);
        self.wait_until_ready().await;
    }

    /// Stops it, runs `sql` in the database `app`, and starts it again, with this TLS.
    ///
    /// # Panics
    /// If a statement fails, or the server does not start.
    pub async fn restart_with(&mut self, sql: &str, tls: Option<&ServerTls>) {
        self.stop().await;
        let data = self.folder.path().join("data");
        execute(self.folder.path(), &data, &format!("use app;\nflush privileges;\n{sql}\n"));
        if let Some(tls) = tls {
            tls.write_into(&data);
        }
        self.with_tls = tls.is_some();
        self.start_again().await;
    }

    async fn wait_until_ready(&mut self) {
        self.process.wait_for_stderr("ready for connections").await;
    }
}

/// A data folder with the system tables and an empty database `app`, made once per process.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let data = data_folder(folder.path());
        let mut sql = "create database mysql;\nuse mysql;\n".to_owned();
        for file in SYSTEM_TABLES {
            let file = shared_files().join(file);
            sql += &fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        }
        sql += "\ncreate database app character set utf8mb4;\n";
        execute(folder.path(), &data, &sql);
        folder
    });
    template.path()
}

fn execute(folder: &Path, data: &Path, sql: &str) {
    let arguments: Vec<String> =
        options(data).into_iter().chain(["--bootstrap".to_owned()]).collect();
    let program = installed("mariadb/bin/mariadbd");
    let stderr = run_unprivileged(&program, &arguments, as_stdin(folder, sql));
    assert!(!stderr.contains("ERROR:"), "the set-up of MariaDB failed:\n{stderr}");
}

fn launch(data: &Path, port: u16, with_tls: bool) -> Process {
    let file = |name: &str| data.join(name).display().to_string();
    let mut server = unprivileged("MariaDB", &installed("mariadb/bin/mariadbd"))
        .current_dir("/")
        .args(options(data))
        .args([format!("--port={port}"), format!("--socket={}", file("socket"))])
        .args(["--bind-address=127.0.0.1".to_owned(), format!("--pid-file={}", file("pid"))]);
    if with_tls {
        let [certificate, key] = [file("server.crt"), file("server.key")];
        server = server
            .args([format!("--ssl-ca={certificate}"), format!("--ssl-cert={certificate}")])
            .arg(format!("--ssl-key={key}"));
    }
    server.start()
}

fn options(data: &Path) -> Vec<String> {
    let shared = shared_files();
    [
        "--no-defaults",
        "--innodb-log-file-size=4M",
        "--innodb-buffer-pool-size=16M",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-temp-data-file-path=ibtmp1:3M:autoextend",
        "--skip-name-resolve",
        "--aria-log-file-size=8M",
        "--character-set-server=utf8mb4",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        format!("--basedir={}", installed("mariadb/root/usr").display()),
        format!("--datadir={}", data.display()),
        format!("--lc-messages-dir={}", shared.display()),
        format!("--character-sets-dir={}", shared.join("charsets").display()),
    ])
    .collect()
}

fn shared_files() -> PathBuf {
    installed("mariadb/root/usr/share/mysql")
}
