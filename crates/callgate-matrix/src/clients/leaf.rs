//! A leaf node: one server with a remote and a separate account for each login.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use callgate_testkit::{NatsServer, eventually, nats_server::Version, wait::PATIENCE};
use serde_json::Value;
use tokio::time::sleep;

use super::{Login, Observed};
use crate::{
    environment::Environment,
    observers::{self, Arrived, OPEN, SHUT},
    service::LoggedDecision,
    site::Site,
};

/// A leaf node's log message when the other server refuses it.
pub(crate) const REFUSED: &str = "Authorization Violation";

pub(super) async fn attempt(environment: &mut Environment, logins: &[Login]) -> Vec<Observed> {
    let seen = environment.service.decisions().len();
    let leaf = leaf_node(&environment.site, environment.version, &environment.server, logins).await;
    let mut decisions = Vec::new();
    for login in logins {
        decisions.push(decision_of(environment, seen, login).await);
    }
    up_as_decided(environment, &leaf, &decisions).await;
    let mut all = Vec::new();
    for (index, decision) in decisions.into_iter().enumerate() {
        let (arrived, error) = match decision.reason.as_str() {
            "admitted" => (Some(arrived(environment, &leaf, index).await), String::new()),
            _ => (None, REFUSED.to_owned()),
        };
        all.push(Observed { arrived, info: None, error, decision: Some(decision) });
    }
    all
}

/// The servers agree with the decisions: this many are refused, and the others are up, each in its
/// account.
async fn up_as_decided(environment: &Environment, leaf: &NatsServer, decisions: &[LoggedDecision]) {
    let admitted = decisions.iter().filter(|decision| decision.reason == "admitted");
    let accounts = &environment.site.accounts;
    let mut expected: Vec<String> =
        admitted.map(|decision| accounts[decision.account.as_str()].clone()).collect();
    expected.sort();
    let refused = decisions.len() - expected.len();
    let description = format!("{refused} leaf nodes refused, and up in {expected:?}");
    eventually(&description, PATIENCE, async || {
        let told = leaf.log().matches(REFUSED).count() == refused;
        (told && up(&environment.site, &environment.server).await == expected).then_some(())
    })
    .await;
}

/// The accounts of the admitted leaf nodes, in order.
pub(crate) async fn up(site: &Site, server: &NatsServer) -> Vec<String> {
    let system = observers::connect(&site.system, server).await;
    let answer = system.request("$SYS.REQ.SERVER.PING.LEAFZ", "".into()).await;
    let answer = answer.expect("an answer of the system account");
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    let leafs = answer["data"]["leafs"].as_array().cloned().unwrap_or_default();
    let account = |leaf: &Value| leaf["account"].as_str().unwrap_or_default().to_owned();
    let mut accounts: Vec<String> = leafs.iter().map(account).collect();
    accounts.sort();
    accounts
}

/// Where the messages of a client behind the leaf node arrive.
async fn arrived(environment: &mut Environment, leaf: &NatsServer, index: usize) -> Arrived {
    let number = environment.number();
    let client = behind(leaf, index).await;
    // Interest reaches the leaf node some time after its admission: until then nothing is forwarded.
    let knock = async {
        loop {
            for subject in [SHUT, OPEN] {
                let subject = format!("{subject}.{number}");
                client.publish(subject, "".into()).await.expect("a connection");
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        arrived = environment.observers.arrived(number) => arrived,
        () = knock => unreachable!("it knocks for ever"),
    }
}

/// What was decided of this login: remotes connect in any order, and try again.
async fn decision_of(environment: &Environment, seen: usize, login: &Login) -> LoggedDecision {
    let user = login.user.clone().unwrap_or_default();
    let description = format!("a decision about the leaf node of {user}");
    eventually(&description, PATIENCE, async || {
        let decisions = environment.service.decisions().split_off(seen);
        decisions.into_iter().find(|decision| decision.user == user)
    })
    .await
}

/// A leaf node of `hub` for each login, with the site's sentinel.
pub(crate) async fn leaf_node(
    site: &Site,
    version: Version,
    hub: &NatsServer,
    logins: &[Login],
) -> NatsServer {
    let sentinel = site.sentinel.as_ref().map(|sentinel| sentinel.credentials.as_str());
    leaf_node_with(sentinel, version, hub, logins).await
}

/// The same with other credentials in the sentinel's place.
pub(crate) async fn leaf_node_with(
    sentinel: Option<&str>,
    version: Version,
    hub: &NatsServer,
    logins: &[Login],
) -> NatsServer {
    let port = hub.leaf_port();
    let credentials = match sentinel {
        Some(_) => ", credentials: \"{{dir}}/sentinel.creds\"",
        None => "",
    };
    let (mut accounts, mut remotes) = (String::new(), String::new());
    for (index, login) in logins.iter().enumerate() {
        accounts.push_str(&format!("L{index} {{ users: [{{ user: l{index}, password: l }}] }}\n"));
        let user = login.user.clone().unwrap_or_default();
        let password = login.password.clone().unwrap_or_default();
        remotes.push_str(&format!(
            "{{ url: \"nats://{user}:{password}@127.0.0.1:{port}\", account: L{index}{credentials} }}\n"
        ));
    }
    let config = format!(
        "server_name: leaf\naccounts {{ {accounts} }}\n\
         leafnodes {{ reconnect: 60, remotes: [ {remotes} ] }}"
    );
    NatsServer::builder()
        .version(&version.to_string())
        .file("sentinel.creds", sentinel.unwrap_or_default())
        .config(&config)
        .start()
        .await
}

/// A client of the leaf node's own, in the account of this login.
pub(crate) async fn behind(leaf: &NatsServer, index: usize) -> Client {
    let options = ConnectOptions::with_user_and_password(format!("l{index}"), "l".to_owned());
    options.connect(leaf.url()).await.expect("the leaf node's own user")
}
