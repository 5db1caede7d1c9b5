//! Backends fail: directories, databases, services, an introspection endpoint, a bucket.
//!
//! Each fault plays every failure of one backend, one after another, while clients connect. Another
//! authenticator follows, which accepts the valid credential for another account, and a name of its own:
//! a failure of the backend must lead to neither.

mod bucket;
mod databases;
mod directory;
mod services;

use std::{fmt, time::Duration};

use futures_util::{FutureExt, future::join_all};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    client::{Credential, attempt},
    fault::{Fault, NotRun},
    probe::Clients,
    proxy::{Answers, Proxy},
    report::Observations,
    scene::{OTHER_ACCOUNT, Scene, SceneBuilder},
    trial::{Trial, seconds},
};

const FAMILY: &str = "backends";

/// Connections that Callgate may have to a backend.
const CONNECTIONS: usize = 4;
/// Logins at once, so that most of them wait for a connection.
const CROWD: usize = 8 * CONNECTIONS;
/// When a client gives up.
const GIVE_UP: Duration = Duration::from_millis(200);

/// OpenLDAP.
pub const DIRECTORY: Fault = Fault {
    family: FAMILY,
    name: "LDAP directory",
    how: "slapd behind a proxy that changes its answers",
    story: || directory::plain().boxed_local(),
};

/// OpenLDAP with TLS.
pub const DIRECTORY_TLS: Fault = Fault {
    family: FAMILY,
    name: "LDAP directory, TLS",
    how: "slapd with StartTLS, restarted without TLS and with another certificate",
    story: || directory::tls().boxed_local(),
};

/// PostgreSQL.
pub const POSTGRES: Fault = Fault {
    family: FAMILY,
    name: "PostgreSQL",
    how: "the server behind a proxy that changes its answers",
    story: || databases::postgres().boxed_local(),
};

/// PostgreSQL with TLS.
pub const POSTGRES_TLS: Fault = Fault {
    family: FAMILY,
    name: "PostgreSQL, TLS",
    how: "the server restarted without TLS and with another certificate",
    story: || databases::postgres_tls().boxed_local(),
};

/// MariaDB.
pub const MARIADB: Fault = Fault {
    family: FAMILY,
    name: "MariaDB",
    how: "the server behind a proxy that changes its answers",
    story: || databases::mariadb().boxed_local(),
};

/// MariaDB with TLS.
pub const MARIADB_TLS: Fault = Fault {
    family: FAMILY,
    name: "MariaDB, TLS",
    how: "the server restarted without TLS and with another certificate",
    story: || databases::mariadb_tls().boxed_local(),
};

/// A web service that decides.
pub const HTTP: Fault = Fault {
    family: FAMILY,
    name: "web service",
    how: "the Python responder of `examples/responders` behind a proxy with TLS",
    story: || services::http().boxed_local(),
};

/// A service on a subject that decides.
pub const SUBJECT: Fault = Fault {
    family: FAMILY,
    name: "service on a subject",
    how: "the Python responder of `examples/responders`, replaced by one that gives wrong answers",
    story: || services::subject().boxed_local(),
};

/// A provider of opaque tokens.
pub const INTROSPECTION: Fault = Fault {
    family: FAMILY,
    name: "introspection endpoint",
    how: "the npm package oidc-provider behind a proxy with TLS",
    story: || services::introspection().boxed_local(),
};

/// Users in a bucket.
pub const BUCKET: Fault = Fault {
    family: FAMILY,
    name: "bucket of users",
    how: "the bucket is deleted and created again, with `max_stale = \"1s\"`",
    story: || bucket::deleted().boxed_local(),
};

/// A replicated bucket whose servers are frozen.
pub const QUORUM: Fault = Fault {
    family: FAMILY,
    name: "bucket of users without a quorum",
    how: "two of three servers are frozen and resumed, with `max_stale = \"1s\"`",
    story: || bucket::without_quorum().boxed_local(),
};

/// Every fault of this family.
pub const ALL: [Fault; 11] = [
    DIRECTORY,
    DIRECTORY_TLS,
    POSTGRES,
    POSTGRES_TLS,
    MARIADB,
    MARIADB_TLS,
    HTTP,
    SUBJECT,
    INTROSPECTION,
    BUCKET,
    QUORUM,
];

/// How a backend fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Stopped,
    Frozen,
    /// Over when it begins.
    Restarted,
    Truncated,
    Doubled,
    Endless,
    Late,
    Contradictory,
    Garbage,
    RefusedCredentials,
    Exhausted,
    PoolExhausted,
    WithoutTls,
    OtherName,
    BucketDeleted,
    QuorumLost,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Frozen => "frozen",
            Self::Restarted => "restarted between logins",
            Self::Truncated => "truncated answers",
            Self::Doubled => "doubled answers",
            Self::Endless => "endless answers",
            Self::Late => "late answers",
            Self::Contradictory => "contradictory answers",
            Self::Garbage => "garbage in place of answers",
            Self::RefusedCredentials => "Callgate's own credentials refused",
            Self::Exhausted => "no connection left at the server",
            Self::PoolExhausted => "every connection busy with logins that were given up",
            Self::WithoutTls => "TLS stripped",
            Self::OtherName => "certificate for another name",
            Self::BucketDeleted => "bucket deleted",
            Self::QuorumLost => "quorum lost",
        })
    }
}

/// Whether a failure refuses every login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Every login is refused as `backend_unavailable`.
    Unavailable,
    /// Some logins may be decided as before.
    Partial,
}

/// A backend that can be made to fail.
trait Backend {
    /// Its table, with its heading.
    fn table(&self) -> String;

    /// What the scene needs besides.
    fn prepare(&self, scene: SceneBuilder) -> SceneBuilder {
        scene
    }

    /// Does what needs the scene's servers, before Callgate starts.
    async fn attach(&mut self, _scene: &Scene) {}

    /// The valid credential, which the next authenticator accepts for another account.
    fn right(&self) -> Credential {
        Credential::password("alice", "secret")
    }

    /// Credentials that no authenticator accepts.
    fn wrong(&self) -> Vec<Credential> {
        ["alice", "mallory"].map(|user| Credential::password(user, "wrong")).to_vec()
    }

    /// A credential of a client that no authenticator knows: another one for each number.
    fn unknown(&self, number: usize) -> Credential {
        Credential::password(&format!("unknown-{number}"), "wrong")
    }

    /// A credential that only the next authenticator accepts.
    fn next(&self) -> Credential {
        Credential::password("carol", "secret")
    }

    /// How it can fail, in this order.
    fn failures(&self) -> &'static [(Failure, Effect)];

    async fn begin(&mut self, failure: Failure, scene: &mut Scene);

    async fn end(&mut self, failure: Failure, scene: &mut Scene);
}

/// Plays every failure of a backend.
async fn play(mut backend: impl Backend) -> Result<Observations, NotRun> {
    let users = json!({
        "alice": { "pass": "secret", "account": OTHER_ACCOUNT },
        "carol": { "pass": "secret", "account": OTHER_ACCOUNT },
        "robot": { "token": "token-of-the-next", "account": OTHER_ACCOUNT },
    });
    let scene = Scene::builder().replicas(0).authenticators(&authenticators(&backend.table()));
    let scene = scene.file("users.json", &users.to_string());
    let mut scene = backend.prepare(scene).start().await;
    backend.attach(&scene).await;
    let service = scene.one_more().await;
    service.ready().await;
    let clients = Clients { right: backend.right(), wrong: backend.wrong(), ..scene.clients() };
    // The only server that no fault freezes.
    let urls = clients.urls[..1].to_vec();
    let clients = Clients { urls: urls.clone(), ..clients };
    let mut trial = Trial::begins(service.view(), clients).await;
    trial.note(
        "\"unavailable\": every login is refused as `backend_unavailable`, and the next authenticator, \
         which would accept it, is not asked",
    );
    for &(failure, effect) in backend.failures() {
        backend.begin(failure, &mut scene).await;
        if failure == Failure::PoolExhausted {
            exhaust_pool(&backend, &urls).await;
        }
        match effect {
            Effect::Unavailable => {
                trial.only_unavailable().await;
                let next = attempt(&urls, &backend.next()).await;
                assert!(
                    !next.is_admitted(),
                    "{failure}: the next authenticator was asked: {next:?}"
                );
            }
            Effect::Partial => trial.more_clients_try().await,
        }
        backend.end(failure, &mut scene).await;
        let took = seconds(trial.come_back().await);
        trial.note(match effect {
            Effect::Unavailable => {
                format!("{failure}: unavailable; admitted {took} after the repair")
            }
            Effect::Partial => format!("{failure}: may admit valid clients; recovered in {took}"),
        });
    }
    trial.ends().await;
    trial.recovers().await;
    Ok(trial.seen().await)
}

/// More logins at once than there are connections to the backend, which does not answer. Every second client goes
/// away at once.
async fn exhaust_pool(backend: &impl Backend, urls: &[String]) {
    let logins = (0..CROWD).map(async |number| {
        let credential = backend.unknown(number);
        let login = attempt(urls, &credential);
        if number.is_multiple_of(2) {
            let _given_up = timeout(GIVE_UP, login).await;
            return;
        }
        let login = login.await;
        assert!(!login.is_admitted(), "admitted without an answer: {login:?}");
    });
    join_all(logins).await;
}

fn authenticators(table: &str) -> String {
    format!(
        r#"[cache]
passwords = "0s"
[[authenticators]]
name = "backend"
timeout = "1s"
{table}
[authenticators.ceiling]
accounts = ["APP"]
[[authenticators]]
name = "next"
[authenticators.users]
file = "users.json"
[[accounts]]
name = "APP"
[[accounts]]
name = "OTHER"
[[bindings]]
authenticator = "backend"
account = "APP"
roles = ["all"]
[roles.all]
publish = [">"]
inbox = "shared"
"#
    )
}

/// Changes the answers that pass through a proxy, if that is how the failure is played.
fn change_answers(proxy: &Proxy, failure: Failure) {
    proxy.answer(match failure {
        Failure::Truncated => Answers::Truncated,
        Failure::Doubled => Answers::Doubled,
        Failure::Endless => Answers::Endless,
        Failure::Late => Answers::Late,
        Failure::Garbage => Answers::Inverted,
        _ => panic!("{failure} has nothing to do with answers"),
    });
}

/// Ends what [`change_answers`] began.
fn genuine_answers(proxy: &Proxy) {
    proxy.answer(Answers::Genuine);
    proxy.cut();
}
