//! A JetStream bucket of users. It is watched, not queried: only `max_stale` makes an outage refuse.

use async_nats::{
    ConnectOptions,
    jetstream::{self, kv::Config},
};
use callgate_testkit::{eventually, wait::LONG};

use super::{Backend, Effect, Failure, play};
use crate::{
    fault::NotRun,
    report::Observations,
    scene::{Scene, SceneBuilder, TEAM},
};

const BUCKET: &str = "users";

/// What Callgate may publish to watch it.
const SUBJECTS: [&str; 5] = [
    "$JS.API.STREAM.INFO.KV_users",
    "$JS.API.CONSUMER.CREATE.KV_users",
    "$JS.API.CONSUMER.CREATE.KV_users.>",
    "$JS.API.CONSUMER.DELETE.KV_users.>",
    "$JS.FC.KV_users.>",
];

pub(super) async fn deleted() -> Result<Observations, NotRun> {
    play(Bucket { servers: 1 }).await
}

pub(super) async fn without_quorum() -> Result<Observations, NotRun> {
    play(Bucket { servers: 3 }).await
}

struct Bucket {
    servers: usize,
}

impl Bucket {
    async fn administrator(&self, scene: &Scene) -> jetstream::Context {
        let options = ConnectOptions::with_user_and_password(TEAM.to_owned(), TEAM.to_owned());
        let client = options.connect(scene.servers[0].url()).await;
        jetstream::new(client.expect("the administrator needs no Callgate"))
    }

    /// Creates the bucket, with alice.
    async fn fill(&self, scene: &Scene) {
        let administrator = self.administrator(scene).await;
        let entry = r#"{ "pass": "secret", "account": "APP" }"#;
        eventually("a bucket with alice", LONG, async || {
            let config = Config {
                bucket: BUCKET.to_owned(),
                num_replicas: self.servers,
                ..Config::default()
            };
            let bucket = administrator.create_key_value(config).await.ok()?;
            bucket.put("alice", entry.into()).await.ok()
        })
        .await;
    }
}

impl Backend for Bucket {
    fn table(&self) -> String {
        format!(
            "[authenticators.kv]\nbucket = \"{BUCKET}\"\nmax_stale = \"1s\"\nfall_through = true"
        )
    }

    fn prepare(&self, scene: SceneBuilder) -> SceneBuilder {
        scene.servers(self.servers).jetstream().publish(&SUBJECTS).url("nats://127.0.0.1:{port}")
    }

    async fn attach(&mut self, scene: &Scene) {
        self.fill(scene).await;
    }

    fn failures(&self) -> &'static [(Failure, Effect)] {
        match self.servers {
            1 => &[(Failure::BucketDeleted, Effect::Unavailable)],
            // As long as a server still delivers the watch, its entries are the last ones.
            _ => &[(Failure::QuorumLost, Effect::Partial)],
        }
    }

    async fn begin(&mut self, failure: Failure, scene: &mut Scene) {
        match failure {
            Failure::BucketDeleted => {
                let administrator = self.administrator(scene).await;
                administrator.delete_key_value(BUCKET).await.expect("it exists");
            }
            _ => {
                for server in &mut scene.servers[1..] {
                    server.freeze().await;
                }
            }
        }
    }

    async fn end(&mut self, failure: Failure, scene: &mut Scene) {
        match failure {
            Failure::BucketDeleted => self.fill(scene).await,
            _ => scene.servers[1..].iter_mut().for_each(callgate_testkit::NatsServer::thaw),
        }
    }
}
