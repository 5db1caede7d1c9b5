//! A private certificate authority, and certificates for servers on the loopback.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate authority that is not trusted by default.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new authority. `name` identifies it in messages.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Its certificate, for clients that should trust it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// TLS for a server on 127.0.0.1, with a valid certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_until(2099, "127.0.0.1")
    }

    /// The same with an expired certificate.
    pub fn expired_server(&self) -> Arc<ServerConfig> {
        self.server_until(2020, "127.0.0.1")
    }

    /// The same with a certificate for another host.
    pub fn other_server(&self) -> Arc<ServerConfig> {
        self.server_until(2099, "other.example")
    }

    /// A valid certificate for 127.0.0.1 and its key, as PEM, for servers that read files.
    pub fn server_pem(&self) -> (String, String) {
        self.server_pem_for(&["127.0.0.1"])
    }

    /// The same for these names.
    pub fn server_pem_for(&self, names: &[&str]) -> (String, String) {
        let (certificate, key) = self.certificate_until(2099, names);
        (certificate.pem(), key.serialize_pem())
    }

    fn certificate_until(&self, year: i32, names: &[&str]) -> (Certificate, KeyPair) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    fn server_until(&self, year: i32, host: &str) -> Arc<ServerConfig> {
        let (certificate, key) = self.certificate_until(year, &[host]);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.expect("a key that fits its certificate"))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}
