//! `[nats.tls]`. Every file is checked before Callgate connects.

use std::path::Path;

use callgate_config::{Key, Sources, Table, Type};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::nats::TlsSettings;

pub(super) const KEYS: &[Key] = &[
    Key::optional("ca", Type::Path, "PEM file of certificate authorities. An unusable file is an error, also for the next two keys").or_else("the system's"),
    Key::optional("cert", Type::Path, "client certificate; belongs to `key`"),
    Key::optional("key", Type::Path, "private key of the client certificate"),
    Key::optional("first", Type::Boolean, "start TLS before the server sends anything (`handshake_first`)").or("false"),
];

type Chain = Vec<CertificateDer<'static>>;

/// Reads the table and checks its files.
pub(super) fn read(nats: &mut Table<'_>) -> Option<TlsSettings> {
    let Some(mut table) = nats.table("tls") else {
        return (!nats.has("tls")).then(TlsSettings::default);
    };
    let ca = table.file("ca");
    let cert = table.file("cert");
    let key = table.file("key");
    let first = table.boolean("first").unwrap_or_default();
    if let Some(ca) = &ca {
        authorities(&table, ca);
    }
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => {
            check_identity(&table, &cert, &key);
            Some((cert, key))
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            table.fault_here("`cert` and `key` belong together");
            None
        }
    };
    table.finish();
    Some(TlsSettings { required: true, ca, identity, first })
}

fn authorities(table: &Table<'_>, path: &Path) {
    let mut store = RootCertStore::empty();
    for certificate in certificates(table, "ca", path).unwrap_or_default() {
        if store.add(certificate).is_err() {
            let path = path.display();
            table.fault(
                "ca",
                format!("`{path}` contains a certificate that cannot be used as an authority"),
            );
        }
    }
}

fn check_identity(table: &Table<'_>, cert: &Path, key: &Path) {
    if let Some(warning) = Sources::readable_by_others(key) {
        table.warn("key", warning);
    }
    let chain = certificates(table, "cert", cert);
    let private = private_key(table, key);
    let (Some(chain), Some(private)) = (chain, private) else { return };
    if CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).is_err() {
        let cert = cert.display();
        let key = key.display();
        let mismatch = format!(
            "`{key}` does not match the certificate `{cert}`, or is of a kind that is not supported"
        );
        table.fault("key", mismatch);
    }
}

/// The certificates of a file; none is an error.
fn certificates(table: &Table<'_>, key: &str, path: &Path) -> Option<Chain> {
    let pem = table.sources().read(path).map_err(|error| table.fault(key, error)).ok()?;
    let chain: Result<Chain, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) | Err(_) => {
            let path = path.display();
            table.fault(
                key,
                format!("`{path}` contains no PEM certificate (-----BEGIN CERTIFICATE-----)"),
            );
            None
        }
    }
}

fn private_key(table: &Table<'_>, path: &Path) -> Option<PrivateKeyDer<'static>> {
    let pem = table.sources().read(path).map_err(|error| table.fault("key", error)).ok()?;
    let key = PrivateKeyDer::from_pem_slice(&pem);
    key.map_err(|_| {
        let path = path.display();
        table.fault(
            "key",
            format!("`{path}` contains no usable PEM private key (keys with a passphrase are not supported)"),
        );
    })
    .ok()
}
