//! What the service itself does and says.

use callgate_testkit::{eventually, nats_server::Version, wait::PATIENCE};

use super::server;
use crate::{
    clients::{Login, options},
    gate::Gate,
    mode::Mode,
    report::Outcome,
    site::{Site, Variation, Xkey},
};

pub(super) async fn wrong_xkey(mode: Mode, version: Version) -> Outcome {
    let mut site = Site::new(mode, version, &Variation::default());
    site.server = site.server.replace("timeout: 5", "timeout: 1");
    let server = server(&site, version, "").await;
    let other = Xkey::generate();
    let file = site.files.iter_mut().find(|(name, _)| *name == "xkey.xk").expect("an xkey");
    file.1 = other.seed().to_owned();
    let gate = Gate::start(&site, &[&server]).await;
    let login = Login::password("alice", "alice");
    assert!(options(&site, &login).connect(server.url()).await.is_err());
    let decision = eventually("a decision", PATIENCE, async || gate.decisions().pop()).await;
    assert_eq!(decision.reason, "cannot_decrypt", "{decision:?}");
    Outcome::passed(["the request is dropped", "the log says `cannot_decrypt`"])
}
