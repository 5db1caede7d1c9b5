//! A leaf node: one server with a remote, and an account of its own, for each login.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use callgate_testkit::{NatsServer, eventually, wait::PATIENCE};
use tokio::time::sleep;

use super::{Login, Seen};
use crate::{
    environment::Environment,
    gate::Logged,
    observers::{OPEN, SHUT},
};

pub(super) async fn attempt(environment: &mut Environment, logins: &[Login]) -> Vec<Seen> {
    let seen = environment.gate.decisions().len();
    let leaf = leaf(environment, logins).await;
    let mut all = Vec::new();
    for (index, login) in logins.iter().enumerate() {
        let decision = decision_of(environment, seen, login).await;
        if decision.reason != "admitted" {
            all.push(Seen {
                arrived: None,
                info: None,
                error: String::new(),
                decision: Some(decision),
            });
            continue;
        }
        let number = environment.number();
        let client = behind(&leaf, index).await;
        // Interest reaches the leaf node a while after it is let in: until then nothing is sent on.
        let knock = async {
            loop {
                for subject in [SHUT, OPEN] {
                    let subject = format!("{subject}.{number}");
                    client.publish(subject, "".into()).await.expect("a connection");
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let arrived = tokio::select! {
            arrived = environment.observers.arrived(number) => arrived,
            () = knock => unreachable!("it knocks for ever"),
        };
        all.push(Seen {
            arrived: Some(arrived),
            info: None,
            error: String::new(),
            decision: Some(decision),
        });
    }
    all
}

/// What was decided of this login: remotes connect in any order, and try again.
async fn decision_of(environment: &Environment, seen: usize, login: &Login) -> Logged {
    let user = login.user.clone().unwrap_or_default();
    let description = format!("a decision about the leaf node of {user}");
    eventually(&description, PATIENCE, async || {
        let decisions = environment.gate.decisions().split_off(seen);
        decisions.into_iter().find(|decision| decision.user == user)
    })
    .await
}

async fn leaf(environment: &Environment, logins: &[Login]) -> NatsServer {
    let port = environment.server.leaf_port();
    let sentinel = environment.site.sentinel.as_ref();
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
    let file = sentinel.map(|sentinel| sentinel.credentials.clone()).unwrap_or_default();
    NatsServer::builder()
        .version(&environment.version.to_string())
        .file("sentinel.creds", file)
        .config(&config)
        .start()
        .await
}

async fn behind(leaf: &NatsServer, index: usize) -> Client {
    let options = ConnectOptions::with_user_and_password(format!("l{index}"), "l".to_owned());
    options.connect(leaf.url()).await.expect("the leaf node's own user")
}
