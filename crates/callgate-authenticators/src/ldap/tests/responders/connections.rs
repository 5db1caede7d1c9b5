//! Connections that are bounded and reused, and answers that are shared.

use super::*;

#[tokio::test]
async fn search_connections_never_bind_as_users() {
    let responder = LdapResponder::start(usual).await;
    let ldap = ldap(&responder);
    let logins = (0..20).map(|number| {
        let ldap = &ldap;
        async move { login(ldap, "alice", &format!("canary-{number}")).await.unwrap() }
    });
    join_all(logins).await;
    let seen = responder.seen_by_connection();
    for number in 0..responder.connections() {
        let own = || seen.iter().filter(|(connection, _)| *connection == number);
        let searches = own().any(|(_, seen)| matches!(seen, Seen::Search(..)));
        let binds = own().any(|(_, seen)| matches!(seen, Seen::Bind(name, _) if name != SERVICE));
        assert!(searches != binds, "connection {number}: {:?}", own().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn number_of_connections_is_bounded() {
    let responder = LdapResponder::start(usual).await;
    let ldap = ldap_at(
        &format!("\"{}\"", responder.url()),
        "connections = 3\ngroups.from = \"search\"\ngroups.base = \"ou=groups,dc=x\"",
    );
    let logins = (0..100).map(|number| {
        let ldap = &ldap;
        async move { login(ldap, "alice", &format!("canary-{number}")).await.unwrap() }
    });
    join_all(logins).await;
    // The responder notices that a connection was closed a moment after the next one is open.
    assert!(responder.most_open() <= 6, "{}", responder.most_open());
    eventually("idle connections", PATIENCE, async || (responder.open() <= 3).then_some(())).await;
}

#[tokio::test]
async fn bursts_of_logins_reuse_connections() {
    let responder = LdapResponder::start(usual).await;
    let ldap = ldap(&responder);
    for burst in 0..5 {
        let logins = (0..100).map(|number| {
            let ldap = &ldap;
            async move { login(ldap, "alice", &format!("canary-{burst}-{number}")).await.unwrap() }
        });
        join_all(logins).await;
    }
    // The default is 16 connections.
    assert!(responder.connections() <= 16, "{}", responder.connections());
}

#[tokio::test]
async fn one_connection_is_enough() {
    let responder = LdapResponder::start(usual).await;
    let url = format!("\"{}\"", responder.url());
    let ldap = ldap_at(&url, "connections = 1\ngroups.from = \"none\"");
    join_all((0..10).map(|number| {
        let ldap = &ldap;
        async move { login(ldap, "alice", &format!("canary-{number}")).await.unwrap() }
    }))
    .await;
    eventually("one connection", PATIENCE, async || (responder.open() <= 1).then_some(())).await;
}

#[tokio::test]
async fn identical_logins_share_one_query_and_its_answer() {
    let responder = LdapResponder::start(usual).await;
    let ldap = ldap(&responder);
    join_all((0..50).map(|_| login(&ldap, "alice", "canary"))).await;
    login(&ldap, "alice", "canary").await.unwrap();
    assert_eq!(user_binds(&responder), [(ALICE.to_owned(), "canary".to_owned())]);
    login(&ldap, "ALICE", "canary").await.unwrap();
    assert_eq!(user_binds(&responder).len(), 2);
}

#[tokio::test]
async fn nothing_is_remembered_with_the_cache_off() {
    let responder = LdapResponder::start(usual).await;
    let mut context = context();
    context.services.cache.passwords = Duration::ZERO;
    let toml = toml(&format!("\"{}\"", responder.url()), "groups.from = \"none\"");
    let ldap = try_build(&toml, &context).unwrap();
    for _ in 0..2 {
        login(&ldap, "alice", "canary").await.unwrap();
    }
    assert_eq!(user_binds(&responder).len(), 2);
}

#[tokio::test]
async fn only_code_49_is_remembered() {
    for (code, binds) in [(49, 1), (53, 3), (52, 3)] {
        let responder = LdapResponder::start(self::binds(one(bind_result(code, "", &[])))).await;
        let ldap = ldap(&responder);
        for _ in 0..3 {
            login(&ldap, "alice", "canary").await.unwrap_err();
        }
        assert_eq!(user_binds(&responder).len(), binds, "{code}");
    }
}

#[tokio::test]
async fn server_that_worked_last_is_tried_first() {
    let dead = format!("ldap://127.0.0.1:{}", callgate_testkit::ports::free_port());
    let bad = LdapResponder::start(binds(Reply::Close)).await;
    let good = LdapResponder::start(usual).await;
    let urls = format!("[\"{dead}\", \"{}\", \"{}\"]", bad.url(), good.url());
    let ldap = ldap_at(&urls, "groups.from = \"none\"");
    unavailable(&ldap, "alice", "canary-1").await;
    // The search connection to the bad server is still good; the next bind goes elsewhere.
    for number in 2..5 {
        assert!(login(&ldap, "alice", &format!("canary-{number}")).await.is_ok());
    }
    assert_eq!(user_binds(&bad).len(), 1);
    assert_eq!(user_binds(&good).len(), 3);
    let ldap = ldap_at(&format!("[\"{dead}\"]"), "groups.from = \"none\"");
    let error = unavailable(&ldap, "alice", "canary").await;
    assert!(error.contains(&dead) && !error.contains("canary"), "{error}");
}
