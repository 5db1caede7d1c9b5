//! Clients that authenticate with a certificate only.

use std::sync::Arc;

use callgate::{
    Refusal, User,
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_testkit::nats_server::Version;

use super::{
    library::{Library, by_name},
    server,
};
use crate::{
    certificates::Certificates,
    clients::{Login, options, user_info},
    environment,
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
};

pub(super) async fn alone(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let certificates = Certificates::generate();
    let server = environment::server(&site, version, &certificates).await;
    let known = certificates.client.certificate.replace('\r', "");
    let service =
        Library::start(&site, &server, move |request| by_certificate(request, known.clone()));
    let service = service.await;
    let folder = server.folder();
    let connect = async |certificate: bool| {
        let mut options = options(&site, &Login::default());
        if certificate {
            options = options
                .require_tls(true)
                .add_root_certificates(folder.join("ca.pem"))
                .add_client_certificate(folder.join("client.pem"), folder.join("client.key"));
        }
        options.connect(server.url()).await
    };
    let client = connect(true).await.expect("the certificate is known");
    let info = user_info(&client).await.expect("an answer");
    assert_eq!((info.user.as_str(), &info.account), ("machine-7", &site.accounts["APP"]));
    assert!(connect(false).await.is_err(), "without it there is no credential");
    assert_eq!(service.reasons(), [Reason::Admitted, Reason::NoCredential]);
    Outcome::passed(["with the certificate", "without it"])
}

/// A WebSocket listener has separate TLS settings.
pub(super) async fn over_websocket(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let certificates = Certificates::generate();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    };
    let ca = file("ca.pem", &certificates.ca);
    let cert = file("server.pem", &certificates.server.certificate);
    let key = file("server.key", &certificates.server.key);
    let client_cert = file("client.pem", &certificates.client.certificate);
    let client_key = file("client.key", &certificates.client.key);
    let more = format!(
        "websocket {{ listen: \"127.0.0.1:{{{{websocket_port}}}}\"\n\
         tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true, timeout: 5 }} }}"
    );
    let server = server(&site, version, &more).await;
    let url = server.websocket_url().replace("ws://", "wss://");
    let known = certificates.client.certificate.replace('\r', "");
    let service = Library::start(&site, &server, move |request| {
        let known = known.clone();
        async move {
            match request.credential() {
                Credential::Certificate => by_certificate(request, known).await,
                _ => by_name(request).await,
            }
        }
    });
    let service = service.await;
    let connect = async |login: Login, certificate: bool| {
        let mut options = options(&site, &login).add_root_certificates(ca.clone());
        if certificate {
            options = options.add_client_certificate(client_cert.clone(), client_key.clone());
        }
        options.connect(&url).await
    };
    let client = connect(Login::default(), true).await.expect("the certificate is known");
    assert_eq!(user_info(&client).await.expect("an answer").user, "machine-7");
    let client = connect(Login::password("alice", "alice"), true).await.expect("alice is in");
    assert_eq!(user_info(&client).await.expect("an answer").user, "alice");
    assert!(connect(Login::password("alice", "alice"), false).await.is_err());
    assert_eq!(service.reasons(), [Reason::Admitted, Reason::Admitted]);
    Outcome::passed(["with the certificate alone", "with a password", "without the certificate"])
}

async fn by_certificate(request: Arc<AuthRequest>, known: String) -> Result<User, Refusal> {
    let (Credential::Certificate, Some(certificate)) =
        (request.credential(), request.certificate())
    else {
        return Err(Refusal::deny("not a certificate alone"));
    };
    let leaf = certificate.verified_chains.first().and_then(|chain| chain.first());
    match leaf.is_some_and(|leaf| same(leaf, &known)) {
        true => Ok(User::in_account("APP").named("machine-7").unrestricted()),
        false => Err(Refusal::deny("another certificate")),
    }
}

/// PEM texts differ in their line breaks.
fn same(left: &str, right: &str) -> bool {
    left.split_whitespace().eq(right.split_whitespace())
}
