//! CEL conditions: the first line is the expression, the rest an identity in JSON.

#![no_main]

use callgate::{
    decision::Reason,
    policy::{
        Policy,
        settings::{AuthenticatorPolicy, BindingSettings, PolicySettings, RoleSettings},
    },
};
use callgate_fuzz::{assert_printable, caught_panics_are_fine, first_line, identity};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: caught_panics_are_fine(), |data: &[u8]| {
    let (condition, json) = first_line(data);
    let Ok(condition) = std::str::from_utf8(condition) else { return };
    let policy = match Policy::build(settings(condition)) {
        Ok(policy) => policy,
        Err(faults) => {
            return assert_printable(&faults.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    };
    let Some(identity) = identity::of(json) else { return };
    let (first, second, explained) = identity::asking(&identity, |question| {
        (policy.resolve(question), policy.resolve(question), policy.explain(question).0)
    });
    assert_eq!(first, second, "equal questions have equal answers");
    assert_eq!(first, explained, "what is explained is what is decided");
    match first {
        // Only the condition stands between this identity and the role.
        Ok(grant) => assert_eq!((grant.account(), grant.roles()), ("APP", &["r".to_owned()][..])),
        Err(denial) => {
            assert!(matches!(denial.reason, Reason::NoBinding | Reason::PolicyError), "{denial:?}");
            assert_printable(&[denial.detail]);
        }
    }
});

fn settings(condition: &str) -> PolicySettings {
    PolicySettings {
        roles: [("r".to_owned(), RoleSettings::default())].into(),
        bindings: vec![BindingSettings {
            when: Some(condition.to_owned()),
            account: Some("APP".to_owned()),
            roles: vec!["r".to_owned()],
            ..BindingSettings::default()
        }],
        authenticators: vec![AuthenticatorPolicy {
            name: "a".to_owned(),
            ..AuthenticatorPolicy::default()
        }],
        ..PolicySettings::default()
    }
}
