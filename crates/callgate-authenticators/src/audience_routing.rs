//! Routes tokens between entries that accept the same issuer: a token belongs to the entry that lists
//! its audience.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use callgate_config::Table;

use serde_json::{Map, Value};

use crate::{claim_path::ClaimPath, jws::claims::string_or_strings, kind::BuildContext};

/// The issuer of an entry's tokens: configured, or learned from its backend.
#[derive(Debug, Default)]
pub(crate) struct Issuer {
    known: ArcSwapOption<String>,
    is_configured: bool,
}

impl Issuer {
    pub(crate) fn configured(issuer: &str) -> Self {
        Self { known: ArcSwapOption::from_pointee(issuer.to_owned()), is_configured: true }
    }

    pub(crate) fn known(&self) -> Option<Arc<String>> {
        self.known.load_full()
    }

    /// True if this issuer is news.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn learn(&self, issuer: &str) -> bool {
        let is_news = self.known().is_none_or(|known| *known != issuer);
        if is_news {
            self.known.store(Some(Arc::new(issuer.to_owned())));
        }
        is_news
    }
}

/// What decides which tokens belong to an entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) audience: Vec<String>,
    /// The claim with a token's audience; `None` for `aud`.
    pub(crate) audience_claim: Option<ClaimPath>,
    /// `None` if the backend recognizes its own tokens.
    pub(crate) issuer: Option<Arc<Issuer>>,
    /// The backend, to compare entries whose issuers are not known yet.
    pub(crate) backend: String,
}

impl Entry {
    fn known_issuer(&self) -> Option<Arc<String>> {
        self.issuer.as_ref()?.known()
    }

    fn is_configured(&self) -> bool {
        self.issuer.as_ref().is_some_and(|issuer| issuer.is_configured)
    }

    /// True if both entries certainly accept tokens of the same issuer.
    fn shares_issuer(&self, other: &Self) -> bool {
        match (self.known_issuer(), other.known_issuer()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            // A configured issuer may be another one than the backend's, as while that is changed.
            (Some(_), None) | (None, Some(_)) | (None, None) => {
                self.backend == other.backend && !self.is_configured() && !other.is_configured()
            }
        }
    }

    /// An entry whose issuer is not known yet may turn out to accept the token: it answers that it
    /// cannot tell.
    fn may_accept(&self, issuer: &str, claims: &Map<String, Value>) -> bool {
        self.known_issuer().is_none_or(|known| *known == issuer) && self.is_audience(claims)
    }

    /// True if the token is for one of the entry's audiences.
    fn is_audience(&self, claims: &Map<String, Value>) -> bool {
        let found = match &self.audience_claim {
            Some(path) => path.find(claims),
            None => claims.get("aud"),
        };
        let audience = found.and_then(string_or_strings).unwrap_or_default();
        audience.iter().any(|one| self.audience.contains(one))
    }
}

/// Two entries that would accept the same token.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{audience}` is also an audience of `{other}`, which has the same issuer: tokens are routed by \
     audience, so list it in one of the two"
)]
struct Overlap {
    audience: String,
    other: Arc<str>,
}

/// The entries of one kind in one configuration.
#[derive(Debug, Default)]
struct Entries(Mutex<Vec<Entry>>);

impl Entries {
    /// Adds an entry, or replaces the one of the same name.
    fn add(&self, entry: Entry) -> Result<(), Overlap> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|known| known.name != entry.name);
        for other in entries.iter().filter(|other| {
            entry.audience_claim == other.audience_claim && entry.shares_issuer(other)
        }) {
            if let Some(both) = entry.audience.iter().find(|one| other.audience.contains(one)) {
                return Err(Overlap { audience: both.clone(), other: Arc::clone(&other.name) });
            }
        }
        entries.push(entry);
        Ok(())
    }
}

/// One entry's view of all entries of its kind.
#[derive(Debug)]
pub(crate) struct AudienceRouting {
    entry: Entry,
    entries: Arc<Entries>,
}

impl AudienceRouting {
    /// Registers an entry. Reports an audience that another entry with the same issuer lists too.
    pub(crate) fn register(
        context: &BuildContext,
        kind: &str,
        entry: Entry,
        table: &Table<'_>,
    ) -> Option<Self> {
        // Each configuration has its own entries.
        let id = format!("{kind} {}", context.services.generation);
        let entries: Arc<Entries> = context.services.shared.obtain(&id, Entries::default);
        let added = entries.add(entry.clone());
        added.map_err(|overlap| table.fault("audience", overlap)).ok()?;
        Some(Self { entry, entries })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.entry.name
    }

    pub(crate) fn audience(&self) -> &[String] {
        &self.entry.audience
    }

    /// True if another entry accepts the token and this one does not. A token that no entry accepts
    /// is this entry's to refuse.
    pub(crate) fn is_for_another(&self, claims: &Map<String, Value>, issuer: &str) -> bool {
        let entries = self.entries.0.lock().unwrap_or_else(PoisonError::into_inner);
        !self.entry.is_audience(claims)
            && entries
                .iter()
                .any(|other| other.name != self.entry.name && other.may_accept(issuer, claims))
    }

    /// True if no entry accepts the token, and an entry with the same issuer comes after this one.
    pub(crate) fn may_be_refused_later(&self, claims: &Map<String, Value>) -> bool {
        let entries = self.entries.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut later = entries.iter().skip_while(|other| other.name != self.entry.name).skip(1);
        !self.entry.is_audience(claims) && later.any(|other| self.entry.shares_issuer(other))
    }
}
