//! `callgate-bench backend`: a real database or directory with users, until standard input ends.

use std::fmt::Write as _;

use callgate_testkit::{databases::Postgres, ldap::Slapd};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncReadExt;

use crate::Failure;

/// How many users a directory has: it finds them without an index.
const ENTRIES: usize = 50;
/// How many users a database has.
const ROWS: usize = 10_000;
/// Finds a user by the SHA-256 of a token. The token of the first user is `token-1`.
pub(crate) const QUERY: &str =
    "SELECT name AS user, roles FROM users WHERE digest = $1 AND enabled";
/// Where the users of a directory are. The name and the password of the first one are `user1`.
pub(crate) const PEOPLE: &str = "ou=people,dc=example,dc=org";
/// The service account that may search, and its password.
pub(crate) const SERVICE: (&str, &str) = ("cn=svc,dc=example,dc=org", "secret");

/// Start a real backend with users: prints its address as JSON, and runs until standard input ends
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which one
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Postgres,
    Slapd,
}

/// A running backend.
pub(crate) enum Backend {
    Postgres(Postgres),
    Slapd(Slapd),
}

#[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let backend = Backend::start(args.kind).await?;
    println!("{}", json!({ "url": backend.url(), "toml": backend.toml(8) }));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

impl Backend {
    pub(crate) async fn start(kind: Kind) -> Result<Self, Failure> {
        Ok(match kind {
            Kind::Postgres => Self::Postgres(Postgres::start(&tables()).await),
            Kind::Slapd => Self::Slapd(Slapd::start(&entries()?).await),
        })
    }

    /// The address, with the login of Callgate if it is part of it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(postgres) => postgres.url("callgate", "secret"),
            Self::Slapd(slapd) => slapd.url(),
        }
    }

    /// How many lookups it has answered so far: scans of the table's index, or searches.
    pub(crate) async fn lookups(&self) -> Result<u64, Failure> {
        match self {
            Self::Postgres(postgres) => {
                let mut connection = PgConnection::connect(&postgres.superuser_url()).await?;
                let count: i64 = sqlx::query_scalar(
                    "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_tables",
                )
                .fetch_one(&mut connection)
                .await?;
                Ok(u64::try_from(count)?)
            }
            Self::Slapd(slapd) => {
                let counts =
                    slapd.values("cn=Search,cn=Operations,cn=Monitor", "monitorOpCompleted");
                Ok(counts.first().ok_or("slapd counts no searches")?.parse()?)
            }
        }
    }

    /// An authenticator's table with this many connections.
    pub(crate) fn toml(&self, connections: usize) -> String {
        let url = self.url();
        match self {
            Self::Postgres(_) => format!(
                "[sql]\nurl = \"{url}\"\nconnections = {connections}\ntoken_query = \"{QUERY}\"\n"
            ),
            Self::Slapd(_) => {
                let (name, password) = SERVICE;
                format!(
                    "[ldap]\nurl = \"{url}\"\nconnections = {connections}\nbase = \"{PEOPLE}\"\n\
                     bind_dn = \"{name}\"\nbind_password = \"{password}\"\ngroups.from = \"memberOf\"\n"
                )
            }
        }
    }
}

fn tables() -> String {
    format!(
        "create role callgate login password 'secret';\n\
         create table users (name text primary key, digest text unique, roles text, enabled boolean default true);\n\
         insert into users select 'user' || n, encode(sha256(convert_to('token-' || n, 'UTF8')), 'hex'), 'service' \
           from generate_series(1, {ROWS}) n;\n\
         grant select on users to callgate;\n"
    )
}

fn entries() -> Result<String, std::fmt::Error> {
    let (service, password) = SERVICE;
    let mut ldif = format!(
        "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n\
         dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: {service}\nobjectClass: person\ncn: svc\nsn: svc\nuserPassword: {password}\n\n"
    );
    for number in 1..=ENTRIES {
        let user = format!("user{number}");
        write!(
            ldif,
            "dn: uid={user},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: {user}\ncn: {user}\nsn: {user}\n\
             userPassword: {user}\n\n"
        )?;
    }
    Ok(ldif)
}
