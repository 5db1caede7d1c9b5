//! Orders on real servers.

use callgate_testkit::{
    NatsCluster, NatsServer, eventually,
    wait::{LONG, PATIENCE},
};

use super::{orders::NotStored, store::WriteError, *};

const JETSTREAM: &str = "jetstream { store_dir: \"{{dir}}/jetstream\", max_file_store: 64MB }";

fn settings(replicas: usize) -> StateSettings {
    StateSettings {
        bucket: "callgate".to_owned(),
        create: true,
        replicas,
        required: true,
        mode: StateMode::BestEffort,
        max_stale: Duration::from_secs(5),
    }
}

async fn member(url: &str, replicas: usize) -> Arc<State> {
    let client = async_nats::connect(url).await.unwrap();
    let settings = settings(replicas);
    let replicas = Replicas::member("q", settings.pulse());
    let state = State::member(settings, replicas, Arc::default());
    state.replicas().start(&client);
    state.start(&client);
    state.known().await;
    state
}

async fn know_each_other(all: &[Arc<State>]) {
    eventually("replicas to know each other", LONG, async || {
        let knows_all = |one: &Arc<State>| one.replicas().peers_alive().len() == all.len() - 1;
        all.iter().all(knows_all).then_some(())
    })
    .await;
}

fn order(user: &str) -> NewLock {
    NewLock {
        target: Target { user: Some(user.to_owned()), ..Target::default() },
        ends: Ends::After(Duration::from_secs(3600)),
        reason: Some("laptop stolen".to_owned()),
        actor: "root".to_owned(),
        kick: true,
    }
}

fn refuses(state: &State, user: &str) -> bool {
    let candidate = Candidate::of_staff(user);
    state.check(&candidate).is_some_and(|lock| lock.refuse().lock.is_some())
}

#[tokio::test]
async fn lock_is_confirmed_listed_and_removed_on_every_replica() {
    let server = NatsServer::start(JETSTREAM).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(member(&server.url(), 1).await);
    }
    know_each_other(&all).await;
    let lock = all[0].lock(order("alice")).await.unwrap();
    let confirmations = all[0].confirmations(&lock.id, PATIENCE).await;
    assert_eq!((confirmations.confirmed.len(), confirmations.unconfirmed.len()), (3, 0));
    assert!(all.iter().all(|state| refuses(state, "alice") && !refuses(state, "bob")));
    // Each replica refused once.
    let listed = all[2].list().await;
    let [listed] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((&listed.id, listed.refused, &listed.unreadable), (&lock.id, 3, &None));
    let stored = listed.lock.as_ref().unwrap();
    assert_eq!(
        (stored.actor.as_deref(), stored.reason.as_deref()),
        (Some("root"), Some("laptop stolen"))
    );
    assert!(stored.ends.is_some());
    assert_eq!(all[1].unlock("0000000000", "root").await, Err(NotUnlocked::NoSuchLock));
    all[1].unlock(&lock.id, "root").await.unwrap();
    eventually("the lock to be gone", LONG, async || {
        all.iter().all(|state| !refuses(state, "alice")).then_some(())
    })
    .await;
    assert!(all[0].list().await.is_empty());
}

#[tokio::test]
async fn silent_replica_is_named_as_not_confirmed() {
    let server = NatsServer::start(JETSTREAM).await;
    let state = member(&server.url(), 1).await;
    // A replica that takes part in messages and never says that it has a lock.
    let silent = Replicas::member("q", settings(1).pulse());
    silent.start(&async_nats::connect(server.url()).await.unwrap());
    eventually("the silent replica", LONG, async || {
        state.replicas().is_alive(silent.id()).then_some(())
    })
    .await;
    let lock = state.lock(order("alice")).await.unwrap();
    let confirmations = state.confirmations(&lock.id, Duration::from_secs(1)).await;
    assert_eq!(confirmations.confirmed, [state.replicas().id().clone()]);
    assert_eq!(confirmations.unconfirmed, [silent.id().clone()]);
}

#[tokio::test]
async fn lock_is_not_reported_as_stored_if_the_put_timed_out() {
    for line in ["2.10", "2.12", "2.15"] {
        put_times_out(NatsCluster::start_version(line, 3, JETSTREAM).await).await;
    }
}

async fn put_times_out(mut cluster: NatsCluster) {
    let state = member(&cluster.servers[0].url(), 3).await;
    state.lock(order("alice")).await.unwrap();
    for server in &mut cluster.servers[1..] {
        server.freeze().await;
    }
    let error = state.lock(order("bob")).await.unwrap_err();
    let is_unconfirmed = matches!(
        error,
        NotStored::NotConfirmed(_)
            | NotStored::Write(WriteError::NoAnswer(_) | WriteError::NoBucket(_))
    );
    assert!(is_unconfirmed, "{error}");
    assert!(refuses(&state, "alice") && !refuses(&state, "bob"));
    let error = state.unlock(&state.list().await[0].id, "root").await.unwrap_err();
    assert!(matches!(error, NotUnlocked::Write(_)), "{error}");
    assert!(refuses(&state, "alice"), "a lock is not removed only locally");
    for server in &mut cluster.servers[1..] {
        server.thaw();
    }
    eventually("a lock with a quorum", LONG, async || state.lock(order("carol")).await.ok()).await;
}

#[tokio::test]
async fn impossible_locks_are_refused() {
    let server = NatsServer::start(JETSTREAM).await;
    let state = member(&server.url(), 1).await;
    let nothing = NewLock { target: Target::default(), ..order("x") };
    assert_eq!(state.lock(nothing).await.unwrap_err(), NotStored::NoTarget);
    let long = NewLock { reason: Some("x".repeat(9000)), ..order("alice") };
    assert!(matches!(state.lock(long).await.unwrap_err(), NotStored::TooLong(_)));
    for number in 0..MAX_LOCKS {
        state.locks().put(&number.to_string(), br#"{"v":1,"target":{"user":"u"}}"#);
    }
    assert_eq!(state.lock(order("alice")).await.unwrap_err(), NotStored::TooMany);
}

#[tokio::test]
async fn command_without_a_replica_gives_orders() {
    let server = NatsServer::start(JETSTREAM).await;
    let state = member(&server.url(), 1).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let replicas = Replicas::visitor("q", settings(1).pulse());
    let visitor = State::visitor(settings(1), replicas);
    visitor.replicas().start(&client);
    visitor.start(&client);
    visitor.known().await;
    let lock = visitor.lock(order("alice")).await.unwrap();
    let confirmations = visitor.confirmations(&lock.id, PATIENCE).await;
    assert_eq!(confirmations.confirmed, [state.replicas().id().clone()]);
    assert!(confirmations.unconfirmed.is_empty());
    assert!(refuses(&state, "alice"));
}

#[tokio::test]
async fn thousands_of_locks_pass_between_replicas() {
    let server = NatsServer::start(JETSTREAM).await;
    let state = member(&server.url(), 1).await;
    for number in 0..5_000 {
        let value = format!(
            r#"{{"v":1,"target":{{"user":"user{number}"}},"reason":"{}"}}"#,
            "x".repeat(200)
        );
        state.locks().put(&format!("L{number}"), value.as_bytes());
    }
    state.publish_locks();
    // This one has no bucket to read.
    let client = async_nats::connect(server.url()).await.unwrap();
    let settings = StateSettings { bucket: "missing".to_owned(), create: false, ..settings(1) };
    let replicas = Replicas::member("q", settings.pulse());
    let newest = State::member(settings, replicas, Arc::default());
    newest.replicas().start(&client);
    newest.start(&client);
    newest.known().await;
    assert!(newest.waiting_for().is_none());
    assert!(
        refuses(&newest, "user0") && refuses(&newest, "user4999") && !refuses(&newest, "user5000")
    );
}
