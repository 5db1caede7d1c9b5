//! Verifies a chain of certificates again, with roots of our own.

use callgate::clock::UnixTime;
use rustls::pki_types;
use webpki::{
    ALL_VERIFICATION_ALGS, EndEntityCert, Error, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::certificate::X509Certificate;

use super::trust::{Bundle, RevocationLists};
use crate::client_certificate::{self, Presented};

/// Why a chain does not count.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChainError {
    /// It ends in none of the roots.
    UnknownRoot,
    /// A certificate in it was revoked.
    Revoked,
    /// Its revocation status cannot be determined.
    NoStatus(String),
    /// It is bad.
    Bad(String),
}

impl Presented {
    /// Verifies that the chain ends in a root of the bundle, with dates, constraints, key usage and
    /// revocation. Returns when its first certificate expires, the root included.
    pub(super) fn verify(
        &self,
        bundle: &Bundle,
        revocation: Option<&Revocation<'_>>,
        now: UnixTime,
    ) -> Result<UnixTime, ChainError> {
        let lists: Vec<_> = revocation.iter().flat_map(|one| &one.lists.lists).collect();
        let options = revocation.and_then(|one| one.options(&lists));
        let leaf = EndEntityCert::try_from(&self.leaf)?;
        let seconds = u64::try_from(now.seconds()).unwrap_or_default();
        let time = pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let path = leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &bundle.anchors,
            &self.others,
            time,
            KeyUsage::client_auth(),
            options,
            None,
        )?;
        let mut roots = bundle.anchors.iter().zip(&bundle.roots);
        let root = roots.find(|(anchor, _)| *anchor == path.anchor());
        let (_, root) = root.ok_or(ChainError::UnknownRoot)?;
        if !root.is_valid_at(now) {
            return Err(ChainError::Bad("its root has expired or is not valid yet".to_owned()));
        }
        let mut earliest = root.not_after;
        let parsed = client_certificate::parse(&self.leaf).map_err(ChainError::Bad)?;
        let usage = key_usage(&parsed)?;
        if usage.is_some_and(|usage| !usage.digital_signature() && !usage.key_agreement()) {
            return Err(ChainError::Bad(
                "its key usage allows no client authentication (`digitalSignature`)".to_owned(),
            ));
        }
        earliest = earliest.min(parsed.validity().not_after.timestamp());
        for certificate in path.intermediate_certificates() {
            let der = certificate.der();
            let parsed = client_certificate::parse(&der).map_err(ChainError::Bad)?;
            if key_usage(&parsed)?.is_some_and(|usage| !usage.key_cert_sign()) {
                return Err(ChainError::Bad(
                    "the key usage of an intermediate does not allow signing certificates"
                        .to_owned(),
                ));
            }
            earliest = earliest.min(parsed.validity().not_after.timestamp());
        }
        Ok(UnixTime::from_seconds(earliest))
    }
}

/// Revocation lists, and for which certificates they count.
#[derive(Debug)]
pub(super) struct Revocation<'a> {
    pub(super) lists: &'a RevocationLists,
    pub(super) end_entity_only: bool,
}

impl Revocation<'_> {
    fn options<'l>(
        &self,
        lists: &'l [&'l webpki::CertRevocationList<'static>],
    ) -> Option<RevocationOptions<'l>> {
        let depth = match self.end_entity_only {
            true => RevocationCheckDepth::EndEntity,
            false => RevocationCheckDepth::Chain,
        };
        let builder = RevocationOptionsBuilder::new(lists).ok()?;
        let builder = builder.with_depth(depth).with_status_policy(UnknownStatusPolicy::Deny);
        Some(builder.with_expiration_policy(ExpirationPolicy::Enforce).build())
    }
}

fn key_usage<'c>(
    certificate: &'c X509Certificate<'_>,
) -> Result<Option<&'c x509_parser::extensions::KeyUsage>, ChainError> {
    let usage = certificate.key_usage();
    let usage = usage.map_err(|_| ChainError::Bad("a key usage is malformed".to_owned()))?;
    Ok(usage.map(|extension| extension.value))
}

impl From<Error> for ChainError {
    fn from(error: Error) -> Self {
        match error {
            // The second: one of our roots has the name of its issuer, but another key.
            Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => Self::UnknownRoot,
            Error::CertRevoked => Self::Revoked,
            Error::UnknownRevocationStatus => {
                Self::NoStatus("no revocation list covers a certificate of the chain".to_owned())
            }
            Error::CrlExpired { .. } => Self::NoStatus("a revocation list is stale".to_owned()),
            Error::InvalidCrlSignatureForPublicKey | Error::IssuerNotCrlSigner => {
                Self::NoStatus("a revocation list was not signed by its issuer".to_owned())
            }
            Error::InvalidCrlNumber
            | Error::UnsupportedCrlIssuingDistributionPoint
            | Error::UnsupportedCrlVersion
            | Error::UnsupportedDeltaCrl
            | Error::UnsupportedIndirectCrl
            | Error::UnsupportedRevocationReason
            | Error::UnsupportedRevocationReasonsPartitioning
            | Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                Self::NoStatus("a revocation list is of a kind that is not supported".to_owned())
            }
            Error::CertExpired { .. } => {
                Self::Bad("a certificate of the chain has expired".to_owned())
            }
            Error::CertNotValidYet { .. } => {
                Self::Bad("a certificate of the chain is not valid yet".to_owned())
            }
            Error::CaUsedAsEndEntity => {
                Self::Bad("it is the certificate of a certificate authority".to_owned())
            }
            Error::RequiredEkuNotFoundContext(_) => Self::Bad(
                "its extended key usage does not include client authentication".to_owned(),
            ),
            // The library's names of errors contain nothing of the certificate.
            other => Self::Bad(format!("its chain is not valid ({other:?})")),
        }
    }
}
