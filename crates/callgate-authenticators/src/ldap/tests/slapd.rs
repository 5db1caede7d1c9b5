//! Against a real OpenLDAP.

use std::{sync::Arc, time::Duration};

use callgate::{
    authn::{Authenticator, Decline},
    record::Reason,
};
use callgate_testkit::ldap::{Slapd, SlapdOptions};
use tokio::time::Instant;

use super::{
    build, chain, context, link, login, password, probe, rejected, try_build, unavailable,
};

const PEOPLE: &str = "ou=people,dc=example,dc=org";

/// Users, and groups: alice is in `readers` and in two groups called `admins` elsewhere; `readers` is
/// in `staff`, and `staff` in `all`.
const ENTRIES: &str = r"
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=admins,ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: admins

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: ou=team,ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: team

dn: ou=policies,dc=example,dc=org
objectClass: organizationalUnit
ou: policies

dn: cn=default,ou=policies,dc=example,dc=org
objectClass: person
objectClass: pwdPolicy
cn: default
sn: default
pwdAttribute: userPassword
pwdMustChange: TRUE
pwdLockout: TRUE
pwdMaxFailure: 3

dn: cn=svc,dc=example,dc=org
objectClass: person
cn: svc
sn: svc
userPassword: canary-svc

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: alice@example.org
userPassword: canary-alice

dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: alice
userPassword: canary-bob

dn: uid=reset,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: reset
cn: Reset
sn: R
userPassword: canary-reset
pwdReset: TRUE

dn: uid=x,ou=admins,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: x
cn: X
sn: X
userPassword: canary-x

dn: uid=st\2Ar(\29\\,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: st*r()\
cn: Star
sn: S
userPassword: canary-star

dn: ou=elsewhere,ou=people,dc=example,dc=org
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:9/dc=other

dn: cn=readers,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: readers
cn: admins
member: uid=alice,ou=people,dc=example,dc=org

dn: cn=staff,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: staff
member: cn=readers,ou=groups,dc=example,dc=org

dn: cn=all,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: all
member: cn=staff,ou=groups,dc=example,dc=org
member: cn=all,ou=groups,dc=example,dc=org

dn: cn=admins,ou=team,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: admins
member: uid=alice,ou=people,dc=example,dc=org

dn: cn=admins,ou=people,dc=example,dc=org
objectClass: groupOfNames
cn: admins
member: uid=alice,ou=people,dc=example,dc=org
";

async fn slapd() -> Slapd {
    Slapd::start(ENTRIES).await
}

fn toml(url: &str, more: &str) -> String {
    format!(
        "url = \"{url}\"\nbase = \"{PEOPLE}\"\nbind_dn = \"cn=svc,dc=example,dc=org\"\n\
         bind_password = \"canary-svc\"\nconnect_timeout = \"20s\"\n\
         groups.base = \"ou=groups,dc=example,dc=org\"\n{more}"
    )
}

fn ldap(slapd: &Slapd, more: &str) -> Arc<dyn Authenticator> {
    build(&toml(&slapd.url(), more))
}

async fn groups(slapd: &Slapd, more: &str) -> Vec<String> {
    let mut groups = login(&ldap(slapd, more), "alice", "canary-alice").await.unwrap().groups;
    groups.sort();
    groups
}

#[tokio::test]
async fn users_log_in_over_ldaps_starttls_and_the_loopback() {
    let slapd = slapd().await;
    let ca = format!("tls.ca = \"{}\"", slapd.ca().display());
    for (url, more) in [(slapd.url(), ""), (slapd.url(), &*ca), (slapd.tls_url(), &*ca)] {
        let ldap = build(&toml(&url, more));
        let identity = login(&ldap, "alice", "canary-alice").await.unwrap();
        assert_eq!(
            (identity.user.as_str(), identity.groups),
            ("alice", vec!["readers".to_owned()])
        );
        assert_eq!(rejected(&ldap, "alice", "canary-wrong").await, Reason::BadPassword);
        assert_eq!(rejected(&ldap, "unknown", "canary-alice").await, Reason::UnknownUser);
        assert!(probe(&ldap).await.unwrap().warnings.is_empty());
    }
}

#[tokio::test]
async fn certificates_of_other_authorities_and_names_are_refused() {
    let slapd = slapd().await;
    let other = tempfile::NamedTempFile::new().unwrap();
    let authority = callgate_testkit::oidc_provider::Authority::new("another");
    std::fs::write(other.path(), authority.pem()).unwrap();
    let (own, other) = (slapd.ca(), other.path().to_owned());
    for (ca, name) in [(&other, "127.0.0.1"), (&own, "dc1.corp.example"), (&own, "127.0.0.2")] {
        for url in [slapd.url(), slapd.tls_url()] {
            let more = format!("tls.ca = \"{}\"\ntls.server_name = \"{name}\"", ca.display());
            let error = unavailable(&build(&toml(&url, &more)), "alice", "canary-alice").await;
            assert!(error.contains("certificate"), "{url} {name}: {error}");
        }
    }
    let failures = slapd.values(&format!("uid=alice,{PEOPLE}"), "pwdFailureTime");
    assert_eq!(failures.len(), 0);
}

#[tokio::test]
async fn server_without_starttls_gets_no_password() {
    let slapd =
        Slapd::start_with(ENTRIES, SlapdOptions { without_tls: true, ..SlapdOptions::default() })
            .await;
    let ca = tempfile::NamedTempFile::new().unwrap();
    let authority = callgate_testkit::oidc_provider::Authority::new("another");
    std::fs::write(ca.path(), authority.pem()).unwrap();
    let ldap = ldap(&slapd, &format!("tls.ca = \"{}\"", ca.path().display()));
    let error = unavailable(&ldap, "alice", "canary-alice").await;
    assert!(error.contains("StartTLS"), "{error}");
}

#[tokio::test]
async fn ldap_empty_password_is_refused_where_the_directory_accepts_it() {
    let slapd = slapd().await;
    for ldap in [ldap(&slapd, ""), direct(&slapd, "uid={user},ou=people,dc=example,dc=org")] {
        assert_eq!(rejected(&ldap, "alice", "").await, Reason::BadPassword);
    }
}

fn direct(slapd: &Slapd, name: &str) -> Arc<dyn Authenticator> {
    build(&format!(
        "url = \"{}\"\nbase = \"{PEOPLE}\"\nbind_as = \"{name}\"\nconnect_timeout = \"20s\"\n\
         groups.base = \"ou=groups,dc=example,dc=org\"",
        slapd.url()
    ))
}

#[tokio::test]
async fn direct_binds_read_the_entry_as_the_user() {
    let slapd = slapd().await;
    let ldap = direct(&slapd, "uid={user},ou=people,dc=example,dc=org");
    let identity = login(&ldap, "ALICE", "canary-alice").await.unwrap();
    assert_eq!((identity.user.as_str(), identity.groups), ("alice", vec!["readers".to_owned()]));
    assert_eq!(rejected(&ldap, "alice", "canary-wrong").await, Reason::BadPassword);
    assert_eq!(rejected(&ldap, "unknown", "canary-alice").await, Reason::BadPassword);
    assert_eq!(rejected(&ldap, "x,ou=admins", "canary-x").await, Reason::BadPassword);
}

#[tokio::test]
async fn ldap_metacharacters_in_a_name_match_only_that_name() {
    let slapd = slapd().await;
    let ldap = ldap(&slapd, "");
    let identity = login(&ldap, "st*r()\\", "canary-star").await.unwrap();
    assert_eq!(identity.user, "st*r()\\");
    for name in [
        "*",
        "al*",
        "a*e",
        "alice)(uid=*",
        "*)(uid=*))(|(uid=*",
        "\\2a",
        "\\61lice",
        "alice\\",
        "(alice)",
        "alice)(objectClass=*",
        "{user}",
        "st*",
    ] {
        assert_eq!(rejected(&ldap, name, "canary-alice").await, Reason::UnknownUser, "{name}");
    }
}

#[tokio::test]
async fn ldap_two_matching_entries_are_refused() {
    let slapd = slapd().await;
    // `alice` is the name of one entry and the mail of another.
    let both = ldap(&slapd, "filter = \"(|(uid={user})(mail={user}))\"");
    for secret in ["canary-alice", "canary-bob"] {
        assert_eq!(rejected(&both, "alice", secret).await, Reason::UnknownUser);
    }
    assert_eq!(login(&both, "alice@example.org", "canary-alice").await.unwrap().user, "alice");
    // More entries than Callgate asks for.
    let all = ldap(&slapd, "filter = \"(|(uid={user})(objectClass=inetOrgPerson))\"");
    assert_eq!(rejected(&all, "alice", "canary-alice").await, Reason::UnknownUser);
}

#[tokio::test]
async fn spellings_of_a_name_are_one_identity() {
    let slapd = slapd().await;
    let ldap = ldap(&slapd, "");
    for name in ["alice", "ALICE", "alice ", " Alice"] {
        assert_eq!(login(&ldap, name, "canary-alice").await.unwrap().user, "alice", "{name:?}");
    }
}

#[tokio::test]
async fn ldap_outage_is_unavailable_not_bad_password() {
    let mut slapd = slapd().await;
    let ldap = ldap(&slapd, "");
    login(&ldap, "alice", "canary-alice").await.unwrap();
    let within = |seconds| Duration::from_secs(seconds);
    let chain = chain(vec![link("ldap", Arc::clone(&ldap), within(1))]);
    slapd.process().freeze().await;
    let hurried = password("bob", "canary-bob").due_at(Instant::now() + within(1));
    let denial = chain.identify(&hurried).await.result.unwrap_err();
    assert_eq!(denial.reason, Reason::BackendUnavailable);
    slapd.process().signal("CONT");
    assert_eq!(login(&ldap, "bob", "canary-bob").await.unwrap().user, "bob");
    slapd.process().kill();
    unavailable(&ldap, "bob", "canary-other").await;
    // What is remembered needs no directory.
    assert_eq!(login(&ldap, "alice", "canary-alice").await.unwrap().user, "alice");
    slapd.restart().await;
    assert_eq!(rejected(&ldap, "bob", "canary-other").await, Reason::BadPassword);
}

#[tokio::test]
async fn ldap_cut_idle_connection_costs_no_login() {
    let mut slapd = slapd().await;
    let ca = format!("tls.ca = \"{}\"", slapd.ca().display());
    for (url, more) in
        [(slapd.url(), String::new()), (slapd.url(), ca.clone()), (slapd.tls_url(), ca)]
    {
        let mut context = context();
        context.services.cache.passwords = Duration::ZERO;
        let ldap = try_build(&toml(&url, &more), &context).unwrap();
        for _ in 0..3 {
            login(&ldap, "alice", "canary-alice").await.unwrap();
            slapd.restart().await;
        }
        login(&ldap, "alice", "canary-alice").await.unwrap();
    }
}

#[tokio::test]
async fn ldap_success_requiring_new_password_is_user_expired() {
    let slapd = slapd().await;
    for ldap in [ldap(&slapd, ""), direct(&slapd, "uid={user},ou=people,dc=example,dc=org")] {
        assert_eq!(rejected(&ldap, "reset", "canary-reset").await, Reason::UserExpired);
        assert_eq!(rejected(&ldap, "reset", "canary-wrong").await, Reason::BadPassword);
    }
}

#[tokio::test]
async fn ldap_old_password_retry_loop_binds_once_in_ten_seconds() {
    let slapd = slapd().await;
    let ldap = ldap(&slapd, "");
    for _ in 0..20 {
        assert_eq!(rejected(&ldap, "alice", "canary-old").await, Reason::BadPassword);
    }
    let failures = slapd.values(&format!("uid=alice,{PEOPLE}"), "pwdFailureTime");
    assert_eq!(failures.len(), 1, "three lock the account");
    assert_eq!(login(&ldap, "alice", "canary-alice").await.unwrap().user, "alice");
    // Without the memory, the same loop locks the account.
    let ldap = self::ldap(&slapd, "remember_rejected = \"0s\"");
    for _ in 0..20 {
        assert_eq!(rejected(&ldap, "bob", "canary-old").await, Reason::BadPassword);
    }
    assert_eq!(rejected(&ldap, "bob", "canary-bob").await, Reason::BadPassword);
}

#[tokio::test]
async fn ldap_groups_with_the_same_cn_elsewhere_do_not_count() {
    let slapd = slapd().await;
    for from in ["search", "memberOf"] {
        let more = format!("groups.from = \"{from}\"");
        assert_eq!(groups(&slapd, &more).await, ["readers"], "{from}");
        let named = format!("{more}\ngroups.name = \"dn\"");
        let expected = [
            "cn=admins,ou=team,ou=groups,dc=example,dc=org",
            "cn=readers,ou=groups,dc=example,dc=org",
        ];
        assert_eq!(groups(&slapd, &named).await, expected, "{from}");
        for (levels, expected) in [
            (1, &["readers", "staff"][..]),
            (2, &["all", "readers", "staff"]),
            (8, &["all", "readers", "staff"]),
        ] {
            let nested = format!("{more}\ngroups.nested = {levels}");
            assert_eq!(groups(&slapd, &nested).await, expected, "{from} {levels}");
        }
    }
    assert_eq!(groups(&slapd, "groups.from = \"none\"").await, [""; 0]);
    // OpenLDAP finds nothing by this rule, and reports no error.
    assert_eq!(groups(&slapd, "groups.nested = \"in-chain\"").await, [""; 0]);
    let error = probe(&ldap(&slapd, "groups.nested = \"in-chain\"")).await.unwrap_err();
    assert!(error.contains("in-chain"), "{error}");
}

#[tokio::test]
async fn check_verifies_what_a_login_depends_on() {
    let slapd = slapd().await;
    let report = probe(&ldap(&slapd, "")).await.unwrap();
    assert!(report.notes.iter().any(|note| note.starts_with("referrals")), "{report:?}");
    let base = "ou=groups,dc=example,dc=org";
    for (from, to, why) in [
        (base, "ou=missing,dc=example,dc=org", "reading `groups.base` failed"),
        (PEOPLE, "ou=missing,dc=example,dc=org", "reading `base` failed"),
        ("canary-svc", "canary-wrong", "service account"),
    ] {
        let toml = toml(&slapd.url(), "").replace(from, to);
        let error = probe(&build(&toml)).await.unwrap_err();
        assert!(error.contains(why) && !error.contains("canary"), "{error}");
    }
    let failures = slapd.values(&format!("uid=alice,{PEOPLE}"), "pwdFailureTime");
    assert_eq!(failures.len(), 0);
}

#[tokio::test]
async fn explain_notes_name_the_entry_and_no_secret() {
    let slapd = slapd().await;
    let ldap = ldap(&slapd, "");
    let ask = login(&ldap, "alice", "canary-alice");
    let (answer, notes) = crate::backend::notes::collect(false, ask).await;
    assert!(answer.is_ok());
    let notes: Vec<_> = notes.into_iter().map(|note| note.text).collect();
    let text = notes.join("\n");
    assert!(text.contains("found the entry `uid=alice,ou=people,dc=example,dc=org`"), "{text}");
    assert!(text.contains("groups: 1 count, 1 ignored"), "{text}");
    assert!(!text.contains("canary"), "{text}");
    let (answer, notes) =
        crate::backend::notes::collect(true, login(&ldap, "bob", "canary-bob")).await;
    assert!(matches!(answer, Err(Decline::Unavailable(_))));
    assert!(notes.iter().any(|note| note.text.contains("would be asked")), "{notes:?}");
}
