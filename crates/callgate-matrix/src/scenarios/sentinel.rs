//! Sentinels: public credentials of the callout account.

use async_nats::ConnectOptions;
use callgate::{keys::KeyKind, operator::credentials, record::Reason};
use callgate_testkit::{eventually, nats_server::Version, wait::PATIENCE};

use super::{
    library::{Library, by_name},
    server,
};
use crate::{
    clients::{Login, leaf, options, user_info},
    mode::Mode,
    report::Outcome,
    site::{Fixed, Pair, Site, Variation, knows_default_sentinel},
};

pub(super) async fn alone(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let service = Library::start(&site, &server, by_name).await;
    assert!(options(&site, &Login::default()).connect(server.url()).await.is_err());
    assert_eq!(service.reasons(), [Reason::NoCredential]);
    Outcome::passed(["the sentinel is not a credential"])
}

/// Credentials with this JWT, and a key that is not its.
fn forged(jwt: &str) -> String {
    credentials(jwt, &Pair::generate(KeyKind::User).key().seed()).expose().to_owned()
}

/// A sentinel that has to prove its key and cannot: it must neither lead to the callout nor crash. The
/// same with the callout's own user, which bypasses the callout.
pub(super) async fn mismatched(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let service = Library::start(&site, &server, by_name).await;
    let Fixed::Credentials(callout) = &site.callout else { panic!("operator mode has them") };
    let own = callout.lines().find(|line| line.starts_with("eyJ")).expect("a JWT");
    let sentinel = site.sentinel.as_ref().expect("operator mode has one");
    let connect = async |jwt: &str| {
        let options = ConnectOptions::with_credentials(&forged(jwt)).expect("credentials");
        let options = options.user_and_password("alice".to_owned(), "alice".to_owned());
        // 2.10 pings the client while it waits for an answer, which a client may mistake for an admission.
        user_info(&options.connect(server.url()).await.ok()?).await
    };
    for jwt in [&sentinel.keyed, own] {
        assert!(connect(jwt).await.is_none());
    }
    assert_eq!(service.reasons(), [], "Callgate received a request");
    let info = connect(&sentinel.jwt).await.expect("a bearer needs no key");
    assert_eq!(info.account, site.accounts["APP"]);
    assert_eq!(service.reasons(), [Reason::Admitted]);
    Outcome::passed([
        "a sentinel that is not a bearer JWT is refused without a request",
        "the callout's own user, too",
        "a bearer needs no key: what it presents beside is judged",
        "the server still serves",
    ])
}

/// nats-server issue 7841.
pub(super) async fn mismatched_leaf(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let leafs = "leafnodes { listen: \"127.0.0.1:{{leaf_port}}\" }";
    let server = server(&site, version, leafs).await;
    let service = Library::start(&site, &server, by_name).await;
    let sentinel = site.sentinel.as_ref().expect("operator mode has one");
    let login = [Login::password("alice", "alice")];
    let present =
        async |jwt: &str| leaf::leaf_node_with(Some(&forged(jwt)), version, &server, &login).await;
    present(&sentinel.jwt).await.wait_for_log(leaf::REFUSED).await;
    assert_eq!(service.reasons(), [Reason::ConnectionTypeNotAllowed], "a bearer is asked about");
    let mut leaf = present(&sentinel.keyed).await;
    if version.minor < 12 {
        eventually("the end of the server", PATIENCE, async || {
            server.log().contains("SIGSEGV").then_some(())
        })
        .await;
        assert_eq!(service.reasons().len(), 1, "Callgate received another request");
        return Outcome::absent(
            "this server line crashes unless the sentinel is a bearer JWT, and Callgate receives no request (nats-server issue 7841): do not expose a leaf node listener to untrusted networks",
        );
    }
    leaf.wait_for_log(leaf::REFUSED).await;
    assert_eq!(leaf::up(&site, &server).await, [""; 0]);
    assert_eq!(service.reasons().len(), 1, "Callgate received another request");
    Outcome::passed([
        "a bearer needs no key: what it presents beside is judged",
        "a sentinel that is not a bearer JWT is refused without a request",
        "the server still serves",
    ])
}

pub(super) async fn by_default(mode: Mode, version: Version) -> Outcome {
    if !knows_default_sentinel(version) {
        return Outcome::absent("`default_sentinel` requires 2.11");
    }
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let _service = Library::start(&site, &server, by_name).await;
    let plain = ConnectOptions::with_user_and_password("alice".to_owned(), "alice".to_owned());
    let client = plain.connect(server.url()).await.expect("alice is in without credentials");
    let info = user_info(&client).await.expect("an answer");
    assert_eq!((info.user.as_str(), &info.account), ("alice", &site.accounts["APP"]));
    let wrong = ConnectOptions::with_user_and_password("alice".to_owned(), "wrong".to_owned());
    assert!(wrong.connect(server.url()).await.is_err());
    Outcome::passed(["a plain user and password", "a wrong password"])
}
