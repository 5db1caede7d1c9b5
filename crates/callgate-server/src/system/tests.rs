//! Against real servers of several lines, in both modes.

mod world;

use callgate::connection::ConnectionKind;
use callgate_testkit::{
    NatsServer, eventually,
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
