//! `callgate-bench rates`: logins per second of an authenticator, compared with a bare loop on the same
//! client library with as many connections.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use callgate::{
    authn::Authenticator,
    request::{AuthRequest, Credential},
    secret::Secret,
};
use callgate_authenticators::kind::CacheSettings;
use ldap3::{Ldap, LdapConnAsync, Scope};
use serde_json::json;
use sqlx::{Connection, PgConnection, Row};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Failure,
    backend::{Backend, Kind, PEOPLE, QUERY, SERVICE},
    callouts::authenticator,
};

/// Compare an authenticator with a bare loop on the same client library
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The backend
    kind: Kind,
    /// How many rounds of each, interleaved
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// The length of a round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many connections
    #[arg(long, default_value_t = 8)]
    connections: usize,
}

/// A database reports what its sessions counted some seconds later.
const COUNTING_TIMEOUT: Duration = Duration::from_secs(30);

/// A login far from its deadline.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How many were made.
type Count = Arc<AtomicU64>;

#[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let backend = Backend::start(args.kind).await?;
    let cache = CacheSettings { passwords: Duration::ZERO, ..CacheSettings::default() };
    let toml = backend.toml(args.connections);
    let ours = authenticator(&toml, Path::new("."), cache)?;
    let bare = Bare::connect(&backend, args.connections).await?;
    let before = backend.lookups().await?;
    let mut rounds = Vec::new();
    let mut made = 0;
    for _ in 0..args.rounds.max(1) {
        let bare = bare.rate(args.seconds).await?;
        let ours = rate(args.seconds, logins(&ours, args)).await?;
        made += bare.made + ours.made;
        rounds.push(json!({ "ours": ours.per_second, "bare": bare.per_second }));
    }
    let lookups = lookups_since(&backend, before, made).await?;
    println!("{}", json!({ "rounds": rounds, "logins": made, "lookups": lookups }));
    Ok(())
}

/// How many lookups the backend counts since `before`.
///
/// # Errors
/// If they are fewer than `logins`: not every login asked.
async fn lookups_since(backend: &Backend, before: u64, logins: u64) -> Result<u64, Failure> {
    let end = Instant::now() + COUNTING_TIMEOUT;
    loop {
        let lookups = backend.lookups().await?.saturating_sub(before);
        if lookups >= logins {
            return Ok(lookups);
        }
        if Instant::now() >= end {
            return Err(format!("{logins} logins were only {lookups} lookups").into());
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// What was made in a while.
struct Rate {
    made: u64,
    per_second: f64,
}

/// The number per second that these tasks count.
async fn rate(
    seconds: f64,
    tasks: impl FnOnce(&Count, &mut JoinSet<Result<(), Failure>>),
) -> Result<Rate, Failure> {
    let count = Count::default();
    let mut running = JoinSet::new();
    let started = Instant::now();
    tasks(&count, &mut running);
    let end = started + Duration::from_secs_f64(seconds);
    while let Ok(Some(ended)) = timeout_at(end, running.join_next()).await {
        // None ends by itself, unless it fails.
        ended??;
    }
    let made = count.load(Ordering::Relaxed);
    running.shutdown().await;
    Ok(Rate { made, per_second: made as f64 / started.elapsed().as_secs_f64() })
}

/// Logins that keep every connection busy.
fn logins(
    authenticator: &Arc<dyn Authenticator>,
    args: &Args,
) -> impl FnOnce(&Count, &mut JoinSet<Result<(), Failure>>) {
    let authenticator = Arc::clone(authenticator);
    let tasks = args.connections * 2;
    let kind = args.kind;
    // Identical logins at the same time are one question, so each task has a user of its own.
    let credential = move |number: usize| match kind {
        Kind::Postgres => Credential::Token(Secret::new(format!("token-{number}").as_str())),
        Kind::Slapd => {
            let user = format!("user{number}");
            Credential::Password { password: Secret::new(user.as_str()), user }
        }
    };
    move |count, running| {
        for number in 1..=tasks {
            let authenticator = Arc::clone(&authenticator);
            let request = AuthRequest::for_tests(credential(number));
            let request = request.due_at(Instant::now() + PATIENCE);
            let count = Arc::clone(count);
            running.spawn(async move {
                loop {
                    let identity = authenticator.authenticate(&request).await;
                    identity.map_err(|error| format!("not admitted: {error:?}"))?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
}

type SharedLdap = Arc<Mutex<Ldap>>;

/// Connections of the client library itself.
enum Bare {
    Postgres(Vec<Arc<Mutex<PgConnection>>>),
    /// Pairs of one that searches and one that binds.
    Slapd(Vec<(SharedLdap, SharedLdap)>),
}

impl Bare {
    async fn connect(backend: &Backend, connections: usize) -> Result<Self, Failure> {
        let url = backend.url();
        match backend {
            Backend::Postgres(_) => {
                let mut all = Vec::new();
                for _ in 0..connections {
                    all.push(Arc::new(Mutex::new(PgConnection::connect(&url).await?)));
                }
                Ok(Self::Postgres(all))
            }
            Backend::Slapd(_) => {
                let mut all = Vec::new();
                for _ in 0..connections / 2 {
                    let mut searching = ldap(&url).await?;
                    searching.simple_bind(SERVICE.0, SERVICE.1).await?.success()?;
                    let binding = ldap(&url).await?;
                    all.push((Arc::new(Mutex::new(searching)), Arc::new(Mutex::new(binding))));
                }
                Ok(Self::Slapd(all))
            }
        }
    }

    async fn rate(&self, seconds: f64) -> Result<Rate, Failure> {
        rate(seconds, |count, running| match self {
            Self::Postgres(all) => {
                for (number, connection) in (1..).zip(all) {
                    running.spawn(fetch(number, Arc::clone(connection), Arc::clone(count)));
                }
            }
            Self::Slapd(all) => {
                // Two for each pair: one searches while the other binds.
                for (number, (searching, binding)) in (1..).zip(all.iter().chain(all)) {
                    let connections = (Arc::clone(searching), Arc::clone(binding));
                    running.spawn(bind(number, connections, Arc::clone(count)));
                }
            }
        })
        .await
    }
}

async fn ldap(url: &str) -> Result<Ldap, Failure> {
    let (connection, ldap) = LdapConnAsync::new(url).await?;
    ldap3::drive!(connection);
    Ok(ldap)
}

async fn fetch(
    user: usize,
    connection: Arc<Mutex<PgConnection>>,
    count: Count,
) -> Result<(), Failure> {
    let token = format!("token-{user}");
    loop {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let digest = data_encoding::HEXLOWER.encode(digest.as_ref());
        let mut connection = connection.lock().await;
        let row = sqlx::query(QUERY).bind(&digest).fetch_one(&mut *connection).await?;
        let name: String = row.try_get("user")?;
        let roles: String = row.try_get("roles")?;
        std::hint::black_box((name, roles));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn bind(
    user: usize,
    (searching, binding): (SharedLdap, SharedLdap),
    count: Count,
) -> Result<(), Failure> {
    let password = format!("user{user}");
    let filter = format!("(&(objectClass=person)(uid={password}))");
    loop {
        let mut searching = searching.lock().await;
        let found = searching.search(PEOPLE, Scope::Subtree, &filter, vec!["uid", "memberOf"]);
        let (entries, _) = found.await?.success()?;
        drop(searching);
        let entry = entries.into_iter().next().ok_or("no entry")?;
        let dn = ldap3::SearchEntry::construct(entry).dn;
        binding.lock().await.simple_bind(&dn, &password).await?.success()?;
        count.fetch_add(1, Ordering::Relaxed);
    }
}
