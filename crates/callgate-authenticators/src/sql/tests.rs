use std::time::Duration;

use callgate::{
    authn::{Decline, Identity, Probe, ProbeReport},
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_config::{Document, Format, Report, Sources};
use sqlx::{Connection, Executor};
use tokio::time::Instant;

use super::*;
use crate::kind::SharedResources;

#[cfg(feature = "mariadb")]
mod mariadb;
#[cfg(feature = "pgbouncer")]
mod pgbouncer;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
mod settings;
mod sqlite;

/// A cheap hash of `right`.
const HASH: &str =
    "$pbkdf2-sha256$i=1000$c2FsdHNhbHRzYWx0c2FsdA$IvZ+/CC+1bUPzGAzpsZ/mtOgr7FiaPYCrdD3bZ/Q0wg";

/// So long that a busy machine does not matter.
const PATIENCE: Duration = Duration::from_secs(20);

/// An authenticator, and how to log in to it.
struct Gate(Arc<dyn Authenticator>);

impl Gate {
    fn new(toml: &str) -> Self {
        Self::with_timeout(toml, PATIENCE)
    }

    fn with_timeout(toml: &str, timeout: Duration) -> Self {
        match build(toml, timeout) {
            Ok(authenticator) => Self(authenticator),
            Err(faults) => panic!("{faults}"),
        }
    }

    async fn ask(&self, credential: Credential, time: Duration) -> Result<Identity, Decline> {
        let request = AuthRequest::for_tests(credential).due_at(Instant::now() + time);
        self.0.authenticate(&request).await
    }

    async fn login(&self, user: &str, password: &str) -> Result<Identity, Decline> {
        self.login_within(user, password, PATIENCE).await
    }

    async fn login_within(
        &self,
        user: &str,
        password: &str,
        time: Duration,
    ) -> Result<Identity, Decline> {
        let credential = Credential::Password { user: user.to_owned(), password: password.into() };
        self.ask(credential, time).await
    }

    async fn admits(&self, user: &str) -> Identity {
        let answer = self.login(user, "right").await;
        answer.unwrap_or_else(|error| panic!("{user}: {error:?}"))
    }

    async fn probe(&self) -> Result<ProbeReport, String> {
        let probe = self.0.probe(Probe::default()).unwrap();
        probe.await.map_err(|error| error.to_string())
    }
}

fn build(toml: &str, timeout: Duration) -> Result<Arc<dyn Authenticator>, String> {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let report = Report::new();
    let sources = Sources::new("/");
    let shared = Arc::new(SharedResources::default());
    let mut context = BuildContext::new("app", sources.clone(), shared);
    context.timeout = timeout;
    let table = Table::root(&document, "sql", &report, &sources).with_keys(Type::Table(KEYS));
    let built = SqlKind.build(&context, table);
    let faults: Vec<_> = report.faults().iter().map(ToString::to_string).collect();
    built.ok_or_else(|| faults.join("\n"))
}

#[track_caller]
fn assert_rejected(answer: Result<Identity, Decline>, reason: Reason) {
    match answer {
        Err(Decline::Rejected(rejection)) => assert_eq!(rejection.reason, reason, "{rejection:?}"),
        other => panic!("{other:?} is not {reason:?}"),
    }
}

#[track_caller]
fn unavailable(answer: Result<Identity, Decline>) -> String {
    match answer {
        Err(Decline::Unavailable(error)) => error.to_string(),
        other => panic!("{other:?} is not unavailable"),
    }
}
