//! The roots and revocation lists in force, read from files that are read again when they change.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    time::Duration,
};

use callgate::clock::UnixTime;
use callgate_config::Sources;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, TrustAnchor, pem::PemObject,
};
use webpki::{ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, OwnedCertRevocationList};
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use super::spiffe::{SpiffeId, TrustDomain};
use crate::client_certificate;

/// In bytes. Revocation lists of large authorities have some megabytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Where roots and revocation lists are read from.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// One file for all certificates, without a trust domain, or one for each trust domain.
    pub(super) roots: Vec<(Option<TrustDomain>, File)>,
    pub(super) crls: Vec<File>,
}

/// A file and its name in messages.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) shown: String,
    /// The key path in the configuration.
    pub(super) key: String,
}

/// An error in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileError {
    pub(super) key: String,
    pub(super) text: String,
}

/// Certificate authorities that are trusted together.
#[derive(Debug)]
pub(super) struct Bundle {
    /// `None` for all certificates.
    pub(super) domain: Option<TrustDomain>,
    pub(super) roots: Vec<Root>,
    /// Of the roots, in the same order.
    pub(super) anchors: Vec<TrustAnchor<'static>>,
}

/// A certificate authority.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    der: CertificateDer<'static>,
}

/// The revocation lists.
#[derive(Debug)]
pub(super) struct RevocationLists {
    pub(super) lists: Vec<CertRevocationList<'static>>,
    /// When the first of them becomes stale.
    pub(super) next_update: UnixTime,
}

impl Files {
    /// Reads the roots.
    pub(super) fn read_roots(&self) -> Result<Vec<Bundle>, Vec<FileError>> {
        let read = |(domain, file): &(Option<TrustDomain>, File)| {
            let (roots, anchors) = file.roots()?.into_iter().unzip();
            Ok(Bundle { domain: domain.clone(), roots, anchors })
        };
        collect(self.roots.iter().map(read))
    }

    /// Reads the revocation lists; `None` if there are no files.
    pub(super) fn read_crls(
        &self,
        bundles: &[Bundle],
    ) -> Result<Option<RevocationLists>, Vec<FileError>> {
        let read = collect(self.crls.iter().map(|file| file.crls(bundles)))?;
        let (lists, times): (Vec<_>, Vec<_>) = read.into_iter().flatten().unzip();
        let next_update = times.into_iter().min();
        Ok(next_update.map(|next_update| RevocationLists { lists, next_update }))
    }

    /// Every file.
    pub(super) fn all(&self) -> Vec<&Path> {
        let roots = self.roots.iter().map(|(_, file)| file);
        roots.chain(&self.crls).map(|file| file.path.as_path()).collect()
    }
}

impl Bundle {
    /// Whether its roots may vouch for this ID.
    pub(super) fn is_for(&self, id: &SpiffeId) -> bool {
        self.domain.as_ref().is_some_and(|domain| domain.0 == id.trust_domain())
    }
}

impl RevocationLists {
    /// How long the lists remain current; negative once they are stale.
    pub(super) fn remaining_seconds(&self, now: UnixTime) -> i64 {
        self.next_update.seconds_since(now)
    }
}

impl File {
    fn error(&self, text: impl Display) -> FileError {
        FileError { key: self.key.clone(), text: text.to_string() }
    }

    fn read(&self) -> Result<Vec<u8>, FileError> {
        let content = Sources::read_bounded(&self.path, MAX_FILE);
        Ok(content.map_err(|error| self.error(error))?.to_vec())
    }

    fn roots(&self) -> Result<Vec<(Root, TrustAnchor<'static>)>, FileError> {
        let content = self.read()?;
        let shown = &self.shown;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
        let certificates = certificates.map_err(|_| self.error(format!("`{shown}` is not PEM")))?;
        if certificates.is_empty() {
            return Err(self.error(format!("`{shown}` contains no certificate in PEM")));
        }
        let numbered = certificates.into_iter().enumerate();
        numbered
            .map(|(index, der)| {
                let which = format!("certificate {} of `{shown}`", index + 1);
                Root::read(der).map_err(|error| self.error(format!("{which} {error}")))
            })
            .collect()
    }

    /// The lists, each with the time of the next one.
    fn crls(
        &self,
        bundles: &[Bundle],
    ) -> Result<Vec<(CertRevocationList<'static>, UnixTime)>, FileError> {
        let content = self.read()?;
        let shown = &self.shown;
        let ders: Result<Vec<_>, _> = match content.trim_ascii_start().starts_with(b"-----BEGIN") {
            true => CertificateRevocationListDer::pem_slice_iter(&content).collect(),
            false => Ok(vec![CertificateRevocationListDer::from(content.clone())]),
        };
        let ders = ders.map_err(|_| self.error(format!("`{shown}` is not PEM")))?;
        if ders.is_empty() {
            return Err(self.error(format!("`{shown}` contains no revocation list")));
        }
        let read = |der: CertificateRevocationListDer<'_>| {
            read_crl(&der, bundles)
                .map_err(|error| self.error(format!("the revocation list `{shown}` {error}")))
        };
        ders.into_iter().map(read).collect()
    }
}

impl Root {
    fn read(der: CertificateDer<'_>) -> Result<(Self, TrustAnchor<'static>), String> {
        let certificate = client_certificate::parse(&der).map_err(|_| "is malformed")?;
        if !certificate.is_ca() {
            return Err("is not a certificate authority: list the issuers of client certificates, not the certificates themselves".to_owned());
        }
        let anchor = webpki::anchor_from_trusted_cert(&der)
            .map_err(|_| "cannot be used as a root")?
            .to_owned();
        let validity = certificate.validity();
        let root = Self {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            der: der.clone().into_owned(),
        };
        Ok((root, anchor))
    }

    pub(super) fn is_valid_at(&self, now: UnixTime) -> bool {
        (self.not_before..=self.not_after).contains(&now.seconds())
    }
}

/// Reads a list. If a root issued it, its signature is verified; otherwise that happens when it is used.
fn read_crl(
    der: &[u8],
    bundles: &[Bundle],
) -> Result<(CertRevocationList<'static>, UnixTime), &'static str> {
    let malformed =
        "is malformed, or of a kind that is not supported (delta and indirect lists are not)";
    let list = OwnedCertRevocationList::from_der(der).map_err(|_| malformed)?;
    let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|_| malformed)?;
    let next = parsed.next_update().ok_or("has no `nextUpdate`, so it would never become stale")?;
    let roots = bundles.iter().flat_map(|bundle| &bundle.roots);
    let issuers: Vec<_> =
        roots.filter(|root| issued_by(&root.der, parsed.issuer().as_raw())).collect();
    let (signed, signature) = (parsed.tbs_cert_list.as_ref(), parsed.signature_value.as_ref());
    let verified = issuers.iter().any(|root| verifies(&root.der, signed, signature));
    if !issuers.is_empty() && !verified {
        return Err("names one of the roots as its issuer, which did not sign it");
    }
    Ok((CertRevocationList::Owned(list), UnixTime::from_seconds(next.timestamp())))
}

fn issued_by(root: &CertificateDer<'_>, issuer: &[u8]) -> bool {
    client_certificate::parse(root).is_ok_and(|root| root.subject().as_raw() == issuer)
}

fn verifies(root: &CertificateDer<'_>, signed: &[u8], signature: &[u8]) -> bool {
    let Ok(root) = EndEntityCert::try_from(root) else { return false };
    let mut algorithms = ALL_VERIFICATION_ALGS.iter();
    algorithms.any(|algorithm| root.verify_signature(*algorithm, signed, signature).is_ok())
}

/// All values, or all errors.
fn collect<T>(
    results: impl Iterator<Item = Result<T, FileError>>,
) -> Result<Vec<T>, Vec<FileError>> {
    let mut values = Vec::new();
    let mut errors = Vec::new();
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// How often files are compared with what is in force.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);
