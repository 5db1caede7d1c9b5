//! Certificate authorities for client certificates, with intermediates and revocation lists.

use std::fmt;

pub use rcgen::{
    self, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rcgen::{
    BasicConstraints, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams,
};

/// An authority that issues client certificates.
pub struct ClientAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A client certificate, with the certificates above it.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// PEM of the certificate.
    pub pem: String,
    /// DER of the certificate.
    pub der: Vec<u8>,
    /// PEM of its key.
    pub key_pem: String,
}

impl ClientAuthority {
    /// A root with this common name.
    pub fn root(name: &str) -> Self {
        Self::root_until(name, 2099)
    }

    /// A root that expires at the beginning of this year.
    pub fn root_until(name: &str, year: i32) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = authority_params(name, year);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// An intermediate that this authority signed.
    pub fn intermediate(&self, name: &str, year: i32) -> Self {
        self.intermediate_with(authority_params(name, year))
    }

    /// An intermediate with these parameters.
    pub fn intermediate_with(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate with these parameters.
    pub fn sign(&self, params: &CertificateParams) -> ClientCertificate {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        ClientCertificate { pem, der, key_pem: key.serialize_pem() }
    }

    /// A revocation list of these serial numbers, current until the beginning of this year.
    pub fn revocation_list(&self, serials: &[u64], year: i32) -> RevocationList {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a revocation list");
        RevocationList { pem: list.pem().expect("PEM"), der: list.der().to_vec() }
    }
}

/// A revocation list.
#[derive(Debug, Clone)]
pub struct RevocationList {
    /// In PEM.
    pub pem: String,
    /// In DER.
    pub der: Vec<u8>,
}

/// The parameters of a client certificate with these names and serial number, valid until 2099.
pub fn client_params(common_name: &str, names: Vec<SanType>, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !common_name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    params.subject_alt_names = names;
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// The parameters of an authority that expires at the beginning of this year.
pub fn authority_params(name: &str, year: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    params
}

/// A URI as a subject alternative name.
pub fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().expect("ASCII"))
}

/// A DNS name as a subject alternative name.
pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

/// An email address as a subject alternative name.
pub fn email(address: &str) -> SanType {
    SanType::Rfc822Name(address.try_into().expect("ASCII"))
}

impl fmt::Debug for ClientAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAuthority")
    }
}
