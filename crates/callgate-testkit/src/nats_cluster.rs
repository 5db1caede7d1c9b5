//! Several nats-servers in one cluster.

use crate::{
    NatsServer,
    nats_server::NatsServerBuilder,
    ports::free_port,
    wait::{LONG, eventually},
};

/// Running servers of a cluster; killed on drop.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers, in the order of their start.
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts servers with this configuration, to which a name and the routes are added. If it has
    /// `jetstream`, waits until JetStream has a leader.
    ///
    /// # Panics
    /// If they do not become ready.
    pub async fn start(servers: usize, config: &str) -> Self {
        Self::start_with(servers, config, NatsServer::builder).await
    }

    /// The same with servers of a version, as for [`NatsServerBuilder::version`].
    ///
    /// # Panics
    /// If they do not become ready.
    pub async fn start_version(version: &str, servers: usize, config: &str) -> Self {
        Self::start_with(servers, config, || NatsServer::builder().version(version)).await
    }

    async fn start_with(
        servers: usize,
        config: &str,
        builder: impl Fn() -> NatsServerBuilder,
    ) -> Self {
        // JetStream starts only when every server knows the routes to all others.
        let ports: Vec<u16> = (0..servers).map(|_| free_port()).collect();
        let routes = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\""));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let mut started = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            let text = format!(
                "server_name: \"s{number}\"\ncluster {{ name: mountain, listen: \"127.0.0.1:{port}\", \
                 routes: [ {routes} ] }}\n{config}"
            );
            started.push(builder().config(&text).start().await);
        }
        let cluster = Self { servers: started };
        if config.contains("jetstream") {
            cluster.has_jetstream_leader().await;
        }
        cluster
    }

    /// The addresses of all servers, separated by commas.
    pub fn urls(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    async fn has_jetstream_leader(&self) {
        eventually("a leader of JetStream", LONG, async || {
            let leader = "JetStream cluster new metadata leader";
            self.servers.iter().any(|server| server.log().contains(leader)).then_some(())
        })
        .await;
    }
}
