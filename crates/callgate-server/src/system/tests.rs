//! Against real servers of several lines, in both modes.

mod world;

use std::{future::ready, pin::pin};

use callgate::connection::ConnectionKind;
use callgate_testkit::{
    eventually,
    wait::{LONG, PATIENCE},
};
use futures_util::{StreamExt, future::join_all};
use tokio::time::timeout;

use super::*;
use world::{Mode, World, versions};

/// Each mode and each line.
fn everywhere() -> impl Iterator<Item = (Mode, String)> {
    Mode::ALL.into_iter().flat_map(|mode| versions().map(move |version| (mode, version)))
}

#[tokio::test]
async fn connections_are_listed_and_closed_by_key() {
    for (mode, version) in everywhere() {
        let world = World::start(mode, &version).await;
        let mut alice = world.login("alice").await;
        let bob = world.login("bob").await;
        let carol = world.login("carol").await;
        let all = world.list(&ConnzFilter::default()).await;
        assert_eq!(world.users(&all), ["alice", "bob", "carol"], "{mode:?} {version}");
        assert!(all.is_complete(), "{mode:?} {version}: {all:?}");
        let of_app = ConnzFilter { user: None, account: Some("APP".to_owned()) };
        assert_eq!(world.users(&world.list(&of_app).await), ["alice", "bob"], "{mode:?} {version}");
        let listing = world.list(&world.by_user("alice")).await;
        let [one] = &listing.connections[..] else { panic!("{version}: {listing:?}") };
        assert_eq!((&*one.account, one.kind), ("APP", ConnectionKind::Nats), "{mode:?} {version}");
        assert_eq!(one.client_name, "tester");
        assert!(one.source.is_some_and(|source| source.is_loopback()), "{one:?}");
        assert!(one.since.seconds() > 1_700_000_000, "{one:?}");
        assert_eq!(one.key.client_id, alice.client.server_info().client_id);
        let kick = async |key| world.system.kick(key, Priority::Kick, "kick").await;
        assert_eq!(kick(one.key).await, KickResult::Kicked, "{mode:?} {version}");
        alice.hears("disconnected").await;
        assert_eq!(kick(one.key).await, KickResult::AlreadyGone, "{mode:?} {version}");
        // The others were not touched.
        for session in [&bob, &carol] {
            let listing = world.list(&ConnzFilter::default()).await;
            let id = session.client.server_info().client_id;
            assert!(listing.connections.iter().any(|it| it.key.client_id == id), "{version}");
        }
        let sample = "callgate_kicks_total{cause=\"kick\",result=\"kicked\"}";
        assert_eq!(world.metric(sample), Some(1.0));
    }
}

#[tokio::test]
async fn pages_end_at_an_empty_page_not_at_total() {
    for (mode, version) in everywhere() {
        let world = World::start(mode, &version).await;
        let users = ["alice", "bob", "alice", "alice", "bob", "alice", "alice", "alice", "alice"];
        let _sessions = join_all(users.map(|user| world.login(user))).await;
        let filter = ConnzFilter { account: Some("APP".to_owned()), ..world.by_user("alice") };
        for page in [2, 3, 7, 8] {
            let listing = world.system.connections_by_page(&filter, page).await.unwrap();
            assert_eq!(world.users(&listing), ["alice"; 7], "{mode:?} {version}, pages of {page}");
            let all =
                world.system.connections_by_page(&ConnzFilter::default(), page).await.unwrap();
            assert_eq!(all.connections.len(), 9, "{mode:?} {version}, pages of {page}");
        }
    }
}

#[tokio::test]
async fn unknown_account_lists_nothing_and_is_not_an_error() {
    for (mode, version) in everywhere() {
        let world = World::start(mode, &version).await;
        let _alice = world.login("alice").await;
        for account in ["NOPE", "AUTH", "SYS", "$G", "*", "A P"] {
            let filter = ConnzFilter { user: None, account: Some(account.to_owned()) };
            let listing = world.list(&filter).await;
            assert!(listing.connections.is_empty(), "{mode:?} {version} {account}: {listing:?}");
            assert!(listing.is_complete(), "{mode:?} {version} {account}: {listing:?}");
        }
    }
}

#[tokio::test]
async fn pending_login_is_not_listed_as_session_of_the_typed_name() {
    for (mode, version) in everywhere() {
        let world = World::start(mode, &version).await;
        let url = world.servers.servers[0].url();
        let options = world.logins.unknown("dave").name("pending");
        let login = tokio::spawn(options.connect(url));
        let pending = eventually("a pending login", PATIENCE, async || {
            let all = world.raw_connections().await;
            all.into_iter().find(|listed| listed["authorized_user"] == "dave")
        })
        .await;
        let listing = world.list(&ConnzFilter::default()).await;
        assert!(listing.connections.is_empty(), "{mode:?} {version}: {listing:?}");
        let typed: Vec<_> = listing.without_account.iter().map(|it| it.user.as_str()).collect();
        match mode {
            Mode::Configuration => assert_eq!(typed, ["dave"], "{version}"),
            // The server lists it in the callout account.
            Mode::Operator => assert!(typed.is_empty(), "{version}: {pending}"),
        }
        login.abort();
    }
}

#[tokio::test]
async fn leaf_node_is_listed_and_kicked_on_2_10_too() {
    for (mode, version) in everywhere() {
        let world = World::start(mode, &version).await;
        let _native = world.login("alice").await;
        let _leaf = world.leaf_node("alice").await;
        let is_leaf = |it: &Connection| it.kind == ConnectionKind::LeafNode;
        let leaf_node = async |filter: &ConnzFilter| {
            let listing = world.list(filter).await;
            listing.connections.into_iter().find(is_leaf)
        };
        let description = format!("a leaf node, {mode:?} {version}");
        let listed =
            eventually(&description, LONG, async || leaf_node(&ConnzFilter::default()).await).await;
        assert_eq!(&*listed.account, "APP", "{mode:?} {version}");
        assert_eq!(leaf_node(&world.by_user("alice")).await, Some(listed.clone()), "{version}");
        assert_eq!(leaf_node(&world.by_user("bob")).await, None, "{version}");
        let kicked = world.system.kick(listed.key, Priority::Lock, "lock").await;
        assert_eq!(kicked, KickResult::Kicked, "{mode:?} {version}");
        eventually("the leaf node is back with another key", LONG, async || {
            let again = leaf_node(&ConnzFilter::default()).await?;
            (again.key != listed.key).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn unresponsive_server_makes_the_list_incomplete() {
    for mode in Mode::ALL {
        let mut world = World::cluster(mode).await;
        let _sessions = join_all([0, 1, 2].map(|server| world.login_at(server, "alice"))).await;
        let all = world.lists(&ConnzFilter::default(), &["alice"; 3]).await;
        assert_eq!((all.servers.expected, all.servers.answered), (3, 3), "{mode:?}");
        assert!(all.is_complete(), "{mode:?}: {:?}", all.servers);
        let servers: BTreeSet<&str> = all.connections.iter().map(|it| &*it.server).collect();
        assert_eq!(servers, BTreeSet::from(["s0", "s1", "s2"]));
        world.servers.servers[2].freeze().await;
        let part = world.list(&ConnzFilter::default()).await;
        assert_eq!(world.users(&part), ["alice"; 2], "{mode:?}");
        assert_eq!((part.servers.expected, part.servers.answered), (3, 2), "{mode:?}");
        assert_eq!(
            (part.is_complete(), &part.servers.missing[..]),
            (false, &["s2".to_owned()][..])
        );
        assert_eq!(world.metric("callgate_system_servers{answer=\"missing\"}"), Some(1.0));
        let frozen = all.connections.iter().find(|it| &*it.server == "s2").unwrap();
        let kicked = world.system.kick(frozen.key, Priority::Lock, "lock").await;
        assert!(matches!(kicked, KickResult::Failed(_)), "{mode:?}: {kicked:?}");
        world.servers.servers[2].thaw();
        eventually("a complete list", LONG, async || {
            world.list(&ConnzFilter::default()).await.is_complete().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn kick_by_cid_never_hits_another_user_if_filter_is_ignored() {
    let world = World::cluster(Mode::Configuration).await;
    let mut alice = world.login_at(1, "alice").await.unwrap();
    let bobs = join_all([0, 1, 2].map(|server| world.login_at(server, "bob"))).await;
    let listing = world.lists(&ConnzFilter::default(), &["alice", "bob", "bob", "bob"]).await;
    let of_alice = listing.connections.iter().find(|it| it.user == "alice").unwrap();
    let kicked = world.system.kick(of_alice.key, Priority::Lock, "lock").await;
    assert_eq!(kicked, KickResult::Kicked);
    alice.hears("disconnected").await;
    for bob in &bobs {
        bob.as_ref().unwrap().client.flush().await.unwrap();
    }
    let again = world.list(&by_name("bob")).await;
    let keys = |listing: &Listing| -> BTreeSet<SessionKey> {
        let of_bob = listing.connections.iter().filter(|it| it.user == "bob");
        of_bob.map(|it| it.key).collect()
    };
    assert_eq!(keys(&again), keys(&listing));
}

fn by_name(user: &str) -> ConnzFilter {
    ConnzFilter { user: Some(user.to_owned()), account: None }
}

#[tokio::test]
async fn own_connections_are_never_closed() {
    let world = World::start(Mode::Configuration, "2.15").await;
    for client in [world.system.client.get(), world.system.callout.get()] {
        let info = client.unwrap().server_info();
        let key = SessionKey { server: info.server_id.parse().unwrap(), client_id: info.client_id };
        let kicked = world.system.kick(key, Priority::Kick, "kick").await;
        assert!(matches!(kicked, KickResult::Failed(_)), "{kicked:?}");
        client.unwrap().flush().await.unwrap();
    }
}

#[tokio::test]
async fn kick_waits_for_the_connection_and_restarted_servers_have_no_sessions() {
    let mut world = World::start(Mode::Configuration, "2.15").await;
    let alice = world.login("alice").await;
    let listing = world.list(&ConnzFilter::default()).await;
    let key = listing.connections[0].key;
    let mut link = world.system.link();
    world.servers.servers[0].stop().await;
    drop(alice);
    timeout(LONG, link.wait_for(|link| *link == Link::Down)).await.unwrap().unwrap();
    assert_eq!(
        world.system.connections(&ConnzFilter::default()).await.unwrap_err(),
        Unavailable::NotConnected
    );
    assert_eq!(world.metric("callgate_system_connected"), Some(0.0));
    let system = Arc::clone(&world.system);
    let kick = tokio::spawn(async move { system.kick(key, Priority::Lock, "lock").await });
    world.servers.servers[0].restart().await;
    let result = timeout(LONG, kick).await.unwrap().unwrap();
    // As long as the servers have not been counted, the connection might still be there.
    assert!(matches!(result, KickResult::AlreadyGone | KickResult::Failed(_)), "{result:?}");
    eventually("the server is known to have stopped", LONG, async || {
        let _ = world.system.connections(&ConnzFilter::default()).await;
        let result = world.system.kick(key, Priority::Lock, "lock").await;
        (result == KickResult::AlreadyGone).then_some(())
    })
    .await;
}

#[tokio::test]
async fn missing_permission_is_named() {
    for (mode, version) in everywhere() {
        for absent in ["$SYS.REQ.SERVER.*.KICK", "$SYS.REQ.SERVER.PING"] {
            let publishes: Vec<&str> =
                permissions::PUBLISHES.into_iter().filter(|subject| *subject != absent).collect();
            let logins = world::server(mode, &version, &publishes).await;
            let client = logins.client("system").await;
            let found = permissions::examine(&client).await;
            let named = format!("no permission to publish `{absent}`");
            assert!(found.problems.iter().any(|it| it.contains(&named)), "{version}: {found:?}");
        }
        let logins = world::server(mode, &version, &permissions::PUBLISHES).await;
        let good = permissions::examine(&logins.client("system").await).await;
        assert_eq!(good, permissions::Abilities::default(), "{mode:?} {version}");
        let wide = permissions::examine(&logins.client("admin").await).await;
        assert_eq!(
            (wide.problems.len(), wide.warnings.len()),
            (0, 1),
            "{mode:?} {version}: {wide:?}"
        );
        let other = permissions::examine(&logins.client("alice").await).await;
        assert!(other.problems[0].contains("must log in to the system account"), "{other:?}");
    }
}

/// What a refused client sent, and no event may keep.
const CANARY: &str = "canary";

#[tokio::test]
async fn one_refused_login_is_one_server_error_despite_two_events() {
    for (mode, version) in everywhere() {
        let world = World::start(mode, &version).await;
        world.refuses().await;
        let mut events = world.system.events();
        let url = world.servers.servers[0].url();
        for _ in 0..3 {
            let refused = world.logins.unknown("dave").connect(&url).await;
            assert!(refused.is_err(), "{mode:?} {version}");
        }
        let alice = world.login("alice").await;
        let mut failed = BTreeSet::new();
        let mut connected = BTreeSet::new();
        let mut ended = BTreeSet::new();
        eventually("the events of refused and admitted logins", LONG, async || {
            while let Ok(event) = events.try_recv() {
                let is_new = match event {
                    SystemEvent::LoginFailed(key) => failed.insert(key),
                    SystemEvent::Connected(connection) => connected.insert(connection.key),
                    SystemEvent::Disconnected(end) => ended.insert(end.key),
                };
                assert!(is_new, "{mode:?} {version}");
            }
            let id = alice.client.server_info().client_id;
            let is_in = connected.iter().any(|key| key.client_id == id);
            (failed.len() == 3 && is_in).then_some(())
        })
        .await;
        assert_eq!(
            world.metric("callgate_server_auth_errors_total"),
            Some(3.0),
            "{mode:?} {version}"
        );
        // Refused logins end without having begun.
        assert!(failed.is_disjoint(&connected) && ended.is_subset(&failed), "{mode:?} {version}");
    }
}

#[tokio::test]
async fn guesses_at_the_break_glass_password_are_counted() {
    for version in versions() {
        let world = World::start(Mode::Configuration, &version).await;
        let url = world.servers.servers[0].url();
        let options =
            async_nats::ConnectOptions::with_user_and_password("admin".into(), "x".into());
        assert!(options.connect(&url).await.is_err());
        eventually("the refused login is counted", PATIENCE, async || {
            (world.metric("callgate_server_auth_errors_total") == Some(1.0)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn no_secret_of_a_server_event_is_kept() {
    for (mode, version) in everywhere() {
        let world = World::start(mode, &version).await;
        world.refuses().await;
        let admin = world.login("admin").await;
        let raw_errors = admin.client.subscribe("$SYS.SERVER.*.CLIENT.AUTH.ERR").await.unwrap();
        admin.client.flush().await.unwrap();
        let mut events = world.system.events();
        let url = world.servers.servers[0].url();
        let token = world.logins.unknown_token(&format!("{CANARY}-token"));
        assert!(token.connect(&url).await.is_err(), "{mode:?} {version}");
        world.mqtt_login("dave", &format!("{CANARY}-password")).await;
        eventually("two refused logins", LONG, async || {
            (world.metric("callgate_server_auth_errors_total") >= Some(2.0)).then_some(())
        })
        .await;
        if version.starts_with("2.10.") {
            let with_secret = raw_errors
                .filter(|event| ready(String::from_utf8_lossy(&event.payload).contains(CANARY)));
            timeout(LONG, pin!(with_secret).next()).await.unwrap().unwrap();
        }
        while let Ok(event) = events.try_recv() {
            assert!(!format!("{event:?}").contains(CANARY), "{mode:?} {version}: {event:?}");
        }
        assert!(!world.metrics.render().unwrap().contains(CANARY));
        assert!(!format!("{:?}", world.system).contains(CANARY));
    }
}
