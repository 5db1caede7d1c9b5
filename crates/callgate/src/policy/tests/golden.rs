//! The golden table: access under one policy that uses most features.

use super::*;

fn golden() -> Policy {
    policy(|p| {
        let role = |publish: &[&str], subscribe: &[&str]| RoleSettings {
            publish: allow(publish),
            subscribe: allow(subscribe),
            ..RoleSettings::default()
        };
        let mut tenant =
            role(&["tenants.{{ claims.tenant }}.>"], &["tenants.{{ claims.tenant }}.>"]);
        tenant.publish.deny = texts(&["tenants.*.audit"]);
        tenant.inbox = Inbox::Private;
        p.roles.insert("tenant".into(), tenant);
        p.roles.insert("audit".into(), role(&[], &["tenants.*.audit"]));
        let worker = RoleSettings {
            responses: Some(Responses::default()),
            ..role(&[], &["jobs.new workers"])
        };
        p.roles.insert("worker".into(), worker);
        p.roles.insert("admin".into(), role(&[">"], &[">"]));
        p.authenticators[0].ceiling.roles = texts(&["audit", "worker"]);
        p.bindings = vec![
            when("has(claims.tenant)", &["tenant"]),
            bind(&["{{ groups }}"]),
            when("claims.email_verified && 'root' in groups", &["admin"]),
        ];
    })
}

fn people() -> Vec<(&'static str, Identity)> {
    let group =
        |identity: Identity, groups: &[&str]| Identity { groups: texts(groups), ..identity };
    vec![
        ("tenant", claims("t", json!({"tenant": "acme"}))),
        ("auditor", group(user("a"), &["audit"])),
        ("worker", group(claims("w", json!({"tenant": "acme"})), &["worker"])),
        ("root", group(claims("r", json!({"email_verified": true})), &["root"])),
        ("unverified", group(claims("r", json!({"email_verified": false})), &["root"])),
        ("impostor", group(user("i"), &["admin"])),
        ("injector", claims("j", json!({"tenant": "*"}))),
    ]
}

const TABLE: &str = "
tenant      pub tenants.acme.x            yes
tenant      pub tenants.acme.audit        no
tenant      pub tenants.other.x           no
tenant      sub tenants.acme.>            yes
tenant      sub tenants.*.x               no
tenant      sub _INBOX_t.1                yes
tenant      sub _INBOX_u.1                no
tenant      sub _INBOX.1                  no
tenant      pub $SYS.REQ.USER.AUTH        no
auditor     sub tenants.acme.audit        yes
auditor     sub tenants.acme.x            no
auditor     pub tenants.acme.audit        no
worker      sub jobs.new workers          yes
worker      sub jobs.new                  no
worker      sub jobs.new others           no
worker      pub tenants.acme.x            yes
worker      pub anything.else             only as a reply
root        pub anything.else             yes
root        sub >                         yes
unverified  -                             no_binding
impostor    -                             no_binding
injector    -                             unsafe_template_value
";

#[test]
fn access_matches_the_golden_table() {
    let (policy, people) = (golden(), people());
    let mut seen = std::collections::BTreeSet::new();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(2, "  ");
        let (name, rest) = (words.next().unwrap(), words.next().unwrap().trim());
        let (asked, expected) = rest.rsplit_once("  ").unwrap();
        let (asked, expected) = (asked.trim(), expected.trim());
        seen.insert(name);
        let (_, identity) = people.iter().find(|(known, _)| *known == name).unwrap();
        let answer = match Scene::new().resolve(&policy, identity) {
            Err(denial) => denial.reason.to_string(),
            Ok(grant) => {
                let verdict = match asked.split_once(' ') {
                    Some(("pub", subject)) => grant.access().can_publish(&subject.parse().unwrap()),
                    Some(("sub", wanted)) => grant.access().can_subscribe(&wanted.parse().unwrap()),
                    _ => panic!("{line}: {name} was admitted"),
                };
                match (verdict.allowed, verdict.as_reply) {
                    (true, _) => "yes".to_owned(),
                    (false, true) => "only as a reply".to_owned(),
                    (false, false) => "no".to_owned(),
                }
            }
        };
        assert_eq!(answer, expected, "{line}");
    }
    assert_eq!(seen.len(), people.len(), "a user is missing from the table");
}
