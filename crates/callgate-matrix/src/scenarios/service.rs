//! Readiness and logs of the service.

use callgate_testkit::{eventually, nats_server::Version, wait::PATIENCE};

use super::server;
use crate::{
    clients::{Login, options},
    mode::Mode,
    report::Outcome,
    service::Service,
    site::{Site, Variation, Xkey},
};

pub(super) async fn wrong_xkey(mode: Mode, version: Version) -> Outcome {
    let mut site = Site::new(mode, version, &Variation::default());
    site.server = site.server.replace("timeout: 5", "timeout: 1");
    let server = server(&site, version, "").await;
    let other = Xkey::generate();
    let file = site.files.iter_mut().find(|(name, _)| *name == "xkey.xk").expect("an xkey");
    file.1 = other.seed().to_owned();
    let service = Service::start(&site, &[&server]).await;
    let login = Login::password("alice", "alice");
    assert!(options(&site, &login).connect(server.url()).await.is_err());
    let decision = eventually("a decision", PATIENCE, async || service.decisions().pop()).await;
    assert_eq!(decision.reason, "cannot_decrypt", "{decision:?}");
    Outcome::passed(["the request is dropped", "the log says `cannot_decrypt`"])
}

/// Accounts are keys in operator mode, and not every server line reports their names.
pub(super) async fn stated_account(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let stating = async |account: &str, says: &str| {
        let mut site = site.clone();
        let line = format!("[issuer]\ncallout_account = \"{account}\"");
        site.service = site.service.replacen("[issuer]", &line, 1);
        Service::start_and_hear(&site, &[&server], says).await
    };
    let own = site.signers.callout_account.as_deref().expect("operator mode");
    stating(own, "ready: answering").await;
    stating("AUTH", "ready: answering").await;
    if version.minor < 12 {
        let service = stating("GATE", "ready: answering").await;
        assert_eq!(
            service.log().matches("cannot verify issuer.callout_account").count(),
            1,
            "{}",
            service.log()
        );
        return Outcome::passed([
            "the account's key and its name are taken",
            "this line does not tell the name: the log says that nothing was compared",
        ]);
    }
    let service = stating("GATE", "but issuer.callout_account is `GATE`").await;
    assert!(!service.log().contains("ready: answering"), "{}", service.log());
    Outcome::passed([
        "the account's key and its name are taken",
        "with another name it is not ready, and says why",
    ])
}
