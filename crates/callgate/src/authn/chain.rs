//! Asks authenticators in order; the first answer other than "not mine" is final.

use std::{
    future::poll_fn, panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::{Authenticator, Decline, Identity, Readiness, unclaimed::nobody_knows};
use crate::{
    admission::queues::{Crowd, NoRoom, Waiting},
    record::{Denial, Reason},
    request::AuthRequest,
};

/// One authenticator in its place in the chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// The name that policy, log and metrics use.
    pub name: Arc<str>,
    /// Who is asked.
    pub authenticator: Arc<dyn Authenticator>,
    /// How long it may take; never past the request's deadline.
    pub timeout: Duration,
    /// Whether the service waits for its source before it takes requests.
    pub required: bool,
}

/// Authenticators in the order in which they are asked.
///
/// Requests that wait for an authenticator have a share of the places that there are, so that one
/// whose backend hangs does not stop the others, nor what it can itself answer at once.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    links: Vec<Link>,
    waiting: Arc<Waiting>,
}

/// Who answered, and what.
#[derive(Debug)]
pub struct ChainAnswer {
    /// Who gave the final answer; nobody if all said "not mine".
    pub authenticator: Option<Arc<str>>,
    /// How many were asked before that, each of whom said "not mine".
    pub not_mine: usize,
    /// How long the final answer took.
    pub took: Duration,
    /// The identity, or why there is none.
    pub result: Result<Identity, Denial>,
}

impl Chain {
    /// A chain of these links.
    pub fn new(links: Vec<Link>) -> Self {
        let waiting = Arc::new(Waiting::of(links.len()));
        Self { links, waiting }
    }

    /// The links, in order.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// What the chain still waits for: required authenticators whose source has not loaded.
    pub fn waiting_for(&self) -> Vec<(Arc<str>, String)> {
        let required = self.links.iter().filter(|link| link.required);
        required
            .filter_map(|link| match link.authenticator.readiness() {
                Readiness::Ready => None,
                Readiness::Waiting(what) => Some((Arc::clone(&link.name), what)),
            })
            .collect()
    }

    /// Asks one after the other who the client is.
    pub async fn identify(&self, request: &AuthRequest) -> ChainAnswer {
        self.identify_among(request, &Crowd::default()).await
    }

    /// The same, among as many as may be worked on at once.
    pub(crate) async fn identify_among(&self, request: &AuthRequest, crowd: &Crowd) -> ChainAnswer {
        for (not_mine, link) in self.links.iter().enumerate() {
            let started = Instant::now();
            let place = || self.waiting.place(not_mine, &crowd.source_of(request), crowd.most);
            let result = match ask(link, request, place).await {
                Err(Decline::NotMine) => continue,
                Ok(identity) => Ok(identity),
                // Stop here: asking the next would send this credential to a second system.
                Err(Decline::Rejected(rejection)) => {
                    Err(Denial::new(rejection.reason, rejection.detail))
                }
                // Stop here too: a dead strong backend must not open the way to a weaker one.
                Err(Decline::Unavailable(error)) => Err(unavailable(error.as_ref())),
            };
            let authenticator = Some(Arc::clone(&link.name));
            return ChainAnswer { authenticator, not_mine, took: started.elapsed(), result };
        }
        ChainAnswer {
            authenticator: None,
            not_mine: self.links.len(),
            took: Duration::ZERO,
            result: Err(nobody_knows(request.credential(), &self.links)),
        }
    }
}

async fn ask<P>(
    link: &Link,
    request: &AuthRequest,
    place: impl FnOnce() -> Result<P, NoRoom>,
) -> Result<Identity, Decline> {
    let own_end = Instant::now().checked_add(link.timeout);
    let own_end = own_end.filter(|end| *end < request.deadline());
    let until = own_end.unwrap_or(request.deadline());
    let answer = AssertUnwindSafe(async { link.authenticator.authenticate(request).await });
    let mut answer = pin!(answer.catch_unwind());
    // What is answered at once takes no place: however many wait for a backend that hangs, those
    // who do not need it are not refused.
    let at_once = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
    let answered = match at_once {
        Poll::Ready(answered) => Ok(answered),
        Poll::Pending => {
            let _place = place().map_err(|no_room| Decline::Unavailable(no_room.into()))?;
            timeout_at(until, answer).await
        }
    };
    match answered {
        Ok(Ok(answer)) => answer,
        // The panic's text may hold anything, so only the fact is told.
        Ok(Err(_panic)) => Err(Decline::Unavailable("it panicked; this is a bug".into())),
        Err(_elapsed) => Err(Decline::Unavailable(match own_end {
            Some(_) => format!("no answer within {:?}", link.timeout).into(),
            None => "no answer before the server's deadline".into(),
        })),
    }
}

/// A refusal that knows it was overload, told through [`Decline::Unavailable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more work than can be done in time")]
pub struct Overloaded;

fn unavailable(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Denial {
    let reason = match error.is::<Overloaded>() || error.is::<NoRoom>() {
        true => Reason::Overloaded,
        false => Reason::BackendUnavailable,
    };
    Denial::new(reason, error.to_string())
}
