use callgate_testkit::{
    NatsServer, eventually,
    wait::{LONG, PATIENCE},
};

use super::*;

const PULSE: Duration = Duration::from_millis(200);

async fn member(server: &NatsServer, queue: &str) -> Arc<Replicas> {
    let client = async_nats::connect(server.url()).await.unwrap();
    let replicas = Replicas::member(queue, PULSE);
    replicas.start(&client);
    replicas
}

async fn know_each_other(all: &[&Arc<Replicas>]) {
    eventually("replicas to know each other", LONG, async || {
        all.iter().all(|one| one.peers_alive().len() == all.len() - 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn replicas_of_one_queue_know_each_other() {
    let server = NatsServer::start("").await;
    let one = member(&server, "q").await;
    let two = member(&server, "q").await;
    let other = member(&server, "p").await;
    know_each_other(&[&one, &two]).await;
    assert!(one.is_alive(two.id()) && one.is_alive(one.id()));
    assert!(other.peers_alive().is_empty());
    assert!(one.is_first() != two.is_first(), "exactly one is the first");
    two.shut_down().await;
    eventually("the replica to be gone", PATIENCE, async || {
        one.peers_known().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn peers_receive_what_a_replica_publishes() {
    let server = NatsServer::start("").await;
    let one = member(&server, "q").await;
    let two = member(&server, "q").await;
    let mut received = two.subscribe("news");
    let mut own = one.subscribe("news");
    know_each_other(&[&one, &two]).await;
    one.publish("news", b"hello".to_vec()).await;
    let message = received.recv().await.unwrap();
    assert_eq!((&message.from, &message.payload[..]), (one.id(), &b"hello"[..]));
    assert!(own.try_recv().is_err(), "a replica does not receive its own messages");
}

#[tokio::test]
async fn command_that_publishes_is_not_a_replica() {
    let server = NatsServer::start("").await;
    let one = member(&server, "q").await;
    let two = member(&server, "q").await;
    let mut received = two.subscribe("news");
    know_each_other(&[&one, &two]).await;
    let command = Replicas::visitor("q", PULSE);
    command.start(&async_nats::connect(server.url()).await.unwrap());
    command.publish("news", b"hello".to_vec()).await;
    assert_eq!(received.recv().await.unwrap().from, *command.id());
    assert!(!two.is_alive(command.id()) && two.peers_known() == [one.id().clone()]);
}

#[tokio::test]
async fn answers_in_parts_arrive_from_every_peer() {
    let server = NatsServer::start("").await;
    let one = member(&server, "q").await;
    let two = member(&server, "q").await;
    let three = member(&server, "q").await;
    for (replica, parts) in [(&two, ["a", "b"]), (&three, ["c", "d"])] {
        replica.respond("letters", move |message: PeerMessage| {
            let end = String::from_utf8_lossy(&message.payload).into_owned();
            async move { parts.iter().map(|part| format!("{part}{end}").into_bytes()).collect() }
        });
    }
    know_each_other(&[&one, &two, &three]).await;
    let answers = one.ask_all("letters", b"!".to_vec(), LONG).await;
    let mut answers: Vec<_> =
        answers.iter().map(|(_, part)| String::from_utf8_lossy(part).into_owned()).collect();
    answers.sort();
    assert_eq!(answers, ["a!", "b!", "c!", "d!"]);
    let any = one.ask_any("letters", Vec::new(), LONG).await.unwrap();
    assert!(
        [["a", "b"], ["c", "d"]].iter().any(|parts| any == parts.map(str::as_bytes)),
        "{any:?}"
    );
    assert_eq!(one.ask_any("numbers", Vec::new(), PULSE).await, None);
}

#[tokio::test]
async fn visitor_asks_and_is_no_replica() {
    let server = NatsServer::start("").await;
    let one = member(&server, "q").await;
    one.respond("name", |_| async { vec![b"one".to_vec()] });
    let visitor = Replicas::visitor("q", PULSE);
    visitor.start(&async_nats::connect(server.url()).await.unwrap());
    let answer =
        eventually("an answer", LONG, async || visitor.ask_any("name", Vec::new(), PULSE).await)
            .await;
    assert_eq!(answer, [&b"one"[..]]);
    assert!(one.peers_known().is_empty() && !visitor.is_first());
}
