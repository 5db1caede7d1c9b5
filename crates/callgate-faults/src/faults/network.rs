//! What lies between Callgate and nats-server breaks.

use callgate_testkit::{files::write_private, service::Launch};
use futures_util::FutureExt;

use crate::{
    fault::{Fault, NotRun},
    namespace::Namespace,
    proxy::Proxy,
    report::Observations,
    scene::Scene,
    trial::Trial,
};

const FAMILY: &str = "network";

/// The connection is cut again and again, with many clients on their way in.
pub const CUT: Fault = Fault {
    family: FAMILY,
    name: "connection cut three times under load",
    how: "a TCP proxy between Callgate and nats-server closes both ends; eight concurrent clients",
    story: || cut().boxed_local(),
};

/// The link between two network namespaces is down for a moment.
pub const PARTITION: Fault = Fault {
    family: FAMILY,
    name: "partition of a few seconds",
    how: "Callgate in its own network namespace; `ip link set down` on the veth pair",
    story: || partition(false).boxed_local(),
};

/// The same, until the service notices.
pub const LONG_PARTITION: Fault = Fault {
    family: FAMILY,
    name: "partition until Callgate closes the connection",
    how: "as above",
    story: || partition(true).boxed_local(),
};

/// All of them.
pub const ALL: [Fault; 3] = [CUT, PARTITION, LONG_PARTITION];

async fn cut() -> Result<Observations, NotRun> {
    let mut scene = Scene::builder().replicas(0).start().await;
    let proxy = Proxy::to(scene.server().port()).await;
    let config = scene.path("callgate.toml");
    let text = std::fs::read_to_string(&config).expect("it was written");
    let text = text.replace(&scene.server().url(), &proxy.url());
    write_private(&config, &text);
    let service = scene.one_more().await;
    service.ready().await;
    let mut clients = scene.clients();
    clients.at_once = 8;
    let mut trial = Trial::begins(service.view(), clients).await;
    for _ in 0..3 {
        proxy.cut();
        trial.more_clients_try().await;
    }
    trial.says("lost connection to NATS").await;
    trial.ends().await;
    trial.recovers().await;
    Ok(trial.seen().await)
}

async fn partition(until_disconnected: bool) -> Result<Observations, NotRun> {
    let namespace = Namespace::new().map_err(NotRun)?;
    // Two links: one to nats-server, which goes down, and one for the eyes of this test.
    let launch = Launch {
        before: namespace.command(),
        admin: Some(namespace.inside(Namespace::EYES, 8280)),
        ..Launch::default()
    };
    let scene = Scene::builder()
        .listen_everywhere()
        .url(&format!("nats://{}", namespace.outside(Namespace::DATA, "{port}")))
        .admin(&namespace.inside(Namespace::EYES, 8280))
        .launch(launch);
    let mut scene = scene.start().await;
    let mut trial = Trial::begins(scene.service().view(), scene.clients()).await;
    namespace.cut();
    trial.clients_try().await;
    if until_disconnected {
        trial.is_not_ready().await;
    }
    trial.none_is_admitted();
    trial.ends().await;
    namespace.mend();
    trial.recovers().await;
    Ok(trial.seen().await)
}
