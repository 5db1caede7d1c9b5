//! A policy of one role and one binding, and an identity to ask it about.

use callgate::{
    authn::Identity,
    policy::{
        Policy,
        settings::{AuthenticatorPolicy, BindingSettings, PolicySettings, RoleSettings},
    },
};

use crate::{assert_printable, first_line, identity};

/// What the input's first line makes of role and condition, for users of the authenticator `a` in
/// `APP`, and the identity that the rest is in JSON. Faults of the policy are texts for people.
pub fn and_identity(
    data: &[u8],
    settings: impl FnOnce(String) -> (RoleSettings, Option<String>),
) -> Option<(Policy, Identity)> {
    let (line, json) = first_line(data);
    let (role, when) = settings(std::str::from_utf8(line).ok()?.to_owned());
    match Policy::build(of(role, when)) {
        Ok(policy) => Some((policy, identity::of(json)?)),
        Err(faults) => {
            assert!(!faults.is_empty());
            assert_printable(&faults.iter().map(ToString::to_string).collect::<Vec<_>>());
            None
        }
    }
}

fn of(role: RoleSettings, when: Option<String>) -> PolicySettings {
    PolicySettings {
        roles: [("r".to_owned(), role)].into(),
        bindings: vec![BindingSettings {
            when,
            account: Some("APP".to_owned()),
            roles: vec!["r".to_owned()],
            ..BindingSettings::default()
        }],
        authenticators: vec![AuthenticatorPolicy {
            name: "a".to_owned(),
            variables: &["namespace", "service_account"],
            ..AuthenticatorPolicy::default()
        }],
        ..PolicySettings::default()
    }
}
