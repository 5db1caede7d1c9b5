//! PgBouncer, a connection pooler for PostgreSQL.

use std::fs;

use tempfile::TempDir;

use super::{Postgres, data_folder, hand_over, unprivileged};
use crate::ports::free_port;
use crate::process::Process;
use crate::tools::installed;

/// A running PgBouncer that pools transactions.
#[derive(Debug)]
pub struct PgBouncer {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl PgBouncer {
    /// In front of `server`, as this user, with this many connections to the server.
    ///
    /// # Panics
    /// If it is not installed or does not start.
    pub async fn start(server: &Postgres, user: &str, password: &str, connections: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let data = data_folder(folder.path());
        let port = free_port();
        let configuration = format!(
            "[databases]\n\
             postgres = host=127.0.0.1 port={} user={user} password={password}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {connections}\n\
             max_client_conn = 1000\n",
            server.port()
        );
        let file = data.join("pgbouncer.ini");
        fs::write(&file, configuration).expect("a file can be written");
        hand_over(&data);
        let mut process = unprivileged("PgBouncer", &installed("pgbouncer/bin/pgbouncer"))
            .current_dir("/")
            .arg(&file)
            .start();
        process.wait_for_stderr("process up").await;
        Self { _process: process, _folder: folder, port }
    }

    /// The address of the pooler; it accepts any user and password.
    pub fn url(&self) -> String {
        format!("postgres://any:any@127.0.0.1:{}/postgres", self.port)
    }
}
