//! Annotations of a Kubernetes service account: four lines, publish, subscribe, roles, account; then
//! what becomes of them below a ceiling.

#![no_main]

use std::collections::BTreeMap;

use callgate::{
    authn::{Identity, Origin},
    permissions::Access,
    policy::{
        Policy,
        settings::{AuthenticatorPolicy, CeilingSettings, PolicySettings, RoleSettings},
    },
};
use callgate_authenticators::fuzzing::proposal_from_annotations;
use callgate_fuzz::{identity, nats::matches, nats::samples};
use libfuzzer_sys::fuzz_target;

const CEILING: [&str; 3] = ["app.>", "shared.*.in", "$JS.API.INFO"];

thread_local! {
    static POLICY: Policy = policy();
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let keys = ["allowed-pub-subjects", "allowed-sub-subjects", "roles", "account"];
    let annotations: BTreeMap<String, String> = keys
        .iter()
        .filter_map(|key| Some((format!("nats.io/{key}"), lines.next()?.to_owned())))
        .collect();
    let (proposal, malformed) = proposal_from_annotations("nats.io/", &annotations);
    assert_eq!(proposal.origin, Origin::Outside);
    let items = |key: &str| {
        let list = annotations.get(&format!("nats.io/{key}")).map(String::as_str);
        let items = list.unwrap_or_default().split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).count()
    };
    let asked = proposal.permissions.clone().unwrap_or_default();
    let kept = asked.publish.allow.len() + asked.subscribe.allow.len();
    assert_eq!(kept + malformed, items(keys[0]) + items(keys[1]), "nothing is lost or split");
    let identity = Identity { proposal, ..Identity::of_user("ns/sa") };
    let grant = POLICY.with(|policy| identity::asking(&identity, |q| policy.resolve(q)));
    let Ok(grant) = grant else { return };
    assert!(["APP", "tenant-1"].contains(&grant.account()), "{grant:?}");
    assert!(grant.roles().iter().all(|role| role == "reader"), "{grant:?}");
    let Access::Limited(permissions) = grant.access() else { panic!("{grant:?}") };
    for rule in &permissions.publish.allow {
        within(rule.as_str());
    }
    for rule in &permissions.subscribe.allow {
        within(rule.subject().as_str());
    }
    assert_eq!(permissions.responses, None);
});

/// Whatever a granted rule matches is matched by one line of the ceiling, or by the role.
fn within(rule: &str) {
    let ceiling = CEILING.iter().chain(&["read.only"]);
    let holds = |entry: &&&str| samples(rule).iter().all(|subject| matches(entry, subject));
    assert!(ceiling.clone().any(|entry| holds(&entry)), "{rule}");
}

fn policy() -> Policy {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut reader = RoleSettings::default();
    reader.publish.allow = list(&["read.only"]);
    let mut settings = PolicySettings {
        roles: BTreeMap::from([
            ("reader".to_owned(), reader.clone()),
            ("admin".to_owned(), RoleSettings::default()),
        ]),
        authenticators: vec![AuthenticatorPolicy {
            name: "a".to_owned(),
            account: Some("APP".to_owned()),
            ceiling: CeilingSettings {
                accounts: list(&["tenant-1"]),
                roles: list(&["reader"]),
                publish: list(&CEILING),
                subscribe: list(&CEILING),
                responses: None,
            },
            ..AuthenticatorPolicy::default()
        }],
        ..PolicySettings::default()
    };
    settings.accounts.accounts = ["APP", "tenant-1", "tenant-2"]
        .map(callgate::policy::settings::AccountSettings::named)
        .into();
    Policy::build(settings).unwrap_or_else(|faults| panic!("{faults:?}"))
}
