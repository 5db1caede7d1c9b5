//! Tries authenticators in order; the first answer other than "not mine" is final.

use std::{
    error::Error, future::poll_fn, panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::{Authenticator, Decline, Identity, Readiness, unclaimed::unclaimed};
use crate::{
    admission::{AdmissionPolicy, AuthenticatorQueues, QueueFull},
    reason::{Denial, Reason, unverified_claims},
    request::{AuthRequest, Credential},
};

/// One authenticator of a chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// The name used in policy, logs and metrics.
    pub name: Arc<str>,
    /// The authenticator.
    pub authenticator: Arc<dyn Authenticator>,
    /// How long it may take; the request's deadline applies as well.
    pub timeout: Duration,
    /// Whether the service waits for its source before it handles requests.
    pub required: bool,
}

/// Authenticators in the order in which they are tried.
///
/// Requests that wait for an authenticator get a share of the capacity, so that one whose backend
/// hangs blocks neither the others nor the answers that it can give immediately.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    links: Vec<Link>,
    queues: Arc<AuthenticatorQueues>,
    /// With two issuers or more, reading a token once costs less than letting each authenticator read it.
    routes_by_issuer: bool,
}

/// The answer of a chain.
#[derive(Debug)]
pub struct ChainAnswer {
    /// The authenticator with the final answer; `None` if all answered "not mine".
    pub authenticator: Option<Arc<str>>,
    /// How many authenticators answered "not mine" before that.
    pub not_mine: usize,
    /// How long the final answer took.
    pub took: Duration,
    /// The identity, or why there is none.
    pub result: Result<Identity, Denial>,
}

impl Chain {
    /// A chain of these links.
    pub fn new(links: Vec<Link>) -> Self {
        let queues = Arc::new(AuthenticatorQueues::new(links.len()));
        let with_issuer = |link: &&Link| link.authenticator.only_issuer().is_some();
        let routes_by_issuer = links.iter().filter(with_issuer).nth(1).is_some();
        Self { links, queues, routes_by_issuer }
    }

    /// The links, in order.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The required authenticators whose source has not loaded, and what they wait for.
    pub fn waiting_for(&self) -> Vec<(Arc<str>, String)> {
        let required = self.links.iter().filter(|link| link.required);
        required
            .filter_map(|link| match link.authenticator.readiness() {
                Readiness::Ready => None,
                Readiness::Waiting(what) => Some((Arc::clone(&link.name), what)),
            })
            .collect()
    }

    /// The authenticators' remarks ([`Authenticator::remark`](super::Authenticator::remark)), one line for
    /// each, after its name.
    pub fn remarks(&self) -> Vec<String> {
        let remark = |link: &Link| Some(format!("{}: {}", link.name, link.authenticator.remark()?));
        self.links.iter().filter_map(remark).collect()
    }

    /// Whether an authenticator decides about clients without a credential.
    pub(crate) fn takes_anonymous(&self) -> bool {
        self.links.iter().any(|link| link.authenticator.takes_anonymous())
    }

    /// Identifies the client of `request`.
    pub async fn identify(&self, request: &AuthRequest) -> ChainAnswer {
        self.identify_with(request, AdmissionPolicy::default()).await
    }

    pub(crate) async fn identify_with(
        &self,
        request: &AuthRequest,
        admission: AdmissionPolicy<'_>,
    ) -> ChainAnswer {
        let is_anonymous = matches!(request.credential(), Credential::Anonymous);
        let issuer = self.claimed_issuer(request.credential());
        for (index, link) in self.links.iter().enumerate() {
            if is_anonymous && !link.authenticator.takes_anonymous() {
                continue;
            }
            if is_of_another_issuer(issuer.as_deref(), link) {
                continue;
            }
            let started = Instant::now();
            let queue = || self.queues.enter(index, request, admission);
            let result = match authenticate(link, request, queue).await {
                Err(Decline::NotMine) => continue,
                Ok(identity) => Ok(identity),
                // Stop here: trying the next one would show this credential to a second system.
                Err(Decline::Rejected(rejection)) => Err(rejection.into()),
                // Stop here too: an unavailable backend must not open the way to a weaker one.
                Err(Decline::Unavailable(error)) => Err(unavailable(error.as_ref())),
            };
            let authenticator = Some(Arc::clone(&link.name));
            let took = started.elapsed();
            return ChainAnswer { authenticator, not_mine: index, took, result };
        }
        ChainAnswer {
            authenticator: None,
            not_mine: self.links.len(),
            took: Duration::ZERO,
            result: Err(unclaimed(request.credential(), &self.links)),
        }
    }

    /// The issuer that a token names. Nothing in the token is verified.
    fn claimed_issuer(&self, credential: &Credential) -> Option<String> {
        let Credential::Token(token) = credential else { return None };
        if !self.routes_by_issuer {
            return None;
        }
        unverified_claims(token.expose())?.get("iss")?.as_str().map(str::to_owned)
    }
}

/// Whether the authenticator would answer "not mine" to any token of this issuer.
fn is_of_another_issuer(issuer: Option<&str>, link: &Link) -> bool {
    issuer.zip(link.authenticator.only_issuer()).is_some_and(|(issuer, only)| issuer != only)
}

async fn authenticate<P>(
    link: &Link,
    request: &AuthRequest,
    queue: impl FnOnce() -> Result<P, QueueFull>,
) -> Result<Identity, Decline> {
    let own_deadline = Instant::now().checked_add(link.timeout);
    let own_deadline = own_deadline.filter(|deadline| *deadline < request.deadline());
    let deadline = own_deadline.unwrap_or(request.deadline());
    let answer = AssertUnwindSafe(async { link.authenticator.authenticate(request).await });
    let mut answer = pin!(answer.catch_unwind());
    // An immediate answer needs no place in the queue: however many requests wait for a backend
    // that hangs, those that do not need it are not refused.
    let immediate = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
    let answered = match immediate {
        Poll::Ready(answered) => Ok(answered),
        Poll::Pending => {
            let _permit = queue().map_err(|full| Decline::Unavailable(full.into()))?;
            timeout_at(deadline, answer).await
        }
    };
    match answered {
        Ok(Ok(answer)) => answer,
        // The message of a panic may contain anything, so only the fact is reported.
        Ok(Err(_panic)) => Err(Decline::Unavailable("it panicked; this is a bug".into())),
        Err(_elapsed) => Err(Decline::Unavailable(match own_deadline {
            Some(_) => format!("no answer within {:?}", link.timeout).into(),
            None => "no answer before the server's deadline".into(),
        })),
    }
}

/// An error for [`Decline::Unavailable`] that is recorded as overload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more work than can be done in time")]
pub struct Overloaded;

fn unavailable(error: &(dyn Error + Send + Sync + 'static)) -> Denial {
    let reason = match error.is::<Overloaded>() || error.is::<QueueFull>() {
        true => Reason::Overloaded,
        false => Reason::BackendUnavailable,
    };
    Denial::new(reason, error.to_string())
}
