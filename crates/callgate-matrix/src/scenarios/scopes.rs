//! Scoped signing keys: how their templates are filled, and what only the server knows about them.

use std::sync::Arc;

use callgate::{
    Refusal, User,
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_testkit::nats_server::Version;

use super::{library::Library, manual_callout::ManualCallout, server};
use crate::{
    clients::{Login, options, user_info},
    mode::Mode,
    report::Outcome,
    service::Service,
    site::{Site, Variation},
};

/// A plain signing key as the scoped one, and the scoped one as the plain one. A user under a scoped key
/// carries no permissions, for the server would refuse it; so under a key without a scope it has all of
/// them. Only the server can see that: the docs warn about it, and the decision names the key.
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
    let service = Service::start(&site, &[&server]).await;
    let connect =
        async |user: &str| options(&site, &Login::password(user, user)).connect(server.url()).await;
    let rita = connect("rita").await.expect("the server asks for no scope");
    let info = user_info(&rita).await.expect("an answer");
    assert!(info.permissions.is_null(), "nats-server now holds it to something: {info:?}");
    let decision = service.decisions().pop().expect("a decision");
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

/// The server would put the text behind the colon into the template whatever it is.
pub(super) async fn tags(mode: Mode, version: Version) -> Outcome {
    let variation = Variation { reader_hears: Some("{{tag(team)}}.>"), ..Variation::default() };
    let site = Site::new(mode, version, &variation);
    let login = |team: &str| options(&site, &Login::password(team, "x"));
    let by_hand = server(&site, version, "").await;
    let _hand = ManualCallout::start(&site, &by_hand, |asked| {
        asked.admit_reader(&[&format!("team:{}", asked.user_name())])
    })
    .await;
    let widened = login("$js").connect(by_hand.url()).await.expect("the server has no objection");
    let info = user_info(&widened).await.expect("an answer");
    assert_eq!(info.hears(), ["$js.>", "_INBOX.>"], "nats-server now looks at it");

    let server = server(&site, version, "").await;
    let service = Library::start(&site, &server, async |request: Arc<AuthRequest>| {
        match request.credential() {
            Credential::Password { user, .. } => {
                Ok(User::in_account("APP").scoped("reader").named("u").tag(user))
            }
            _ => Err(Refusal::deny("no password")),
        }
    })
    .await;
    let connect = async |tag: &str| login(tag).connect(server.url()).await;
    let red = connect("team:red").await.expect("one literal token");
    assert_eq!(user_info(&red).await.expect("an answer").hears(), ["_INBOX.>", "red.>"]);
    let widening =
        ["team:$js", "team:$SYS", "team:_INBOX", "team:>", "team:*", "team:a.b", "team:"];
    for tag in widening {
        assert!(connect(tag).await.is_err(), "{tag}");
    }
    let mut expected = vec![Reason::Admitted];
    expected.extend(widening.map(|_| Reason::UnsafeTemplateValue));
    assert_eq!(service.reasons(), expected);
    Outcome::passed([
        "the server puts any text after the colon into the template",
        "a literal token is the one subject that is granted",
        "wildcards, several tokens and reserved names are refused",
    ])
}
