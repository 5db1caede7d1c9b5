//! Users of a real OpenLDAP, over TLS, on a real server.

use std::path::Path;

use callgate_testkit::ldap::Slapd;
use serde_json::json;

use crate::support::{Credential, Pair, callgate_in, has, write_private};

const ENTRIES: &str = "
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
title: admin
userPassword: canary-alice

dn: uid=bob,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
userPassword: canary-bob

dn: cn=readers,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: readers
member: uid=alice,dc=example,dc=org
";

/// The keys of the authenticator after its name, and what follows it.
fn settings(slapd: &Slapd) -> String {
    let (admin, _) = slapd.admin();
    let url = slapd.tls_url();
    let ca = slapd.ca();
    let ca = ca.display();
    format!(
        r#"account = "APP"
[authenticators.ldap]
url = "{url}"
base = "dc=example,dc=org"
bind_dn = "{admin}"
bind_password = {{ file = "ldap.pw" }}
connect_timeout = "5s"
groups.base = "ou=groups,dc=example,dc=org"
map.roles = "title"
tls.ca = "{ca}"
[authenticators.ceiling]
roles = ["reader"]
[roles.reader]
subscribe = ["news.>"]
[roles.admin]
publish = [">"]
subscribe = [">"]
[[bindings]]
when = '"readers" in groups'
roles = ["reader"]
"#
    )
}

/// A service that has replaced its users file by the directory.
async fn start(slapd: &Slapd) -> Pair {
    let log = "[log]\nlevel = \"trace\"\nformat = \"json\"\n";
    let pair = Pair::builder(json!({})).gate_config(log).start().await;
    let (_, password) = slapd.admin();
    write_private(&pair.path("ldap.pw"), password);
    let mark = pair.gate.mark();
    let users = "[authenticators.users]\nfile = \"users.json\"\n";
    pair.rewrite_config(|text| text.replace(users, &settings(slapd)));
    pair.gate.says(mark, "reloaded").await;
    pair
}

fn explain(folder: &Path, user: &str, more: &[&str]) -> String {
    let user = ["explain", "--config", "callgate.toml", "--user", user, "--password", "@password"];
    callgate_in(folder, &[&user, more].concat()).text()
}

#[tokio::test]
async fn ldap_users_get_what_their_groups_grant() {
    let mut slapd = Slapd::start(ENTRIES).await;
    let pair = start(&slapd).await;
    let (outcome, decision) = pair.attempt(&Credential::password("ALICE", "canary-alice")).await;
    assert_eq!(decision["user"], "alice", "{decision}");
    assert_eq!(decision["account"], "APP", "{decision}");
    let mut alice = outcome.unwrap();
    // The role that her entry names is beyond the ceiling.
    alice.is_refused_to_publish("news.today").await;
    alice.is_refused_to_subscribe("orders").await;
    for (user, password, reason) in [
        ("alice", "canary-wrong", "bad_password"),
        ("al*", "canary-alice", "unknown_user"),
        ("bob", "canary-bob", "no_binding"),
    ] {
        assert_eq!(pair.refuses(&Credential::password(user, password)).await, reason, "{user}");
    }
    let folder = pair.folder.path();
    write_private(&pair.path("password"), "canary-alice");
    let explained = explain(folder, "alice", &["--why"]);
    has(&explained, &["uid=alice,dc=example,dc=org", "readers", "reader"]);
    let offline = explain(folder, "alice", &["--why", "--offline"]);
    has(&offline, &["would be asked"]);
    let check = ["check", "--config", "callgate.toml", "--connect"];
    let good = callgate_in(folder, &check);
    assert_eq!(good.code, 0, "{}", good.text());
    has(&good.text(), &["staff: ok"]);
    slapd.process().kill();
    let bad = callgate_in(folder, &check);
    assert_eq!(bad.code, 2, "{}", bad.text());
    has(&bad.text(), &["error: staff: ", "cannot connect"]);
    // The login of alice is remembered with this spelling of the name, and that of bob with another.
    pair.admits(&Credential::password("ALICE", "canary-alice")).await;
    let bob = Credential::password("BOB", "canary-bob");
    assert_eq!(pair.refuses(&bob).await, "backend_unavailable");
    slapd.restart().await;
    assert_eq!(pair.refuses(&bob).await, "no_binding");
    let metrics = pair.gate.get("/metrics").await.1;
    has(
        &metrics,
        &[
            "callgate_backend_up{authenticator=\"staff\"} 1",
            "callgate_backend_answers_total{authenticator=\"staff\",result=\"remembered\"}",
            "callgate_backend_connections{authenticator=\"staff\",state=\"idle\"}",
        ],
    );
    let texts = [pair.gate.log(), metrics, explained, offline, good.text(), bad.text()];
    for text in texts {
        assert!(!text.contains("canary"), "{text}");
    }
}
