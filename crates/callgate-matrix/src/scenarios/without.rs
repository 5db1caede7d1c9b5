//! Clients that the server decides about without the callout, and clients that it must not.

use callgate::record::Reason;
use callgate_testkit::{NatsServer, nats_server::Version, wait::PATIENCE};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::{
    library::{Library, by_name},
    server,
};
use crate::{
    clients::{Login, options, user_info},
    mode::Mode,
    observers,
    report::Outcome,
    site::{Fixed, Site, Variation},
};

pub(super) async fn auth_users(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let service = Library::start(&site, &server, by_name).await;
    observers::connect(&site.system, &server).await;
    observers::connect(&site.watchers["APP"], &server).await;
    if let Fixed::Password(user, _) = &site.system {
        let wrong = Login::password(user, "wrong");
        assert!(options(&site, &wrong).connect(server.url()).await.is_err());
    }
    assert_eq!(service.reasons(), [], "Callgate received a request");
    Outcome::passed(["it is admitted while the callout is down", "its wrong password is refused"])
}

pub(super) async fn allowed_accounts(mode: Mode, version: Version) -> Outcome {
    if version.minor < 11 {
        return Outcome::absent("`auth_callout.allowed_accounts` requires 2.11");
    }
    let variation = Variation { allowed_accounts: Some(vec!["APP"]), ..Variation::default() };
    let mut site = Site::new(mode, version, &variation);
    // A user of the server's own in an account that the callout has no say in, and one where it has.
    site.server = site
        .server
        .replace("{ user: watch-OTHER", "{ user: own, password: own }, { user: watch-OTHER")
        .replace("{ user: watch-APP", "{ user: known, password: secret }, { user: watch-APP");
    let server = server(&site, version, "").await;
    let service = Library::start(&site, &server, by_name).await;
    let connect = async |user: &str, password: &str| {
        options(&site, &Login::password(user, password)).connect(server.url()).await
    };
    let own = connect("own", "own").await.expect("the server's own user");
    assert_eq!(user_info(&own).await.expect("an answer").account, "OTHER");
    assert_eq!(service.reasons(), [], "Callgate received a request");
    connect("alice", "alice").await.expect("the callout's user");
    assert!(connect("known", "secret").await.is_err(), "the callout decides about APP");
    assert_eq!(service.reasons().len(), 2);
    Outcome::passed(["an account that is not listed", "one that is"])
}

async fn with_no_auth_user(mode: Mode, version: Version) -> (NatsServer, Library, Site) {
    let mut site = Site::new(mode, version, &Variation::default());
    site.server =
        site.server.replace("{ user: watch-APP", "{ user: guest, password: g }, { user: watch-APP");
    let server = server(&site, version, "no_auth_user: guest").await;
    let service = Library::start(&site, &server, by_name).await;
    (server, service, site)
}

pub(super) async fn no_auth_user(mode: Mode, version: Version) -> Outcome {
    let (server, service, site) = with_no_auth_user(mode, version).await;
    let connected = options(&site, &Login::default()).connect(server.url()).await;
    assert!(connected.is_err(), "without a credential there is no way in");
    assert_eq!(service.reasons().len(), 1, "it was asked");
    Outcome::passed(["it is asked about, and refused"])
}

/// The account of `no_auth_user` is the server's own business.
pub(super) async fn no_auth_user_elsewhere(mode: Mode, version: Version) -> Outcome {
    if version.minor < 11 {
        return Outcome::absent("`auth_callout.allowed_accounts` requires 2.11");
    }
    let variation = Variation { allowed_accounts: Some(vec!["APP"]), ..Variation::default() };
    let mut site = Site::new(mode, version, &variation);
    let guest = "{ user: guest, password: g }, { user: watch-OTHER";
    site.server = site.server.replace("{ user: watch-OTHER", guest);
    let server = server(&site, version, "no_auth_user: guest").await;
    let service = Library::start(&site, &server, by_name).await;
    let connect = async |login: Login| options(&site, &login).connect(server.url()).await;
    let guest = connect(Login::default()).await.expect("without a credential it is the guest");
    assert_eq!(user_info(&guest).await.expect("an answer").account, "OTHER");
    assert_eq!(service.reasons(), [], "Callgate received a request");
    assert!(connect(Login::password("alice", "wrong")).await.is_err());
    connect(Login::password("alice", "alice")).await.expect("the callout's user");
    assert_eq!(service.reasons(), [Reason::BadPassword, Reason::Admitted]);
    Outcome::passed([
        "a client without a credential is the guest",
        "one with a credential is asked about",
    ])
}

/// A client that sends PING before CONNECT, and the server's answer.
pub(super) async fn pinging(server: &NatsServer) -> (BufReader<TcpStream>, String) {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).await.expect("a server");
    let mut stream = BufReader::new(stream);
    line(&mut stream).await;
    stream.write_all(b"PING\r\n").await.expect("a connection");
    let answer = line(&mut stream).await;
    (stream, answer)
}

/// The next line; nothing at the end.
pub(super) async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    timeout(PATIENCE, stream.read_line(&mut line)).await.expect("in time").expect("a line");
    line
}

pub(super) async fn no_auth_user_before_connect(mode: Mode, version: Version) -> Outcome {
    let (server, service, _site) = with_no_auth_user(mode, version).await;
    let (_stream, line) = pinging(&server).await;
    if line.starts_with("PONG") {
        assert_eq!(service.reasons(), [], "let in although it was asked about");
        return Outcome::absent(
            "this server line admits the client as `no_auth_user` without calling Callgate: do not combine `no_auth_user` with a callout",
        );
    }
    assert!(line.contains("Authorization Violation"), "{line}");
    assert_eq!(service.reasons().len(), 1, "it was asked");
    Outcome::passed(["it is asked about, and refused"])
}
