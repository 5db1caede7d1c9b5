//! A certificate authority for one run, with a server and two clients.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Everything that TLS needs.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate, in PEM.
    pub ca: String,
    /// For 127.0.0.1.
    pub server: Identity,
    /// A client that the authority knows.
    pub client: Identity,
}

impl Certificates {
    /// A new authority.
    pub fn generate() -> Self {
        let mut params = named("Callgate conformance");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        let mut server = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])
            .expect("an address");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut client = named("machine-7");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self { ca, server: signed(&server, &issuer), client: signed(&client, &issuer) }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn signed(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    Identity { certificate: certificate.pem(), key: key.serialize_pem() }
}
