//! Certificates that a server verified.

use callgate_testkit::{
    client_certificates::{CertificateParams, ClientAuthority, client_params, date_time_ymd},
    conformance::Login,
};

use super::*;

#[tokio::test]
async fn certificate_passes_the_authenticator_suite() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let root = ClientAuthority::root("devices");
    let other = ClientAuthority::root("other");
    write("ca.pem", root.pem());
    write("ca.crl", &root.revocation_list(&[66], 2099).pem);
    write("stale.crl", &root.revocation_list(&[66], 2021).pem);
    let with = |crl: &str| {
        let toml = format!("[certificate]\nca = \"ca.pem\"\nuser = \"cn\"\ncrl = \"{crl}\"");
        build(&toml, Sources::new(folder.path()))
    };
    let signed_by = |authority: &ClientAuthority, params: &CertificateParams| {
        Login::with_certificate(vec![authority.sign(params).pem, authority.pem().to_owned()])
    };
    let signed = |params: &CertificateParams| signed_by(&root, params);
    let alice = client_params("alice", vec![], 1);
    let mut expired = alice.clone();
    expired.not_after = date_time_ymd(2021, 1, 1);
    let leaf = root.sign(&alice);
    let secret = leaf.key_pem.lines().nth(1).unwrap().to_owned();
    let candidate = Candidate {
        authenticator: with("ca.crl"),
        good: vec![
            (Login::with_certificate(vec![leaf.pem, root.pem().to_owned()]), "alice"),
            (signed(&client_params("bob", vec![], 2)), "bob"),
        ],
        bad: vec![
            (signed(&client_params("revoked", vec![], 66)), Reason::CertificateRevoked),
            (signed(&client_params("", vec![], 3)), Reason::BadCertificate),
            (signed(&expired), Reason::BadCertificate),
            (signed_by(&other, &alice), Reason::BadCertificate),
            (Login::with_certificate(vec!["canary".to_owned()]), Reason::BadCertificate),
        ],
        foreign: foreign([
            password("alice", "canary"),
            Credential::Token("canary".into()),
            Credential::Nkey(nkey()),
            Credential::Certificate,
            Credential::Anonymous,
        ]),
        // Without a current revocation list it is not known who is revoked.
        cut_off: vec![(with("stale.crl"), signed(&alice).request())],
        secrets: vec![secret, "canary".to_owned()],
    };
    candidate.check_all().await;
}
