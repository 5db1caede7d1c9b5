//! Groups and attributes of Active Directory and others.

use super::*;

#[tokio::test]
async fn active_directory_groups_are_complete() {
    const SID: &[u8] = b"\x01\x05\0\0\0\0\0\x05\x15\0\0\0AAAABBBBCCCC\x51\x04\0\0";
    let alice = entry(
        "CN=Alice,CN=Users,DC=x",
        &[
            ("sAMAccountName", &[b"alice"]),
            ("objectSid", &[SID]),
            ("primaryGroupID", &[b"513"]),
            (
                "memberOf",
                &[
                    b"CN=Readers,OU=NATS,DC=x",
                    b"CN=Readers,OU=Other,DC=x",
                    b"CN=Deep,OU=a,OU=NATS,DC=x",
                ],
            ),
        ],
    );
    let primary: &[u8] = b"AAAABBBBCCCC\x01\x02\0\0";
    let responder = LdapResponder::start(move |request| match request {
        Seen::Search(base, _) if base == "dc=x" => {
            Reply::Messages(vec![alice.clone(), search_done(0)])
        }
        Seen::Search(_, filter) if filter.windows(16).any(|window| window == primary) => {
            Reply::Messages(vec![
                entry("CN=Domain Users,OU=NATS,DC=x", &[("cn", &[b"Domain Users"])]),
                search_done(0),
            ])
        }
        Seen::Search(_, filter) => {
            let text = String::from_utf8_lossy(filter).into_owned();
            assert!(text.contains("1.2.840.113556.1.4.1941"), "{text}");
            assert!(
                text.contains("CN=Alice,CN=Users,DC=x") && text.contains("CN=Domain Users"),
                "{text}"
            );
            Reply::Messages(vec![
                entry("CN=All,OU=NATS,DC=x", &[("cn", &[b"All", b"admins"])]),
                search_done(0),
            ])
        }
        other => usual(other),
    })
    .await;
    let more =
        "schema = \"active-directory\"\n[groups]\nbase = \"OU=NATS,DC=x\"\nnested = \"in-chain\"";
    let ldap = ldap_at(&format!("\"{}\"", responder.url()), more);
    let identity = login(&ldap, "alice", "canary").await.unwrap();
    let mut groups = identity.groups;
    groups.sort();
    assert_eq!(groups, ["All", "Domain Users", "Readers"]);
    let more = "schema = \"active-directory\"\n[groups]\nbase = \"OU=NATS,DC=x\"\nprimary = false\nname = \"dn\"";
    let ldap = ldap_at(&format!("\"{}\"", responder.url()), more);
    let groups = login(&ldap, "alice", "canary").await.unwrap().groups;
    assert_eq!(groups, ["CN=Readers,OU=NATS,DC=x", "CN=Deep,OU=a,OU=NATS,DC=x"]);
}

#[tokio::test]
async fn too_many_groups_are_an_error_and_not_a_shorter_list() {
    let groups: Vec<String> =
        (0..1001).map(|number| format!("cn=g{number},ou=groups,dc=x")).collect();
    let values: Vec<&[u8]> = groups.iter().map(String::as_bytes).collect();
    let found = |values: &[&[u8]]| {
        Reply::Messages(vec![
            entry(ALICE, &[("uid", &[b"alice"]), ("memberOf", values)]),
            search_done(0),
        ])
    };
    let more = "groups.from = \"memberOf\"\ngroups.base = \"ou=groups,dc=x\"";
    let responder = LdapResponder::start(finds(found(&values))).await;
    let ldap = ldap_at(&format!("\"{}\"", responder.url()), more);
    let error = unavailable(&ldap, "alice", "canary").await;
    assert!(error.contains("more than 1000 groups"), "{error}");
    let responder = LdapResponder::start(finds(found(&values[..1000]))).await;
    let ldap = ldap_at(&format!("\"{}\"", responder.url()), more);
    assert_eq!(login(&ldap, "alice", "canary").await.unwrap().groups.len(), 1000);
}

#[tokio::test]
async fn mapped_attributes_become_bounded_proposals() {
    let with = |attributes: Attributes<'_>| {
        let user: &[&[u8]] = &[b"alice"];
        let own = [&[("uid", user)], attributes].concat();
        Reply::Messages(vec![entry(ALICE, &own), search_done(0)])
    };
    let more = "groups.from = \"none\"\nattributes = [\"mail\", \"tag\", \"absent\"]\n[map]\naccount = \"a\"\nroles = \"r\"\n\
                publish = \"p\"\nsubscribe = \"s\"\nexpires = \"e\"";
    let responder = LdapResponder::start(finds(with(&[
        ("MAIL", &[b"a@x"]),
        ("tag", &[b"1", b"2"]),
        ("a", &[b"APP"]),
        ("r", &[b"reader", b"writer"]),
        ("p", &[b"app.>"]),
        ("e", &[b"20990101000000Z"]),
    ])))
    .await;
    let ldap = ldap_at(&format!("\"{}\"", responder.url()), more);
    let identity = login(&ldap, "alice", "canary").await.unwrap();
    assert_eq!(
        serde_json::Value::Object(identity.claims),
        json!({ "mail": "a@x", "tag": ["1", "2"] })
    );
    let proposal = identity.proposal;
    assert_eq!(proposal.origin, callgate::authn::Origin::Outside);
    assert_eq!(proposal.account.as_deref(), Some("APP"));
    assert_eq!(proposal.roles, Some(vec!["reader".to_owned(), "writer".to_owned()]));
    assert!(!proposal.unrestricted_if_alone && proposal.permissions.is_some());
    assert!(identity.expires_at.is_some());
    let past: Attributes<'_> = &[("e", &[b"20200101000000Z"])];
    let responder = LdapResponder::start(finds(with(past))).await;
    let ldap = ldap_at(&format!("\"{}\"", responder.url()), more);
    assert_eq!(rejected(&ldap, "alice", "canary").await, Reason::UserExpired);
    let malformed: [Attributes<'_>; 5] = [
        &[("a", &[b"APP", b"OTHER"])],
        &[("e", &[b"soon"])],
        &[("p", &[b"app..x"])],
        &[("mail", &[b"\xff\xfe"])],
        &[("mail", &[&[b'x'; 70_000]])],
    ];
    for attributes in malformed {
        let responder = LdapResponder::start(finds(with(attributes))).await;
        let ldap = ldap_at(&format!("\"{}\"", responder.url()), more);
        unavailable(&ldap, "alice", "canary").await;
    }
}

#[tokio::test]
async fn check_finds_a_schema_that_does_not_fit() {
    let is_ad: &[&[u8]] = &[b"1.2.840.113556.1.4.800"];
    let ad = LdapResponder::start(move |request| match request {
        Seen::Search(base, _) if base.is_empty() => {
            Reply::Messages(vec![entry("", &[("supportedCapabilities", is_ad)]), search_done(0)])
        }
        other => usual(other),
    })
    .await;
    let other = LdapResponder::start(usual).await;
    let with =
        |responder: &LdapResponder, more: &str| ldap_at(&format!("\"{}\"", responder.url()), more);
    let schema = "schema = \"active-directory\"\ngroups.base = \"ou=groups,dc=x\"\n";
    assert_eq!(probe(&with(&ad, schema)).await, Ok(Default::default()));
    let error = probe(&with(&other, schema)).await.unwrap_err();
    assert!(error.contains("not Active Directory"), "{error}");
    let error = probe(&with(&other, "groups.nested = \"in-chain\"")).await.unwrap_err();
    assert!(error.contains("in-chain"), "{error}");
    assert_eq!(probe(&with(&ad, "")).await.unwrap().warnings.len(), 1);
    // No user was logged in.
    assert_eq!((user_binds(&ad), user_binds(&other)), (Vec::new(), Vec::new()));
}
