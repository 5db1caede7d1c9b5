//! Users that must connect through a proxy: the server refuses them otherwise.

use callgate::record::Reason;
use callgate_testkit::nats_server::Version;
use serde_json::json;

use super::{
    library::{Library, by_name},
    manual_callout::ManualCallout,
    server,
};
use crate::{
    clients::{Login, options},
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
};

pub(super) async fn in_configuration(mode: Mode, version: Version) -> Outcome {
    if version.minor < 12 {
        return Outcome::absent("`proxy_required` requires 2.12");
    }
    let mut site = Site::new(mode, version, &Variation::default());
    site.server = site.server.replace(
        "{ user: watch-APP",
        "{ user: far, password: far, proxy_required: true }, { user: near, password: n }, { user: watch-APP",
    );
    let mut server = server(&site, version, "").await;
    let service = Library::start(&site, &server, by_name).await;
    let connect =
        async |user: &str| options(&site, &Login::password(user, user)).connect(server.url()).await;
    connect("near").await.expect("one that may come without a proxy");
    assert!(connect("far").await.is_err());
    assert_eq!(service.reasons(), [Reason::Admitted; 2], "the server refuses all the same");
    server.wait_for_log("Proxy connection required").await;
    Outcome::passed([
        "the server's own configuration holds beside the callout",
        "the server's log says why",
        "another user of that configuration is let in",
    ])
}

/// Callgate does not write this claim; the scenario shows its effect.
pub(super) async fn in_answer(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let mut server = server(&site, version, "").await;
    let _hand = ManualCallout::start(&site, &server, |asked| {
        asked.admit(&json!({ "proxy_required": true }))
    })
    .await;
    let login = Login::password("guest", "x");
    let connected = options(&site, &login).connect(server.url()).await;
    if version.minor < 12 {
        assert!(connected.is_ok(), "this server line now knows `proxy_required`: {connected:?}");
        return Outcome::absent("this server line ignores `proxy_required` in a user JWT");
    }
    assert!(connected.is_err(), "nats-server now ignores `proxy_required` in a user JWT");
    server.wait_for_log("Proxy connection required").await;
    Outcome::passed(["the client is refused", "the server's log says why"])
}
