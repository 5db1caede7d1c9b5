use std::{sync::Arc, time::Duration};

use callgate::{
    authn::{Authenticator, Chain, Decline, Identity, Link, Probe, ProbeReport},
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_config::{Document, Format, Report, Sources, Table};

use super::LdapKind;
use crate::kind::{BuildContext, Kind, SharedResources};

mod outcomes;
mod responders;
mod settings;
#[cfg(feature = "slapd")]
mod slapd;

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn context() -> BuildContext {
    let shared = Arc::new(SharedResources::new(1));
    let context = BuildContext::new("corp", Sources::new("."), shared);
    BuildContext { timeout: PATIENCE, ..context }
}

/// The authenticator of a table `ldap`, or its errors.
fn try_build(toml: &str, context: &BuildContext) -> Result<Arc<dyn Authenticator>, String> {
    let (built, report) = read(toml, context);
    let faults: Vec<_> = report.faults().iter().map(ToString::to_string).collect();
    assert_eq!(built.is_some(), faults.is_empty(), "{faults:?}");
    built.ok_or_else(|| faults.join("\n"))
}

fn warnings(toml: &str, context: &BuildContext) -> Vec<String> {
    let (_, report) = read(toml, context);
    report.warnings().iter().map(ToString::to_string).collect()
}

fn read(toml: &str, context: &BuildContext) -> (Option<Arc<dyn Authenticator>>, Report) {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let report = Report::new();
    let sources = context.services.sources.clone();
    let kind = LdapKind;
    let table = Table::root(&document, "ldap", &report, &sources)
        .with_keys(callgate_config::Type::Table(kind.keys()));
    let built = kind.build(context, table);
    (built, report)
}

fn build(toml: &str) -> Arc<dyn Authenticator> {
    try_build(toml, &context()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn password(user: &str, password: &str) -> AuthRequest {
    let credential = Credential::Password { user: user.to_owned(), password: password.into() };
    AuthRequest::for_tests(credential).due_at(tokio::time::Instant::now() + PATIENCE)
}

async fn login(
    ldap: &Arc<dyn Authenticator>,
    user: &str,
    secret: &str,
) -> Result<Identity, Decline> {
    ldap.authenticate(&password(user, secret)).await
}

/// The reason of a rejection.
async fn rejected(ldap: &Arc<dyn Authenticator>, user: &str, secret: &str) -> Reason {
    match login(ldap, user, secret).await {
        Err(Decline::Rejected(rejection)) => rejection.reason,
        other => panic!("{user}: {other:?}"),
    }
}

/// Why the backend was unavailable.
async fn unavailable(ldap: &Arc<dyn Authenticator>, user: &str, secret: &str) -> String {
    match login(ldap, user, secret).await {
        Err(Decline::Unavailable(error)) => error.to_string(),
        other => panic!("{user}: {other:?}"),
    }
}

async fn probe(ldap: &Arc<dyn Authenticator>) -> Result<ProbeReport, String> {
    ldap.probe(Probe::default()).unwrap().await.map_err(|error| error.to_string())
}

fn link(name: &str, authenticator: Arc<dyn Authenticator>, timeout: Duration) -> Link {
    Link { name: name.into(), authenticator, timeout, required: true }
}

fn chain(links: Vec<Link>) -> Chain {
    Chain::new(links)
}
