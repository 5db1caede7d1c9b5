//! Directories: sources in which a user's entry is found by name, token or nkey.
//!
//! A kind implements [`Directory`]. [`DirectoryAuthenticator`] does everything else: password
//! hashing in the pool, equal cost for unknown users, remembered verifications, and `disabled` and
//! `expires` after the credential proved correct.

use std::{future::Future, sync::Arc};

use callgate::{
    authn::{BackendError, Decline, Identity, Probe, ProbeReport, Readiness},
    keys::UserKey,
    secret::Secret,
};
use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::Instant};

use crate::passwords::StoredPassword;

mod arena;
mod authenticator;
mod credentials;
mod entry;
mod index;
mod packed;
mod table;
#[cfg(feature = "kv")]
mod value;

pub(crate) use authenticator::DirectoryAuthenticator;
pub use entry::FILE;
#[cfg(feature = "anonymous")]
pub(crate) use entry::proposal;
pub(crate) use entry::{ENTRY, Entry, FirstNames, parse_time, token_hash, users_in_words};
pub(crate) use packed::PackedEntry;
pub(crate) use table::{EntryTable, Shared, TableFull, next_version};
#[cfg(feature = "kv")]
pub use value::{CheckedEntry, MAX_VALUE, check_entry};
#[cfg(feature = "kv")]
pub(crate) use value::{Read, read_value};

/// An entry, `None` if the directory has none, or why there is no answer. A rejected name costs a hash
/// like an unknown one.
pub(crate) type Lookup = Result<Option<Arc<Entry>>, Decline>;

/// The entry of a user, as far as memory can tell.
#[derive(Debug, Clone)]
pub(crate) enum Remembered {
    Entry(Arc<Entry>),
    /// The directory has no entry of this name.
    Missing,
    /// Only the source could answer.
    Unknown,
}

/// A source of entries.
pub(crate) trait Directory: Send + Sync + 'static {
    /// Checks a name and a password before the source sees the name.
    ///
    /// # Errors
    /// If they can never be correct.
    fn precheck(&self, _user: &str, _password: &Secret) -> Result<(), Decline> {
        Ok(())
    }

    /// The entry of this name.
    fn by_name(&self, name: &str, deadline: Instant) -> impl Future<Output = Lookup> + Send;

    /// The entry with this token. Compares digests, so that time reveals nothing about tokens.
    fn by_token(&self, token: &Secret, deadline: Instant) -> impl Future<Output = Lookup> + Send;

    /// The entry with this public key.
    fn by_nkey(&self, key: &UserKey, deadline: Instant) -> impl Future<Output = Lookup> + Send;

    /// What to verify for a name without a password
    /// ([`DummyPasswords`](crate::passwords::DummyPasswords)).
    fn dummy_password(&self, name: &str) -> Arc<StoredPassword>;

    /// Calls `visit` with every entry; `None` if the directory cannot list them.
    fn for_each(&self, _visit: &mut dyn FnMut(&Entry)) -> Option<()> {
        None
    }

    /// The entry of this name, without asking the source.
    fn remembered(&self, _name: &str) -> Remembered {
        Remembered::Unknown
    }

    /// Changes whenever [`Directory::remembered`] may answer differently; `None` if it never does.
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// The source as the operator knows it, such as a file name.
    fn description(&self) -> &str;

    /// Receives the answer to each login that depended on the source.
    fn answered(&self, _answer: &Result<Identity, Decline>) {}

    /// Whether the source has loaded at least once.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    /// See [`Authenticator::probe`](callgate::authn::Authenticator::probe).
    fn probe(&self, _probe: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        None
    }

    /// Ends background work.
    fn retire(&self) {}
}

#[cfg(test)]
mod tests;
