//! TLS as sqlx takes it.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::backend::TlsSettings;

/// The certificates for verified TLS, as PEM.
///
/// sqlx adds the authorities to those of the crate `webpki-roots`, which this workspace replaces with
/// an empty list (`third_party/webpki-roots`): only these count.
pub(crate) struct VerifiedTls {
    pub(crate) authorities: Vec<u8>,
    pub(crate) identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    /// The name in the server's certificate, if it is not the host in the URL.
    pub(crate) server_name: Option<String>,
}

impl VerifiedTls {
    pub(crate) fn new(settings: &TlsSettings) -> Self {
        let authorities = settings.ca.clone().unwrap_or_else(system_authorities);
        let server_name = settings.server_name.as_ref().map(|name| name.to_str().into_owned());
        Self { authorities, identity: settings.identity.clone(), server_name }
    }
}

fn system_authorities() -> Vec<u8> {
    let certificates = rustls_native_certs::load_native_certs().certs;
    let pem = |certificate: &rustls::pki_types::CertificateDer<'_>| {
        let text = BASE64.encode(certificate);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    certificates.iter().map(pem).collect::<String>().into_bytes()
}
