//! Directories: sources in which a user's entry is found by name, token or nkey.
//!
//! A kind implements [`Directory`]. [`DirectoryAuthenticator`] does everything else: password
//! hashing in the pool, equal cost for unknown users, remembered verifications, and `disabled` and
//! `expires` after the credential proved correct.

use std::{future::Future, sync::Arc};

use callgate::{authn::BackendError, keys::UserKey, secret::Secret};

use crate::passwords::StoredPassword;

mod authenticator;
mod entry;

pub(crate) use authenticator::DirectoryAuthenticator;
pub use entry::FILE;
pub(crate) use entry::{Entry, ParsedEntry, first_names};

/// An entry, `None` if the directory has none, or an error if it could not answer.
pub(crate) type Lookup = Result<Option<Arc<Entry>>, BackendError>;

/// A source of entries.
pub(crate) trait Directory: Send + Sync + 'static {
    /// The entry of exactly this name.
    fn by_name(&self, name: &str) -> impl Future<Output = Lookup> + Send;

    /// The entry with this token. Compares digests, so that time reveals nothing about tokens.
    fn by_token(&self, token: &Secret) -> impl Future<Output = Lookup> + Send;

    /// The entry with this public key.
    fn by_nkey(&self, key: &UserKey) -> impl Future<Output = Lookup> + Send;

    /// What to verify for a name without a password
    /// ([`DummyPasswords`](crate::passwords::DummyPasswords)).
    fn dummy_password(&self, name: &str) -> Arc<StoredPassword>;

    /// Calls `visit` with every entry; `None` if the directory cannot list them.
    fn for_each(&self, _visit: &mut dyn FnMut(&Entry)) -> Option<()> {
        None
    }

    /// The source as the operator knows it, such as a file name.
    fn description(&self) -> &str;

    /// Ends background work.
    fn retire(&self) {}
}

#[cfg(test)]
mod tests;
