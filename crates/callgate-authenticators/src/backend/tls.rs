//! `tls` of a backend: which certificates count, and which one Callgate presents.
//!
//! The files are read with the configuration, which is loaded again when one of them changes.

use std::{fmt, sync::Arc};

use callgate_config::{Key, Sources, Table, Type};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "ca",
        Type::Path,
        "PEM file with the only certificate authorities to trust. It is read again when it changes",
    )
    .or_else("the system's"),
    Key::optional("cert", Type::Path, "client certificate of Callgate; belongs to `key`"),
    Key::optional("key", Type::Path, "private key of that certificate"),
    Key::optional("server_name", Type::Text, "the name that the server's certificate must carry")
        .or_else("the host in the URL"),
];

/// The content of the files, checked.
#[derive(Clone, Default)]
pub(crate) struct TlsSettings {
    /// The only certificate authorities to trust, as PEM; `None` for the system's.
    pub(crate) ca: Option<Vec<u8>>,
    /// Callgate's certificate and its key, as PEM.
    pub(crate) identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl TlsSettings {
    /// Reads the table `tls`; errors are reported.
    pub(super) fn read(parent: &mut Table<'_>) -> Option<Self> {
        let Some(mut table) = parent.table("tls") else {
            return (!parent.has("tls")).then(Self::default);
        };
        let ca = file(&mut table, "ca");
        if let Some(pem) = &ca
            && let Err(error) = authorities(pem)
        {
            table.fault("ca", error);
        }
        let has_both = table.has("cert") == table.has("key");
        if !has_both {
            table.fault_here("`cert` and `key` belong together");
        }
        let cert = file(&mut table, "cert").filter(|pem| match certificates(pem) {
            Ok(_) => true,
            Err(error) => {
                table.fault("cert", error);
                false
            }
        });
        let key = table.file("key").and_then(|path| {
            if let Some(warning) = Sources::readable_by_others(&path) {
                table.warn("key", warning);
            }
            table.sources().read(&path).map_err(|error| table.fault("key", error)).ok()
        });
        let identity = cert.zip(key).filter(|(cert, key)| match certified_key(cert, key) {
            Ok(_) => true,
            Err(error) => {
                table.fault("key", error);
                false
            }
        });
        let server_name = table.filled_string("server_name").and_then(|name| {
            let parsed = ServerName::try_from(name);
            parsed.map_err(|_| table.fault("server_name", "is not a host name or address")).ok()
        });
        table.finish().then_some(Self {
            ca: ca.map(|pem| pem.to_vec()),
            identity: identity.map(|(cert, key)| (cert.to_vec(), key)),
            server_name,
        })
    }

    /// The configuration of TLS clients: TLS 1.2 or 1.3, always with verification.
    ///
    /// # Errors
    /// If the system has no certificate authorities, or rustls does not accept the certificate.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(match &self.ca {
            Some(pem) => authorities(pem)?,
            None => system_authorities()?,
        });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
        let builder = match &self.server_name {
            None => builder.with_root_certificates(roots),
            Some(name) => {
                let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                let inner = inner.map_err(|error| error.to_string())?;
                let verifier = NamedServer { name: name.clone(), inner };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((cert, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| NO_KEY.to_owned())?;
                let config = builder.with_client_auth_cert(certificates(cert)?, key);
                config.map_err(|_| NO_MATCH.to_owned())
            }
        }
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

fn file(table: &mut Table<'_>, key: &str) -> Option<Zeroizing<Vec<u8>>> {
    let path = table.file(key)?;
    table.sources().read(&path).map_err(|error| table.fault(key, error)).ok()
}

const NO_KEY: &str =
    "the file contains no usable PEM private key (keys with a passphrase are not supported)";

const NO_MATCH: &str =
    "the key does not match the certificate, or is of a kind that is not supported";

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(_) => {
            Err("the file contains no PEM certificate (-----BEGIN CERTIFICATE-----)".to_owned())
        }
    }
}

fn certified_key(cert: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| NO_KEY.to_owned())?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|_| NO_MATCH.to_owned())
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store
            .add(certificate)
            .map_err(|_| "contains a certificate that cannot be used as an authority".to_owned())?;
    }
    Ok(store)
}

fn system_authorities() -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match store.is_empty() {
        true => Err("the system has no certificate authorities: install `ca-certificates` or set \
                     `tls.ca`"
            .to_owned()),
        false => Ok(store),
    }
}

/// Verifies the server's certificate for a configured name in place of the host in the URL.
#[derive(Debug)]
struct NamedServer {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
