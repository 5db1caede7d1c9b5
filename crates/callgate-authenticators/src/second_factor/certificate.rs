//! A certificate in addition to another credential.

use std::{sync::Arc, time::Duration};

use callgate::{
    authn::{
        Authenticator, BackendError, Decline, Identity, IdentityLookup, Probe, ProbeReport,
        Readiness, Reassessment, Standing,
    },
    record::Reason,
    request::AuthRequest,
};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// Accepts what `inner` accepts, if a certificate authenticator accepts the connection's certificate, too.
#[derive(Debug)]
pub struct RequireCertificate {
    inner: Arc<dyn Authenticator>,
    certificates: Arc<dyn Authenticator>,
    same_user: bool,
}

impl RequireCertificate {
    /// With `same_user`, both must identify the same user.
    pub fn new(
        inner: Arc<dyn Authenticator>,
        certificates: Arc<dyn Authenticator>,
        same_user: bool,
    ) -> Self {
        Self { inner, certificates, same_user }
    }

    async fn identify(&self, request: &AuthRequest) -> Result<Identity, Decline> {
        let identity = self.inner.authenticate(request).await?;
        let alone = request.with_certificate_alone();
        let holder = match self.certificates.authenticate(&alone).await {
            Ok(holder) => holder,
            Err(Decline::Unavailable(error)) => return Err(Decline::Unavailable(error)),
            Err(Decline::NotMine) => {
                return Err(bad(match request.certificate() {
                    Some(_) => "the certificate is not one that the authenticator accepts",
                    None => "the server verified no certificate of the client",
                }));
            }
            Err(Decline::Rejected(rejection)) => {
                return Err(bad(format!("the certificate: {}", rejection.detail)));
            }
        };
        if self.same_user && holder.user != identity.user {
            return Err(bad(format!(
                "the certificate names `{}`, not `{}`",
                holder.user.escape_debug(),
                identity.user.escape_debug()
            )));
        }
        let expires_at = identity.expires_at.into_iter().chain(holder.expires_at).min();
        Ok(Identity { expires_at, ..identity })
    }
}

fn bad(text: impl Into<String>) -> Decline {
    Decline::rejected(Reason::BadSecondFactor, text)
}

impl Authenticator for RequireCertificate {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(self.identify(request))
    }

    fn readiness(&self) -> Readiness {
        self.inner.readiness()
    }

    fn remark(&self) -> Option<String> {
        self.inner.remark()
    }

    fn takes_anonymous(&self) -> bool {
        self.inner.takes_anonymous()
    }

    fn issuer(&self) -> Option<String> {
        self.inner.issuer()
    }

    fn only_issuer(&self) -> Option<&str> {
        self.inner.only_issuer()
    }

    fn probe(&self, probe: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        self.inner.probe(probe)
    }

    fn probe_timeout(&self) -> Option<Duration> {
        self.inner.probe_timeout()
    }

    fn lookup(&self) -> Option<&dyn IdentityLookup> {
        self.inner.lookup()
    }

    fn reassess(&self, identity: &Identity, how: &Reassessment) -> Standing {
        match self.inner.reassess(identity, how) {
            // The certificate is not at hand; its end limited the identity.
            Standing::Current(mut current) => {
                current.expires_at =
                    current.expires_at.into_iter().chain(identity.expires_at).min();
                Standing::Current(current)
            }
            other @ (Standing::Gone(_) | Standing::Unknown) => other,
        }
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        self.inner.changes()
    }

    fn retire(&self) {
        self.inner.retire();
    }
}
