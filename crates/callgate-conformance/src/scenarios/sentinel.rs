//! Sentinels: credentials of the callout account that everybody may have.

use async_nats::ConnectOptions;
use callgate::{decision::Reason, keys::KeyKind, operator::credentials};
use callgate_testkit::nats_server::Version;

use super::{
    library::{Library, by_name},
    server,
};
use crate::{
    clients::{Login, options, user_info},
    mode::Mode,
    observers,
    report::Outcome,
    site::{Fixed, Pair, Site, Variation, knows_default_sentinel},
};

pub(super) async fn alone(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let gate = Library::start(&site, &server, by_name).await;
    assert!(options(&site, &Login::default()).connect(server.url()).await.is_err());
    assert_eq!(gate.reasons(), [Reason::NoCredential]);
    Outcome::passed(["the sentinel is no credential"])
}

/// The JWT of the callout's own user with somebody else's key: it must neither pass nor crash.
pub(super) async fn mismatched(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let gate = Library::start(&site, &server, by_name).await;
    let Fixed::Credentials(text) = &site.callout else { panic!("operator mode has credentials") };
    let jwt = text.lines().find(|line| line.starts_with("eyJ")).expect("a JWT");
    let forged = credentials(jwt, &Pair::generate(KeyKind::User).key().seed());
    let options = ConnectOptions::with_credentials(forged.expose()).expect("credentials");
    // 2.10 pings such a client while it waits for an answer, which a client may take for a welcome.
    let served = match options.connect(server.url()).await {
        Ok(client) => user_info(&client).await.is_some(),
        Err(_) => false,
    };
    assert!(!served);
    assert!(!gate.reasons().contains(&Reason::Admitted));
    observers::connect(&site.system, &server).await;
    Outcome::passed(["it is refused", "the server still serves"])
}

pub(super) async fn by_default(mode: Mode, version: Version) -> Outcome {
    if !knows_default_sentinel(version) {
        return Outcome::absent("`default_sentinel` came with 2.11");
    }
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let _gate = Library::start(&site, &server, by_name).await;
    let plain = ConnectOptions::with_user_and_password("alice".to_owned(), "alice".to_owned());
    let client = plain.connect(server.url()).await.expect("alice is in without credentials");
    let info = user_info(&client).await.expect("an answer");
    assert_eq!((info.user.as_str(), &info.account), ("alice", &site.accounts["APP"]));
    let wrong = ConnectOptions::with_user_and_password("alice".to_owned(), "wrong".to_owned());
    assert!(wrong.connect(server.url()).await.is_err());
    Outcome::passed(["a plain user and password", "a wrong password"])
}
