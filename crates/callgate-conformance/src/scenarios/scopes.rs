//! Scoped signing keys that stand in the wrong place, which only the server can know.

use callgate_testkit::nats_server::Version;

use super::server;
use crate::{
    clients::{Login, options, user_info},
    gate::Gate,
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
};

/// A plain signing key as the scoped one, and the scoped one as the plain one. A user under a scoped key
/// carries no permissions, for the server would refuse it; so under a key without a scope it has all of
/// them. Nobody but the server can see that: the docs warn of it, and the decision names the key.
pub(super) async fn swapped(mode: Mode, version: Version) -> Outcome {
    let mut site = Site::new(mode, version, &Variation::default());
    for (name, _) in &mut site.files {
        *name = match *name {
            "APP.nk" => "reader.nk",
            "reader.nk" => "APP.nk",
            other => other,
        };
    }
    let mut server = server(&site, version, "").await;
    let gate = Gate::start(&site, &[&server]).await;
    let connect =
        async |user: &str| options(&site, &Login::password(user, user)).connect(server.url()).await;
    let rita = connect("rita").await.expect("the server asks for no scope");
    let info = user_info(&rita).await.expect("an answer");
    assert!(info.permissions.is_null(), "nats-server now holds it to something: {info:?}");
    let decision = gate.decisions().pop().expect("a decision");
    let words = [&*site.signers.app.public, "scope `reader`"];
    assert!(words.iter().all(|word| decision.detail.contains(word)), "{decision:?}");
    assert!(connect("alice").await.is_err(), "the scoped key signs no permissions");
    server.wait_for_log("scoped users require no permissions or limits set").await;
    Outcome::passed([
        "under a key without a scope nothing is withheld",
        "the decision names key and scope",
        "a scoped key in the place of a plain one is refused",
    ])
}
