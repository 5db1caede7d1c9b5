//! Entries for one cluster, or for clusters whose tokens name the same issuer: they route by audience,
//! as entries of `oidc` do.

use std::sync::{Arc, Mutex, PoisonError};

use super::{config::Settings, keys::Issuer};
use crate::kind::BuildContext;

/// The entries of one configuration.
#[derive(Debug, Default)]
pub(super) struct AudienceRouting {
    entries: Mutex<Vec<Entry>>,
}

/// What of an entry decides which tokens are its own.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    name: Arc<str>,
    audience: Vec<String>,
    /// The issuer; nothing where the API server is asked whose a token is.
    issuer: Option<Arc<Issuer>>,
    /// What the configuration says of the cluster.
    cluster: String,
}

/// Two entries that a token could be for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{audience}` is an audience of `{other}` too, for the same cluster: tokens are routed by it"
)]
pub(super) struct Overlap {
    audience: String,
    other: Arc<str>,
}

impl Entry {
    pub(super) fn of(
        context: &BuildContext,
        settings: &Settings,
        issuer: Option<&Arc<Issuer>>,
    ) -> Self {
        Self {
            name: Arc::clone(&context.name),
            audience: settings.audience.clone(),
            issuer: issuer.cloned(),
            cluster: settings.cluster.clone(),
        }
    }

    fn known(&self) -> Option<Arc<String>> {
        self.issuer.as_ref()?.known()
    }

    /// True if both are sure to see the same tokens. Issuers that the API server tells are not known
    /// when a configuration is read.
    fn is_of_cluster(&self, other: &Self) -> bool {
        match (self.known(), other.known()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (Some(_), None) | (None, Some(_)) | (None, None) => self.cluster == other.cluster,
        }
    }
}

impl AudienceRouting {
    /// Adds an entry. One of the same name takes the older one's place.
    pub(super) fn add(&self, entry: Entry) -> Result<(), Overlap> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|known| known.name != entry.name);
        for other in entries.iter().filter(|other| entry.is_of_cluster(other)) {
            if let Some(both) = entry.audience.iter().find(|one| other.audience.contains(one)) {
                return Err(Overlap { audience: both.clone(), other: Arc::clone(&other.name) });
            }
        }
        entries.push(entry);
        Ok(())
    }

    /// True if another entry than `name` takes tokens of `issuer` for one of `audience`. One whose
    /// issuer is not known yet might: it is asked, and says that it cannot tell.
    pub(super) fn another_takes(&self, name: &str, issuer: &str, audience: &[String]) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .filter(|entry| &*entry.name != name)
            .filter(|entry| entry.known().is_none_or(|known| *known == issuer))
            .any(|entry| entry.audience.iter().any(|one| audience.contains(one)))
    }
}
