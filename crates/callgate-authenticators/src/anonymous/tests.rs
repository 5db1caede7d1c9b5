use std::collections::BTreeSet;

use callgate_config::{Document, Format, Report, Sources};

use super::*;
use crate::kind::{ChainPosition, PolicyView, SharedResources};

/// What was built, and all errors and warnings.
fn build(toml: &str, is_followed: bool) -> (Option<Arc<dyn Authenticator>>, Vec<String>) {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut context =
        BuildContext::new("guests", sources.clone(), Arc::new(SharedResources::new(1)));
    let roles: BTreeSet<String> = ["public", "all"].map(str::to_owned).into();
    let wide_roles = Arc::new(["all".to_owned()].into());
    context.policy = PolicyView { roles: Arc::new(roles), wide_roles, ..PolicyView::default() };
    context.chain = ChainPosition { is_followed, ..ChainPosition::default() };
    let table = Table::root(&document, "anonymous", &report, &sources).with_keys(Type::Table(KEYS));
    let built = AnonymousKind.build(&context, table);
    let findings = report.faults().into_iter().chain(report.warnings());
    (built, findings.map(|finding| finding.to_string()).collect())
}

#[tokio::test]
async fn only_clients_without_a_credential_are_admitted() {
    let (built, findings) = build("roles = [\"public\"]", false);
    assert_eq!(findings, Vec::<String>::new());
    let anonymous = built.unwrap();
    let ask = async |credential| anonymous.authenticate(&AuthRequest::for_tests(credential)).await;
    let identity = ask(Credential::Anonymous).await.unwrap();
    assert_eq!(identity.user, "anonymous");
    assert!(!identity.proposal.unrestricted_if_alone);
    assert_eq!(identity.proposal.expires_after, Some(DEFAULT_EXPIRES_AFTER));
    let kinds = identity.proposal.connection_types.unwrap();
    assert!(kinds.contains(ConnectionKind::WebSocket) && !kinds.contains(ConnectionKind::Mqtt));
    for credential in [
        Credential::Password { user: "anonymous".to_owned(), password: "x".into() },
        Credential::Password { user: String::new(), password: "".into() },
        Credential::Token("t".into()),
        Credential::Certificate,
    ] {
        assert!(matches!(ask(credential).await, Err(Decline::NotMine)));
    }
}

#[test]
fn settings_without_a_limit_are_errors_or_warnings() {
    for (toml, is_followed, is_built, expected) in [
        ("", false, false, "has neither `roles` nor `permissions`"),
        ("roles = [\"public\"]", true, false, "must be the last authenticator"),
        ("roles = [\"unknown\"]", false, false, "there is no role `unknown`"),
        ("user = \"\"\nroles = [\"public\"]", false, false, "must not be empty"),
        ("user = \"a\\u200b\"\nroles = [\"public\"]", false, false, "invisible characters"),
        ("roles = [\"public\", \"all\"]", false, true, "contains `>`"),
        ("[permissions]\nsubscribe = [\">\"]", false, true, "contains `>`"),
        ("[permissions]\npub = { allow = \">\" }", false, true, "contains `>`"),
    ] {
        let (built, findings) = build(toml, is_followed);
        assert_eq!(built.is_some(), is_built, "{toml}: {findings:?}");
        assert!(findings.iter().any(|text| text.contains(expected)), "{toml}: {findings:?}");
    }
    let (built, findings) = build("[permissions]\nsubscribe = [\"news.>\"]", false);
    assert!(built.is_some() && findings.is_empty(), "{findings:?}");
}
