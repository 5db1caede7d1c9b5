//! A cluster of three servers, a leaf node, and three replicas of the service.

use callgate_testkit::{NatsServer, eventually, nats_server::Version, wait::PATIENCE};
use futures_util::StreamExt;

use super::plain;
use crate::{
    clients::{Login, leaf, options, user_info},
    mode::Mode,
    report::Outcome,
    service::Service,
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

    /// Valid clients are admitted at every server, and invalid ones are not.
    async fn holds(&self) {
        for server in 0..self.servers.len() {
            let client = self.login(server, "alice").await.expect("alice is in");
            let info = user_info(&client).await.expect("an answer");
            assert_eq!(info.account, self.site.accounts["APP"]);
            assert!(self.login(server, "late").await.is_none(), "late is over");
            if self.site.mode.has_scopes() {
                let client = self.login(server, "rita").await.expect("rita is in");
                // A leaf node that just went may still answer for its account, with its own view.
                eventually("the rights of the scoped key's template", PATIENCE, async || {
                    let info = user_info(&client).await.expect("an answer");
                    (info.hears() == ["_INBOX.>", "rita.>"]).then_some(())
                })
                .await;
            }
        }
    }

    /// How many logins [`Cluster::holds`] makes.
    fn logins(&self) -> usize {
        let each = if self.site.mode.has_scopes() { 3 } else { 2 };
        each * self.servers.len()
    }
}

pub(super) async fn survives(mode: Mode, version: Version) -> Outcome {
    let cluster = Cluster::start(mode, version).await;
    let mut replicas = Vec::new();
    for server in &cluster.servers {
        replicas.push(Service::start(&cluster.site, &[server]).await);
    }
    cluster.holds().await;
    let decided: usize = replicas.iter().map(|service| service.decisions().len()).sum();
    assert_eq!(decided, cluster.logins(), "each login is decided exactly once");
    let login = [Login::password("only-leafnode", "only-leafnode")];
    let leaf = leaf::leaf_node(&cluster.site, version, &cluster.servers[1], &login).await;
    reaches(&cluster, &leaf).await;
    // An unrestricted leaf node also answers `$SYS.REQ.USER.INFO` for its account, with its own view.
    drop(leaf);
    // Killed, not stopped: its server has to detect it.
    drop(replicas.remove(0));
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

/// From behind the leaf node to a client at another server of the cluster.
async fn reaches(cluster: &Cluster, leaf: &NatsServer) {
    let alice = cluster.login(2, "alice").await.expect("alice is in");
    let mut inbox = alice.subscribe("from.the.leaf").await.expect("a subscription");
    alice.flush().await.expect("a connection");
    let behind = leaf::behind(leaf, 0).await;
    eventually("a message from behind the leaf node", PATIENCE, async || {
        behind.publish("from.the.leaf", "".into()).await.expect("a connection");
        behind.flush().await.expect("a connection");
        let soon = std::time::Duration::from_millis(50);
        tokio::time::timeout(soon, inbox.next()).await.ok().flatten()
    })
    .await;
}
