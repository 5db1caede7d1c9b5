//! Requests that wait for an authenticator: one whose backend hangs leaves room for the others, and
//! one source that floods leaves room for the other sources.

use std::{
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
};

use ipnet::IpNet;

use super::fair_limiter::{Place, Shares};
use crate::{
    authn::SourceKey,
    request::{AuthRequest, Credential},
};

/// How many requests are worked on at once, unless somebody says otherwise.
pub(crate) const MOST_AT_ONCE: u32 = 1024;

/// How many may be worked on at once, and who counts as one source among them.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    pub(crate) most: u32,
    pub(crate) trusted_proxies: Arc<[IpNet]>,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { most: MOST_AT_ONCE, trusted_proxies: Arc::default() }
    }
}

impl Crowd {
    /// The source of a request. Behind a proxy each user that is typed has a place of its own.
    pub(crate) fn source_of(&self, request: &AuthRequest) -> SourceKey {
        let user = match request.credential() {
            Credential::Password { user, .. } => user.as_str(),
            Credential::Nkey(key) => key.as_str(),
            Credential::Token(_) | Credential::Certificate => "",
        };
        SourceKey::of(request, user, &self.trusted_proxies)
    }
}

/// [`Crowd::most`], as the responder last said.
#[derive(Debug)]
pub(crate) struct MostAtOnce(AtomicU32);

impl Default for MostAtOnce {
    fn default() -> Self {
        Self(AtomicU32::new(MOST_AT_ONCE))
    }
}

impl MostAtOnce {
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(feature = "nats")]
    pub(crate) fn set(&self, most: u32) {
        self.0.store(most, Ordering::Relaxed);
    }
}

/// Too many wait for one authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many wait for this authenticator as its share of `max_in_flight` allows")]
pub(crate) struct NoRoom;

/// Who waits for which authenticator.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    links: Arc<Shares<usize>>,
    sources: Vec<Arc<Shares<SourceKey>>>,
}

/// A place among those who wait for an authenticator, until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitingPlace {
    _of_source: Place<SourceKey>,
    _of_link: Place<usize>,
}

impl Waiting {
    pub(crate) fn of(links: usize) -> Self {
        let sources = (0..links).map(|_| Arc::default()).collect();
        Self { links: Arc::default(), sources }
    }

    /// A place for `source` among those who wait for `link`.
    pub(crate) fn place(
        &self,
        link: usize,
        source: &SourceKey,
        most: u32,
    ) -> Result<WaitingPlace, NoRoom> {
        let sources = self.sources.get(link).ok_or(NoRoom)?;
        let of_link = self.links.take(&link, most).ok_or(NoRoom)?;
        // What the other links leave to this one is in turn shared by those who wait for it.
        let of_source = sources.take(source, self.links.share(&link, most)).ok_or(NoRoom)?;
        Ok(WaitingPlace { _of_source: of_source, _of_link: of_link })
    }
}
