//! Accounts that a callout may place users in, and those that it may not.

use std::sync::Arc;

use callgate::{Refusal, User, keys::KeyKind, record::Reason, request::AuthRequest};
use callgate_testkit::nats_server::Version;

use super::{
    library::{Library, by_name},
    server,
};
use crate::{
    clients::{Login, options, user_info},
    mode::Mode,
    report::Outcome,
    service::Service,
    site::{Pair, Site, Variation},
};

/// Only the server knows: Callgate admits, the server refuses, and the server log says why.
pub(super) async fn not_allowed(mode: Mode, version: Version) -> Outcome {
    let variation = match mode.is_operator() {
        true => Variation { allowed_accounts: Some(vec!["OTHER"]), ..Variation::default() },
        false => Variation::default(),
    };
    let account = if mode.is_operator() { "APP" } else { "NOWHERE" };
    let site = Site::new(mode, version, &variation);
    let mut server = server(&site, version, "").await;
    let service = Library::start(&site, &server, move |_request: Arc<AuthRequest>| async move {
        Ok::<_, Refusal>(User::in_account(account).named("lost").unrestricted())
    })
    .await;
    let login = Login::password("lost", "x");
    assert!(options(&site, &login).connect(server.url()).await.is_err());
    assert_eq!(service.reasons(), [Reason::Admitted]);
    if mode.is_operator() {
        let detail = service.details().pop().unwrap_or_default();
        assert!(detail.contains(&site.accounts["APP"]), "{detail}");
    }
    let text = match mode.is_operator() {
        true => "not permitted as valid account option for auth callout",
        false => "o valid account \"NOWHERE\" for auth callout response",
    };
    server.wait_for_log(text).await;
    Outcome::passed(["it is refused", "the server's log names the account"])
}

/// The same with a signing key, and a scoped one, that the account's JWT does not name.
pub(super) async fn unknown_key(mode: Mode, version: Version) -> Outcome {
    let mut site = Site::new(mode, version, &Variation::default());
    let mut server = server(&site, version, "").await;
    let stranger = Pair::generate(KeyKind::Account);
    site.signers.app = stranger.clone();
    let service = Library::start(&site, &server, by_name).await;
    let login = Login::password("alice", "alice");
    assert!(options(&site, &login).connect(server.url()).await.is_err());
    assert_eq!(service.reasons(), [Reason::Admitted]);
    let detail = service.details().pop().unwrap_or_default();
    let words = [site.accounts["APP"].as_str(), stranger.public.as_str()];
    assert!(words.iter().all(|word| detail.contains(word)), "{detail}");
    server.wait_for_log("is not known").await;
    Outcome::passed([
        "it is refused",
        "the decision names account and key",
        "the server's log, too",
    ])
}

pub(super) async fn any(mode: Mode, version: Version) -> Outcome {
    let variation = Variation { allowed_accounts: Some(vec!["*"]), ..Variation::default() };
    let site = Site::new(mode, version, &variation);
    let server = server(&site, version, "").await;
    let _service = Service::start(&site, &[&server]).await;
    for (user, account) in [("alice", "APP"), ("dave", "OTHER")] {
        let login = Login::password(user, user);
        let client = options(&site, &login).connect(server.url()).await.expect(user);
        let info = user_info(&client).await.expect("an answer");
        assert_eq!((info.user.as_str(), &info.account), (user, &site.accounts[account]));
    }
    Outcome::passed(["`*` in the callout account's allowed accounts: APP", "OTHER"])
}
