//! Thousands of sessions.

use std::time::Duration;

use callgate_testkit::{eventually, wait::LONG};
use futures_util::{StreamExt, stream};

use super::world::{Options, World};

/// Connections at each of three servers: more than one answer of a server lists by default (1024).
const AT_SERVERS: [usize; 3] = [1400, 800, 800];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_1024_sessions_of_a_user_are_all_listed_and_kicked() {
    raise_limit_of_files();
    let options = Options { servers: 3, replicas: 3, reconcile: "10m", ..Options::default() };
    let world = World::with(options).await;
    let places = AT_SERVERS.iter().enumerate();
    let places = places.flat_map(|(server, count)| std::iter::repeat_n(server, *count));
    let logins = stream::iter(places).map(async |server| {
        let mut client = world.raw_login(server, "fast-alice").await;
        while !client.is_admitted().await {
            // Too many at once for a busy machine.
            tokio::time::sleep(Duration::from_millis(100)).await;
            client = world.raw_login(server, "fast-alice").await;
        }
        client
    });
    let mut clients: Vec<_> = logins.buffer_unordered(32).collect().await;
    let other = world.login("bob").await;
    let all: usize = AT_SERVERS.iter().sum();
    assert_eq!(clients.len(), all);
    eventually("all sessions are listed", LONG, async || {
        let listed = world.run_aside(&["sessions", "--user", "fast", "--json"]).await.json();
        let sessions = listed["sessions"].as_array().unwrap();
        let attributed = sessions.iter().filter(|it| it["attributed"] == true).count();
        (sessions.len() == all && attributed == all && listed["complete"] == true).then_some(())
    })
    .await;
    let kick = ["kick", "--user", "fast", "--yes", "--wait", "60s", "--json"];
    let kicked = world.run_aside(&kick).await;
    assert_eq!(kicked.code, 0, "{}", kicked.stderr);
    let kicked = kicked.json();
    assert_eq!((&kicked["kicked"], &kicked["failed"]), (&all.into(), &0.into()));
    for client in &mut clients {
        client.closed().await;
    }
    world.sessions(0, &["--user", "fast"]).await;
    assert_eq!(world.sessions(1, &["--user", "bob"]).await[0]["authenticator"], "staff");
    drop(other);
}

/// Each connection is an open file of this process, and many systems allow 1,024.
fn raise_limit_of_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}
