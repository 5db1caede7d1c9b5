#![doc = include_str!("../docs/certificate.md")]

mod chain;
mod config;
mod spiffe;
mod trust;
mod watch;

use std::{fmt, sync::Arc};

use callgate::{
    authn::{Authenticator, Decline, Identity},
    clock::UnixTime,
    record::Reason,
    request::{AuthRequest, Certificate, Credential},
};
use callgate_config::{Key, Table};
use futures_util::future::BoxFuture;
use serde_json::{Map, json};

use crate::{
    client_certificate::{self, Names, Presented},
    kind::{BuildContext, Kind},
};
use chain::{ChainError, Revocation};
use config::{NameKind, Settings};
use spiffe::SpiffeId;
use trust::Bundle;
use watch::TrustStore;

/// In bytes; SPIFFE IDs may be longer.
const MAX_USER: usize = 512;

/// Accepts client certificates that nats-server verified, and verifies them again.
pub struct Certificates {
    name: Arc<str>,
    settings: Settings,
    trust: TrustStore,
    /// Whether another `certificate` authenticator may know the root of a certificate.
    is_followed: bool,
}

impl Certificates {
    /// Builds the authenticator; errors go into the table's report.
    fn build(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let read = Settings::read(&mut table);
        let good = table.finish();
        let (settings, files) = read.filter(|_| good)?;
        let trust = TrustStore::start(context, files);
        let is_followed = context.chain.same_kind_follows;
        Some(Self { name: Arc::clone(&context.name), settings, trust, is_followed })
    }

    /// The identity of the certificate's holder.
    fn identify(&self, certificate: &Certificate, now: UnixTime) -> Result<Identity, Decline> {
        let presented = Presented::read(&certificate.verified_chains).map_err(bad)?;
        let leaf = client_certificate::parse(&presented.leaf).map_err(bad)?;
        let names = Names::of(&leaf, &presented.leaf);
        let bundles = self.trust.bundles();
        // The trust domain selects the roots before anything is verified, so that one domain cannot
        // vouch for another.
        let id = match self.settings.user {
            NameKind::Spiffe => Some(names.as_ref().map_err(Clone::clone).and_then(spiffe_id)),
            _ => None,
        };
        let bundle = match &id {
            None => bundles.first(),
            Some(Ok(id)) => bundles.iter().find(|bundle| bundle.is_for(id)),
            Some(Err(_)) => None,
        };
        let end = match bundle {
            Some(bundle) => self.verify(&presented, bundle, now),
            None => Err(ChainError::UnknownRoot),
        };
        let end = match end {
            Ok(end) => end,
            Err(ChainError::UnknownRoot) => {
                let text = match id {
                    Some(Err(error)) => error,
                    _ => "its chain ends in none of the roots that may vouch for it".to_owned(),
                };
                let ends_in_no_root = || {
                    bundles
                        .iter()
                        .all(|one| presented.verify(one, None, now) == Err(ChainError::UnknownRoot))
                };
                return Err(match self.is_followed && ends_in_no_root() {
                    true => Decline::NotMine,
                    false => bad(text),
                });
            }
            Err(ChainError::Revoked) => {
                let text = "a certificate of the chain was revoked";
                return Err(Decline::rejected(Reason::CertificateRevoked, text));
            }
            Err(ChainError::NoStatus(text)) => return Err(Decline::Unavailable(text.into())),
            Err(ChainError::Bad(text)) => return Err(bad(text)),
        };
        let names = names.map_err(bad)?;
        self.check_requirements(&names)?;
        if self.settings.user == NameKind::Spiffe {
            refuse_signing_key(&leaf)?;
        }
        let user = self.user(&names)?;
        let not_after = UnixTime::from_seconds(leaf.validity().not_after.timestamp());
        let mut claims = Map::new();
        claims.insert("certificate".to_owned(), names.claims(not_after.to_string()).into());
        if let Some(Ok(id)) = id {
            let spiffe = json!({ "trust_domain": id.trust_domain(), "path": id.path() });
            claims.insert("spiffe".to_owned(), spiffe);
        }
        let groups = self.settings.groups.map(|kind| kind.of(&names)).unwrap_or_default();
        Ok(Identity {
            user,
            groups: groups.into_iter().map(str::to_owned).collect(),
            claims,
            expires_at: Some(end),
            ..Identity::default()
        })
    }

    /// Verifies the chain, including revocation. Without current revocation lists nothing is accepted.
    fn verify(
        &self,
        presented: &Presented,
        bundle: &Bundle,
        now: UnixTime,
    ) -> Result<UnixTime, ChainError> {
        if !self.settings.has_crls {
            return presented.verify(bundle, None, now);
        }
        match &**self.trust.crls() {
            Ok(lists) => {
                let end_entity_only = self.settings.crl_end_entity_only;
                presented.verify(bundle, Some(&Revocation { lists, end_entity_only }), now)
            }
            Err(text) => {
                presented.verify(bundle, None, now)?;
                Err(ChainError::NoStatus(text.clone()))
            }
        }
    }

    fn check_requirements(&self, names: &Names) -> Result<(), Decline> {
        let pinned = &self.settings.pinned_keys;
        if !pinned.is_empty() && !pinned.contains(&names.key_sha256) {
            return Err(bad("its key is not one of `pinned_keys`"));
        }
        for (kind, patterns) in &self.settings.required {
            let present = kind.of(names);
            if !present.iter().any(|name| patterns.iter().any(|pattern| pattern.matches(name))) {
                return Err(bad(format!("it has no `{}` that `required` lists", kind.name())));
            }
        }
        Ok(())
    }

    /// The one name that identifies the client.
    fn user(&self, names: &Names) -> Result<String, Decline> {
        let kind = self.settings.user;
        let what = kind.name();
        let user = match kind.of(names).as_slice() {
            [user] => (*user).to_owned(),
            [] => return Err(bad(format!("it has no `{what}`, which identifies the user"))),
            several => {
                let count = several.len();
                return Err(bad(format!("it has {count} names `{what}` instead of one")));
            }
        };
        match user.len() {
            0 => Err(bad(format!("its `{what}` is empty"))),
            length if length > MAX_USER && kind != NameKind::Spiffe => {
                Err(bad(format!("its `{what}` has more than {MAX_USER} bytes")))
            }
            _ => Ok(user),
        }
    }
}

/// The SPIFFE ID: exactly one URI (X509-SVID section 2).
fn spiffe_id(names: &Names) -> Result<SpiffeId, String> {
    match names.uris.as_slice() {
        [uri] => Ok(uri.parse()?),
        [] => Err("it has no URI, so it is not an X509-SVID".to_owned()),
        several => Err(format!("it has {} URIs; an X509-SVID has exactly one", several.len())),
    }
}

/// The leaf of an X509-SVID must not be able to sign certificates (X509-SVID section 4).
fn refuse_signing_key(leaf: &x509_parser::certificate::X509Certificate<'_>) -> Result<(), Decline> {
    let usage = leaf.key_usage().map_err(|_| bad("its key usage is malformed"))?;
    let signs = usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    match signs || leaf.is_ca() {
        true => Err(bad("it may sign certificates, so it is not the leaf of an X509-SVID")),
        false => Ok(()),
    }
}

fn bad(text: impl Into<String>) -> Decline {
    Decline::rejected(Reason::BadCertificate, text)
}

impl Authenticator for Certificates {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async move {
            match (request.credential(), request.certificate()) {
                (Credential::Certificate, Some(certificate)) => {
                    self.identify(certificate, request.received())
                }
                _ => Err(Decline::NotMine),
            }
        })
    }

    fn retire(&self) {
        self.trust.stop();
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The kind `certificate`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertificateKind;

impl Kind for CertificateKind {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn keys(&self) -> &'static [Key] {
        config::KEYS
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        Some(Arc::new(Certificates::build(context, table)?))
    }
}

#[cfg(test)]
mod tests;
