//! PostgreSQL and MariaDB.

use std::fs;

use callgate_testkit::{
    databases::{MariaDb, Postgres, ServerTls},
    oidc_provider::Authority,
};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{Backend, CONNECTIONS, Effect, Failure, change_answers, genuine_answers, play};
use crate::{
    fault::NotRun,
    proxy::{Answers, Proxy},
    report::Observations,
    scene::Scene,
};

/// A cheap hash of `secret`.
const HASH: &str =
    "$pbkdf2-sha256$i=1000$c2FsdHNhbHRzYWx0c2FsdA$dClvKSmj66n6MdMWNv3Go4mvH1Ym2WIGiJvquqa+mfE";

/// More than either server accepts.
const TOO_MANY: usize = 170;

pub(super) async fn postgres() -> Result<Observations, NotRun> {
    play(Database::start(Kind::Postgres, false).await?).await
}

pub(super) async fn postgres_tls() -> Result<Observations, NotRun> {
    play(Database::start(Kind::Postgres, true).await?).await
}

pub(super) async fn mariadb() -> Result<Observations, NotRun> {
    play(Database::start(Kind::MariaDb, false).await?).await
}

pub(super) async fn mariadb_tls() -> Result<Observations, NotRun> {
    play(Database::start(Kind::MariaDb, true).await?).await
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Postgres,
    MariaDb,
}

struct Database {
    server: Server,
    proxy: Proxy,
    /// The authority of its certificate, and the file with its own certificate.
    tls: Option<(Authority, TempDir)>,
    /// Connections that leave none for Callgate.
    others: Vec<TcpStream>,
}

enum Server {
    Postgres(Postgres),
    MariaDb(MariaDb),
}

impl Database {
    async fn start(kind: Kind, with_tls: bool) -> Result<Self, NotRun> {
        let tls = with_tls.then(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let authority = Authority::new("database");
            fs::write(folder.path().join("ca.pem"), authority.pem()).expect("our own folder");
            (authority, folder)
        });
        let server_tls = tls.as_ref().map(|(authority, _)| ServerTls::of(authority, "127.0.0.1"));
        let server = match kind {
            Kind::Postgres if cfg!(feature = "postgres") => {
                let sql = format!(
                    "create role callgate login password 'service';\n\
                     create table users (name text, hash text);\n\
                     insert into users values ('alice', '{HASH}');\n\
                     grant select on users to callgate;\n"
                );
                Server::Postgres(Postgres::start_with(&sql, server_tls.as_ref()).await)
            }
            Kind::MariaDb if cfg!(feature = "mariadb") => {
                let sql = format!(
                    "create table users (name varchar(64), hash text);\n\
                     insert into users values ('alice', '{HASH}');\n\
                     create user callgate@'127.0.0.1' identified by 'service';\n\
                     grant select on app.* to callgate@'127.0.0.1';"
                );
                Server::MariaDb(MariaDb::start_with(&sql, server_tls.as_ref()).await)
            }
            Kind::Postgres | Kind::MariaDb => {
                return Err(NotRun("the database is not installed".to_owned()));
            }
        };
        let proxy = Proxy::to(server.port()).await;
        Ok(Self { server, proxy, tls, others: Vec::new() })
    }

    async fn restart_for(&mut self, host: &str) {
        let tls = self.tls.as_ref().map(|(authority, _)| ServerTls::of(authority, host));
        self.server.restart_with("", tls.as_ref()).await;
    }

    async fn exhaust(&mut self) {
        // Callgate gives back its connections, and gets no other before all are taken.
        self.proxy.answer(Answers::Missing);
        self.proxy.cut();
        let port = self.server.port();
        let connections = (0..TOO_MANY).map(|_| TcpStream::connect(("127.0.0.1", port)));
        self.others = join_all(connections).await.into_iter().flatten().collect();
        if matches!(self.server, Server::Postgres(_)) {
            // PostgreSQL counts connections that have said who they are.
            let content = b"\0\x03\0\0user\0callgate\0database\0postgres\0\0";
            let length = u32::try_from(content.len() + 4).expect("a short message");
            let message = [&length.to_be_bytes()[..], content].concat();
            for connection in &mut self.others {
                let _closed_by_the_server = connection.write_all(&message).await;
            }
        }
        self.proxy.answer(Answers::Genuine);
    }
}

impl Server {
    fn port(&self) -> u16 {
        match self {
            Self::Postgres(server) => server.port(),
            Self::MariaDb(server) => server.port(),
        }
    }

    async fn stop(&mut self) {
        match self {
            Self::Postgres(server) => server.stop().await,
            Self::MariaDb(server) => server.stop().await,
        }
    }

    async fn start_again(&mut self) {
        match self {
            Self::Postgres(server) => server.start_again().await,
            Self::MariaDb(server) => server.start_again().await,
        }
    }

    async fn restart_with(&mut self, sql: &str, tls: Option<&ServerTls>) {
        match self {
            Self::Postgres(server) => server.restart_with(sql, tls).await,
            Self::MariaDb(server) => server.restart_with(sql, tls).await,
        }
    }

    async fn freeze(&mut self) {
        match self {
            Self::Postgres(server) => server.freeze().await,
            Self::MariaDb(server) => server.process().freeze().await,
        }
    }

    fn thaw(&mut self) {
        match self {
            Self::Postgres(server) => server.thaw(),
            Self::MariaDb(server) => server.process().signal("CONT"),
        }
    }

    async fn set_service_password(&mut self, password: &str) {
        let sql = match self {
            Self::Postgres(_) => format!("alter role callgate password '{password}';\n"),
            Self::MariaDb(_) => {
                format!("alter user callgate@'127.0.0.1' identified by '{password}';")
            }
        };
        self.restart_with(&sql, None).await;
    }
}

impl Backend for Database {
    fn table(&self) -> String {
        let port = self.proxy.port();
        let (url, parameter) = match self.server {
            Server::Postgres(_) => (format!("postgres://callgate@127.0.0.1:{port}/postgres"), "$1"),
            Server::MariaDb(_) => (format!("mysql://callgate@127.0.0.1:{port}/app"), "?"),
        };
        let tls = match &self.tls {
            Some((_, folder)) => format!("tls.ca = {:?}", folder.path().join("ca.pem")),
            None => String::new(),
        };
        format!(
            r#"[authenticators.sql]
url = "{url}"
password = "service"
query = "SELECT name AS user, hash AS password FROM users WHERE name = {parameter}"
connections = {CONNECTIONS}
connect_timeout = "1s"
fall_through = true
{tls}"#
        )
    }

    fn failures(&self) -> &'static [(Failure, Effect)] {
        match self.tls {
            Some(_) => &[
                (Failure::WithoutTls, Effect::Unavailable),
                (Failure::OtherName, Effect::Unavailable),
            ],
            None => &[
                (Failure::Stopped, Effect::Unavailable),
                (Failure::Frozen, Effect::Unavailable),
                (Failure::Restarted, Effect::Partial),
                (Failure::Truncated, Effect::Unavailable),
                // Both protocols end an answer before the copy of it begins.
                (Failure::Doubled, Effect::Partial),
                (Failure::Endless, Effect::Partial),
                (Failure::Late, Effect::Unavailable),
                (Failure::Garbage, Effect::Unavailable),
                (Failure::RefusedCredentials, Effect::Unavailable),
                (Failure::Exhausted, Effect::Unavailable),
                (Failure::PoolExhausted, Effect::Unavailable),
            ],
        }
    }

    async fn begin(&mut self, failure: Failure, _scene: &mut Scene) {
        match failure {
            Failure::Stopped => self.server.stop().await,
            Failure::Frozen | Failure::PoolExhausted => self.server.freeze().await,
            Failure::Restarted => self.restart_for("127.0.0.1").await,
            Failure::WithoutTls => self.server.restart_with("", None).await,
            Failure::OtherName => self.restart_for("other.example").await,
            Failure::RefusedCredentials => self.server.set_service_password("other").await,
            Failure::Exhausted => self.exhaust().await,
            _ => change_answers(&self.proxy, failure),
        }
    }

    async fn end(&mut self, failure: Failure, _scene: &mut Scene) {
        match failure {
            Failure::Restarted => (),
            Failure::Stopped => self.server.start_again().await,
            Failure::Frozen | Failure::PoolExhausted => self.server.thaw(),
            Failure::WithoutTls | Failure::OtherName => self.restart_for("127.0.0.1").await,
            Failure::RefusedCredentials => self.server.set_service_password("service").await,
            Failure::Exhausted => self.others.clear(),
            _ => genuine_answers(&self.proxy),
        }
    }
}
