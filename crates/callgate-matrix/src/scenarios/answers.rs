//! Answers that are not as they should be.

use callgate::keys::KeyKind;
use callgate_testkit::{nats_server::Version, requests::jwt::sign_as_issuer};
use serde_json::json;

use super::{
    manual_callout::{CalloutRequest, ManualCallout},
    server,
};
use crate::{
    clients::{Login, options},
    mode::Mode,
    report::Outcome,
    site::{Pair, Site, Variation},
};

/// The library always seals; this is why it has to.
pub(super) async fn in_clear(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let _hand = ManualCallout::start(&site, &server, |asked| asked.admit(&json!({}))).await;
    let login = Login::password("guest", "x");
    let connected = options(&site, &login).connect(server.url()).await;
    assert!(connected.is_ok(), "nats-server now insists on sealed answers: {connected:?}");
    Outcome::passed(["nats-server does not insist on sealed answers"])
}

type Answer = (&'static str, fn(&CalloutRequest) -> String);

const BAD: [Answer; 7] = [
    ("nothing", |_| String::new()),
    ("an answer for another server", |asked| {
        let mut answer = asked.answer(&asked.signed(&asked.user(&json!({}))));
        answer["aud"] = json!(Pair::generate(KeyKind::Server).public);
        asked.sealed(&answer)
    }),
    ("an answer for another connection", |asked| {
        let mut answer = asked.answer(&asked.signed(&asked.user(&json!({}))));
        answer["sub"] = json!(Pair::generate(KeyKind::User).public);
        asked.sealed(&answer)
    }),
    ("an answer that is over", |asked| {
        let mut answer = asked.answer(&asked.signed(&asked.user(&json!({}))));
        answer["exp"] = json!(asked.claims["iat"].as_i64().expect("a time") - 60);
        asked.sealed(&answer)
    }),
    ("a user JWT for another connection", |asked| {
        let mut user = asked.user(&json!({}));
        user["sub"] = json!(Pair::generate(KeyKind::User).public);
        asked.sealed(&asked.answer(&asked.signed(&user)))
    }),
    ("a user JWT that is over", |asked| {
        let mut user = asked.user(&json!({}));
        user["exp"] = json!(asked.claims["iat"].as_i64().expect("a time") - 60);
        asked.sealed(&asked.answer(&asked.signed(&user)))
    }),
    ("a user JWT by a stranger", |asked| {
        let stranger = Pair::generate(KeyKind::Account).nkey();
        asked.sealed(&asked.answer(&sign_as_issuer(&asked.user(&json!({})), &stranger)))
    }),
];

pub(super) async fn misdirected(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let _hand =
        ManualCallout::start(&site, &server, |asked| match asked.user_name().parse::<usize>() {
            Ok(index) => BAD[index].1(asked),
            Err(_) => asked.admit(&json!({})),
        })
        .await;
    let connect = async |user: &str| {
        options(&site, &Login::password(user, "x")).connect(server.url()).await.is_ok()
    };
    assert!(connect("good").await, "a good answer by hand is taken");
    for (index, (what, _)) in BAD.iter().enumerate() {
        assert!(!connect(&index.to_string()).await, "{what} was taken");
    }
    Outcome::passed(BAD.map(|(what, _)| what))
}
