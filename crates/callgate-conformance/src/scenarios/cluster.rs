//! A cluster of three servers, a leaf node, and three replicas of the service.

use async_nats::ConnectOptions;
use callgate_testkit::{NatsServer, eventually, nats_server::Version, wait::PATIENCE};
use futures_util::StreamExt;

use super::plain;
use crate::{
    clients::{Login, options, user_info},
    gate::Gate,
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
};

struct Cluster {
    site: Site,
    servers: Vec<NatsServer>,
}

impl Cluster {
    async fn start(mode: Mode, version: Version) -> Self {
        let site = Site::new(mode, version, &Variation::default());
        let mut servers: Vec<NatsServer> = Vec::new();
        for number in 1..=3 {
            let routes: Vec<String> = servers
                .iter()
                .map(|server| format!("nats://127.0.0.1:{}", server.cluster_port()))
                .collect();
            let config = format!(
                "server_name: c{number}\n\
                 cluster {{ name: mountain, listen: \"127.0.0.1:{{{{cluster_port}}}}\"\n\
                   routes: {routes:?} }}\n\
                 leafnodes {{ listen: \"127.0.0.1:{{{{leaf_port}}}}\" }}\n{}",
                plain(&site)
            );
            let server = NatsServer::builder().version(&version.to_string()).config(&config);
            servers.push(server.start().await);
        }
        Self { site, servers }
    }

    async fn login(&self, server: usize, user: &str) -> Option<async_nats::Client> {
        let login = Login::password(user, user);
        let connected = options(&self.site, &login).connect(self.servers[server].url()).await;
        connected.ok()
    }

    /// Everybody who should gets in at each server, and nobody else.
    async fn holds(&self) {
        for server in 0..self.servers.len() {
            let client = self.login(server, "alice").await.expect("alice is in");
            let info = user_info(&client).await.expect("an answer");
            assert_eq!(info.account, self.site.accounts["APP"]);
            assert!(self.login(server, "late").await.is_none(), "late is over");
        }
    }
}

pub(super) async fn survives(mode: Mode, version: Version) -> Outcome {
    let cluster = Cluster::start(mode, version).await;
    let mut gates = Vec::new();
    for server in &cluster.servers {
        gates.push(Gate::start(&cluster.site, &[server]).await);
    }
    cluster.holds().await;
    let decided: usize = gates.iter().map(|gate| gate.decisions().len()).sum();
    assert_eq!(decided, 6, "each login is decided exactly once");
    let leaf = leaf_of(&cluster, version).await;
    reaches(&cluster, &leaf).await;
    // An unrestricted leaf node also answers `$SYS.REQ.USER.INFO` for its account, with its own view.
    drop(leaf);
    // Killed, not stopped: its server has to find out by itself.
    drop(gates.remove(0));
    eventually("logins at the server whose replica died", PATIENCE, async || {
        cluster.login(0, "alice").await.map(drop)
    })
    .await;
    cluster.holds().await;
    Outcome::passed([
        "logins at each server, each decided once",
        "a leaf node reaches the cluster",
        "logins at each server after a replica was killed",
    ])
}

async fn leaf_of(cluster: &Cluster, version: Version) -> NatsServer {
    let sentinel = cluster.site.sentinel.as_ref().map(|sentinel| sentinel.credentials.as_str());
    let credentials = sentinel.map(|_| ", credentials: \"{{dir}}/sentinel.creds\"");
    let config = format!(
        "server_name: leaf\nleafnodes {{ remotes: [ {{\n\
         url: \"nats://only-leafnode:only-leafnode@127.0.0.1:{}\"{} }} ] }}",
        cluster.servers[1].leaf_port(),
        credentials.unwrap_or_default()
    );
    NatsServer::builder()
        .version(&version.to_string())
        .file("sentinel.creds", sentinel.unwrap_or_default())
        .config(&config)
        .start()
        .await
}

/// From behind the leaf node to a client at another server of the cluster.
async fn reaches(cluster: &Cluster, leaf: &NatsServer) {
    let alice = cluster.login(2, "alice").await.expect("alice is in");
    let mut inbox = alice.subscribe("from.the.leaf").await.expect("a subscription");
    alice.flush().await.expect("a connection");
    let behind = ConnectOptions::new().connect(leaf.url()).await.expect("a plain server");
    eventually("a message from behind the leaf node", PATIENCE, async || {
        behind.publish("from.the.leaf", "".into()).await.expect("a connection");
        behind.flush().await.expect("a connection");
        let soon = std::time::Duration::from_millis(50);
        tokio::time::timeout(soon, inbox.next()).await.ok().flatten()
    })
    .await;
}
