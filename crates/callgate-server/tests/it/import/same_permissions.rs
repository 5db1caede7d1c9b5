//! What each user may do before and after the import, on real servers.

use callgate_testkit::{Nkey, nats_server::installed_versions};

use super::Imported;
use crate::support::{
    has,
    wire::{Login, Wire},
};

/// `{nkey}` and `{bcrypt}` are filled in.
const CONF: &str = r#"
# Permissions in a variable, and every spelling.
ADMIN = { publish = ">", subscribe = ">" }
server_name: "gate-1"
accounts {
  WORKER: { publish: ["jobs.done.*"], subscribe: { allow: ["jobs.* workers"], deny: "jobs.secret" } }
  APP {
    default_permissions { publish: "app.>", subscribe: ["app.>", "_INBOX.>"] }
    exports: [ { stream: "public.>" } ]
    users: [
      { user: alice, password: alice }   // the default
      { user: bob, password: "{bcrypt}",
        permissions: { publish: { allow: ["bob.>"], deny: ["bob.secret"] }, subscribe: "bob.*" } },
      { username: carl, pass: 'carl', permission: $ADMIN }
      { nkey: {nkey}, permissions { pub: ["n.>"], sub: ["n.>   workers", "n.plain"] } }
      { user: dora, password: dora, permissions: { subscribe: ["q.* workers", plain], publish: { deny: "x.>" } } }
      { user: eve, password: eve, permissions: { subscribe: "svc.eve", allow_responses: true } }
      { user: finn, password: finn
        permissions: { publish: "reply.>", sub: { deny: "private.>" }, allow_responses: { max: 3, expires: "1m" } } }
      { user: gil, password: gil, permissions: {} }
      { user: hal, password: hal, permissions: { publish: [], subscribe: { allow: "app.>", deny: ["app.x", "app.y z"] } } }
      { user: ida, password: ida, permissions: $WORKER }
      { user: jon, password: jon, permissions: $WORKER, allowed_connection_types: ["STANDARD", "WEBSOCKET"] }
      { user: kim, password: kim, allowed_connection_types: ["WEBSOCKET"] }
      { user: "lea smith", password: "p#a:s{s}w,o;r]d \x41\\\"" }
    ]
  }
  OPS {
    users [ { user = ops, password = 12ab } ]
    imports [ { stream: { account: APP, subject: "public.>" } } ]
  }
  SYS { users [ { user: sys, password: sys } ] }
}
system_account SYS
authorization {
  timeout: 5
  default_permissions = { publish = "g.>", subscribe = "g.>" }
  users = [ { user: gus, password: gus }, { user: may, password: may, permissions: $ADMIN } ]
}
"#;

const SUBJECTS: [&str; 34] = [
    "app.a",
    "app.x",
    "app.y",
    "app.*",
    "app.>",
    "bob.a",
    "bob.a.b",
    "bob.secret",
    "bob.*",
    "bob.>",
    "n.a",
    "n.plain",
    "n.a.b",
    "q.a",
    "q.*",
    "q.a.b",
    "plain",
    "x.a",
    "svc.eve",
    "reply.a",
    "private.a",
    "private.>",
    "jobs.a",
    "jobs.secret",
    "jobs.*",
    "jobs.done.1",
    "g.a",
    "g.>",
    "public.a",
    "_INBOX.a",
    "$JS.API.INFO",
    "$SYS.REQ.SERVER.PING",
    ">",
    "*",
];
const QUEUES: [&str; 4] = ["", " workers", " other", " z"];

#[tokio::test]
async fn every_user_may_do_the_same_before_and_after() {
    for version in installed_versions() {
        let nkey = Nkey::user();
        let bcrypt = bcrypt::hash("bob", 4).unwrap().replacen("$2b$", "$2a$", 1);
        let conf = CONF.replace("{nkey}", &nkey.public()).replace("{bcrypt}", &bcrypt);
        let imported = Imported::start(&version.to_string(), &conf).await;
        assert_eq!(imported.output.code, 0, "{:?}", imported.output);
        let named = [
            "alice", "bob", "carl", "dora", "eve", "finn", "gil", "hal", "ida", "jon", "gus",
            "may", "sys",
        ];
        let mut logins: Vec<_> = named.map(|name| (name, Login::User(name, name))).into();
        logins.push(("ops", Login::User("ops", "12ab")));
        logins.push(("lea", Login::User("lea smith", "p#a:s{s}w,o;r]d A\\\"")));
        logins.push(("nkey", Login::Nkey(&nkey)));
        for (name, login) in &logins {
            let before = Wire::connect(&imported.before, login).await;
            let after = Wire::connect(&imported.after, login).await;
            let (mut before, mut after) = (before.expect(name), after.expect(name));
            let (may, may_now) = (everything(&mut before).await, everything(&mut after).await);
            assert_eq!(may, may_now, "{name} on nats-server {version}");
            assert!(!may.is_empty(), "{name}");
        }
        for login in [
            Login::User("alice", "wrong"),
            Login::User("bob", &bcrypt),
            Login::User("absent", "absent"),
            Login::User("kim", "kim"),
            Login::User("lea smith", "lea"),
            Login::Nkey(&Nkey::user()),
            Login::None,
        ] {
            assert!(Wire::connect(&imported.before, &login).await.is_err());
            assert!(Wire::connect(&imported.after, &login).await.is_err());
        }
        replies_are_the_same(&imported).await;
    }
}

/// What the client may do: `pub:SUBJECT` and `sub:SUBJECT QUEUE`.
async fn everything(wire: &mut Wire) -> Vec<String> {
    let mut permitted = Vec::new();
    for subject in SUBJECTS {
        let is_literal = !subject.contains(['*', '>']);
        if is_literal && wire.may_publish(subject).await {
            permitted.push(format!("pub:{subject}"));
        }
        for queue in QUEUES {
            let subject = format!("{subject}{queue}");
            if wire.may_subscribe(&subject).await {
                permitted.push(format!("sub:{subject}"));
            }
        }
    }
    permitted
}

/// How often a client may reply to one message.
async fn replies_are_the_same(imported: &Imported) {
    for (user, subject, expected) in
        [("eve", "svc.eve", 1), ("finn", "free.a", 3), ("alice", "app.a", 0)]
    {
        for server in [&imported.before, &imported.after] {
            let mut client = Wire::connect(server, &Login::User(user, user)).await.unwrap();
            client.ask(&format!("SUB {subject} 9\r\n")).await;
            let mut asker = Wire::connect(server, &Login::User("carl", "carl")).await.unwrap();
            asker.ask("SUB answers.1 8\r\n").await;
            asker.ask(&format!("PUB {subject} answers.1 1\r\nx\r\n")).await;
            while client.ask("").await.is_empty() {}
            let mut replies = 0;
            while replies < 10 && client.may_publish("answers.1").await {
                replies += 1;
            }
            assert_eq!(replies, expected, "{user}");
        }
    }
}

#[tokio::test]
async fn single_user_becomes_an_entry() {
    let conf = "authorization { user: app, password: $SECRET, timeout: 3 }\nSECRET: 'it''s'\n";
    // nats-server ends the string at the second quote, and takes no further text.
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(super::import(folder.path(), conf, &[]).code, 2);
    let conf = "SECRET: 's3cret'\nauthorization { user: app, password: $SECRET, timeout: 3 } # end";
    let imported = Imported::start("2.15", conf).await;
    assert_eq!(imported.output.code, 0, "{:?}", imported.output);
    for server in [&imported.before, &imported.after] {
        let mut app = Wire::connect(server, &Login::User("app", "s3cret")).await.unwrap();
        assert!(app.may_publish("any.thing").await && app.may_subscribe(">").await);
        assert!(Wire::connect(server, &Login::User("app", "wrong")).await.is_err());
    }
}

#[tokio::test]
async fn token_becomes_an_entry() {
    let conf = "authorization {\n  token: \"T0ken value\"\n  timeout: 3\n}\n";
    let imported = Imported::start("2.15", conf).await;
    assert_eq!(imported.output.code, 0, "{:?}", imported.output);
    for server in [&imported.before, &imported.after] {
        let mut app = Wire::connect(server, &Login::Token("T0ken value")).await.unwrap();
        assert!(app.may_publish("any.thing").await && app.may_subscribe(">").await);
        assert!(Wire::connect(server, &Login::Token("other")).await.is_err());
    }
}

#[tokio::test]
async fn users_that_cannot_be_taken_over_stay_as_they_are() {
    let conf = r#"
no_auth_user: guest
accounts {
  APP {
    users: [
      { user: guest, password: guest, permissions: { publish: "guest.>", subscribe: "guest.>" } }
      { user: empty, permissions: { publish: "e.>", subscribe: "e.>" } }
      { user: braces, password: braces, permissions: { publish: "{{name()}}.>", subscribe: "b.>" } }
      { user: alice, password: alice }
    ]
  }
}
"#;
    let imported = Imported::start("2.15", conf).await;
    assert_eq!(imported.output.code, 1, "{:?}", imported.output);
    has(
        &imported.output.stdout,
        &[
            "left out  nats-server.conf:2:1: `no_auth_user`: clients without a credential stay user `guest`",
            "user `empty` stays in nats-server.conf: it has no password",
            "user `braces` stays in nats-server.conf: `{{name()}}.>`: Callgate would read the braces as a template",
            "3 users stay with nats-server",
        ],
    );
    let logins = [
        Login::None,
        Login::User("empty", ""),
        Login::User("braces", "braces"),
        Login::User("alice", "alice"),
    ];
    for login in &logins {
        let mut before = Wire::connect(&imported.before, login).await.unwrap();
        let mut after = Wire::connect(&imported.after, login).await.unwrap();
        for subject in ["guest.a", "e.a", "b.a", "{{name()}}.a", "other"] {
            assert_eq!(
                before.may_publish(subject).await,
                after.may_publish(subject).await,
                "{subject}"
            );
            assert_eq!(
                before.may_subscribe(subject).await,
                after.may_subscribe(subject).await,
                "{subject}"
            );
        }
    }
}
