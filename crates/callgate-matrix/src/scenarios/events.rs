//! What others learn of logins, through the system account.

use async_nats::Subscriber;
use callgate_testkit::{nats_server::Version, wait::PATIENCE};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    library::{Library, by_name},
    server,
};
use crate::{
    clients::{Login, options},
    mode::Mode,
    observers,
    report::Outcome,
    site::{Site, Variation},
};

pub(super) async fn published(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let _service = Library::start(&site, &server, by_name).await;
    let system = observers::connect(&site.system, &server).await;
    let connects = format!("$SYS.ACCOUNT.{}.CONNECT", site.accounts["APP"]);
    let mut connects = system.subscribe(connects).await.expect("a subscription");
    let errors = "$SYS.SERVER.*.CLIENT.AUTH.ERR";
    let mut errors = system.subscribe(errors).await.expect("a subscription");
    system.flush().await.expect("a connection");
    let connect = async |user: &str, password: &str| {
        options(&site, &Login::password(user, password)).connect(server.url()).await
    };
    let _alice = connect("alice", "alice").await.expect("alice is in");
    let event = next(&mut connects).await;
    assert_eq!(event["client"]["user"], "alice", "{event}");
    assert_eq!(event["client"]["acc"], site.accounts["APP"], "{event}");
    assert!(connect("mallory", "x").await.is_err());
    let event = next(&mut errors).await;
    assert_eq!(event["reason"], "Authentication Failure", "{event}");
    Outcome::passed(["the name and account of who came in", "a refusal"])
}

async fn next(events: &mut Subscriber) -> Value {
    let event = timeout(PATIENCE, events.next()).await.expect("an event in time");
    serde_json::from_slice(&event.expect("an event").payload).expect("JSON")
}
