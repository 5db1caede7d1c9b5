//! Which entries share an issuer: they route by audience, so no audience may be two entries'.

use std::sync::{Arc, Mutex, PoisonError};

/// The entries of one configuration.
#[derive(Debug, Default)]
pub(crate) struct AudienceRouting {
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: Arc<str>,
    issuer: String,
    audience: Vec<String>,
}

/// Two entries that a token could be for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{audience}` is an audience of `{other}` too, for the same issuer: tokens are routed by it"
)]
pub(crate) struct Overlap {
    pub(crate) audience: String,
    pub(crate) other: Arc<str>,
}

impl AudienceRouting {
    /// Adds an entry. One of the same name takes the older one's place.
    pub(crate) fn add(
        &self,
        name: &Arc<str>,
        issuer: &str,
        audience: &[String],
    ) -> Result<(), Overlap> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.name != *name);
        for entry in entries.iter().filter(|entry| entry.issuer == issuer) {
            if let Some(both) = audience.iter().find(|one| entry.audience.contains(one)) {
                return Err(Overlap { audience: both.clone(), other: Arc::clone(&entry.name) });
            }
        }
        let (issuer, audience) = (issuer.to_owned(), audience.to_vec());
        entries.push(Entry { name: Arc::clone(name), issuer, audience });
        Ok(())
    }

    /// True if another entry than `name` takes tokens of `issuer` for one of `audience`.
    pub(crate) fn another_takes(&self, name: &str, issuer: &str, audience: &[String]) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .filter(|entry| &*entry.name != name && entry.issuer == issuer)
            .any(|entry| entry.audience.iter().any(|one| audience.contains(one)))
    }

    /// True if an entry for the same issuer comes after `name`.
    pub(crate) fn another_follows(&self, name: &str, issuer: &str) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = entries.iter().skip_while(|entry| &*entry.name != name).skip(1);
        after.any(|entry| entry.issuer == issuer)
    }
}
