//! CEL conditions: the first line is the expression, the rest an identity in JSON.

#![no_main]

use callgate::{policy::settings::RoleSettings, record::Reason};
use callgate_fuzz::{assert_printable, caught_panics_are_fine, identity, policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: caught_panics_are_fine(), |data: &[u8]| {
    let with = |condition| (RoleSettings::default(), Some(condition));
    let Some((policy, identity)) = policy::and_identity(data, with) else { return };
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
