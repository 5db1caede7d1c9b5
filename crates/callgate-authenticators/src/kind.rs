//! Kinds of authenticators, and how each is built from its own table of the configuration.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use callgate::{authn::Authenticator, policy::settings::RoleSettings};

use callgate_config::{Key, Table};

mod buckets;
mod bus;
mod context;
mod registry;
mod resources;
mod second_factor;

pub(crate) use context::FALL_THROUGH_KEY;

pub use buckets::{Bucket, BucketEvent, BucketFacts, REMOVED_BY};
pub use bus::{Bus, BusError};
pub use context::{BuildContext, CacheSettings, ChainPosition, PolicyView, ScopeErrors, Services};
pub use registry::{OPTIONAL_KINDS, Registry};
pub use resources::SharedResources;
pub use second_factor::{SECOND_FACTOR_KEYS, SecondFactorSettings};

/// A kind of authenticator: `users`, `oidc`, …
///
/// To add your own to the service, implement this trait and pass it to [`Registry::with`]. Its name
/// is the name of its table in `[[authenticators]]`.
pub trait Kind: fmt::Debug + Send + Sync {
    /// The name of its table in the configuration.
    fn name(&self) -> &'static str;

    /// The keys of its table. An empty list declares none: then every key that it reads is known.
    fn keys(&self) -> &'static [Key] {
        &[]
    }

    /// Whether, with this table, it authenticates user names with passwords.
    fn takes_passwords(&self, _table: &serde_json::Value) -> bool {
        false
    }

    /// Whether it has entries, which may contain the secret of one-time codes.
    fn has_entries(&self) -> bool {
        false
    }

    /// Whether it uses the service's connection to NATS ([`Services::bus`]).
    fn uses_bus(&self) -> bool {
        false
    }

    /// Whether, with this table, it refuses unknown user names. Later authenticators then never see
    /// a password.
    fn refuses_unknown_users(&self, _table: &serde_json::Value) -> bool {
        false
    }

    /// Public nkeys that sign tokens with this table. Logging in with one of them is an error,
    /// because a login signs whatever the server chooses. Malformed keys are left out:
    /// [`Kind::build`] reports them.
    fn token_keys(&self, _table: &serde_json::Value) -> Vec<String> {
        Vec::new()
    }

    /// The variables that each of its identities brings to templates
    /// ([`Identity::variables`](callgate::authn::Identity::variables)). Their values are single
    /// literal tokens that need no encoding. Joined with `_` they name the private inbox, so together
    /// they must identify the user.
    fn variables(&self) -> &'static [&'static str] {
        &[]
    }

    /// The role of all its identities, for kinds with a key `defaults`, whose values replace those
    /// of this role.
    fn defaults(&self) -> Option<RoleSettings> {
        None
    }

    /// Builds the authenticator. Errors go into the table's report; `None` means that there were
    /// some. The implementation calls [`Table::finish`].
    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>>;
}

/// Whether a table leaves no unknown user name to the next authenticator: `fall_through` is not `true`.
pub(crate) fn never_falls_through(table: &serde_json::Value) -> bool {
    table.get("fall_through") != Some(&true.into())
}

/// Called after each entry of a file; dropped when the file has been loaded, or cannot be.
pub type EntryCounter = Box<dyn FnMut()>;

/// Receives events, for metrics and progress. `authenticator` is the name of the authenticator.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A file of entries is about to be loaded; `None` if they need not be counted.
    fn file_loading(&self, _file: &str) -> Option<EntryCounter> {
        None
    }

    /// A changed file was read again; `loaded` if it took effect.
    fn file_reloaded(&self, _authenticator: &str, _loaded: bool) {}

    /// Whether a file of the authenticator is in force as it is on disk.
    fn file_in_sync(&self, _file: &Path, _in_sync: bool) {}

    /// It verifies bearer tokens with keys that it fetches: the counters of these start at zero.
    fn has_signing_keys(&self, _authenticator: &str) {}

    /// Fetching signing keys succeeded or failed.
    fn keys_refreshed(&self, _authenticator: &str, _fetched: bool) {}

    /// The number of known service accounts; `lost_for` is the age of that knowledge while the
    /// watch is lost.
    fn service_accounts(&self, _authenticator: &str, _known: usize, _lost_for: Option<Duration>) {}

    /// How many entries of a watched directory are in force, and how many are invalid.
    fn directory_entries(&self, _authenticator: &str, _loaded: usize, _faulty: usize) {}

    /// Malformed subjects in the annotations of a service account were dropped.
    fn annotations_malformed(&self, _authenticator: &str, _subjects: usize) {}

    /// How long the revocation lists remain current, in seconds; negative or zero if they are stale
    /// or cannot be read.
    fn revocation_lists_expire(&self, _authenticator: &str, _seconds: i64) {}

    /// The signature of a bearer token was accepted: verified now, or `remembered`.
    fn signature_counted(&self, _authenticator: &str, _remembered: bool) {}

    /// It queries a backend: the counters of its answers start at zero.
    fn has_backend(&self, _authenticator: &str) {}

    /// A login that depends on a backend was answered.
    fn backend_answered(&self, _authenticator: &str, _result: BackendResult) {}

    /// The last query had a good answer (also a rejection), or none.
    fn backend_up(&self, _authenticator: &str, _up: bool) {}

    /// A password was hashed, of a known or of an unknown user. Remembered passwords and clear text cost no hash.
    fn password_hashed(&self, _authenticator: &str) {}

    /// A second factor was asked for.
    fn second_factor(&self, _authenticator: &str, _result: SecondFactorResult) {}

    /// The number of connections to a backend that are `Idle` or `Busy`.
    fn backend_connections(&self, _authenticator: &str, _state: BackendConnections, _count: usize) {
    }
}

/// How a second factor was judged, after the password proved correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondFactorResult {
    /// The code counts.
    Accepted,
    /// The same password and code were accepted from this source recently.
    Remembered,
    /// No code was sent, or the entry has no secret and needs one.
    Missing,
    /// The code is wrong.
    Wrong,
    /// The code was used already.
    Replayed,
    /// Too many wrong codes.
    Blocked,
    /// The replicas could not be asked.
    Unavailable,
}

impl SecondFactorResult {
    /// Every result.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Remembered,
        Self::Missing,
        Self::Wrong,
        Self::Replayed,
        Self::Blocked,
        Self::Unavailable,
    ];

    /// The value of the label `result`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Remembered => "remembered",
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Replayed => "replayed",
            Self::Blocked => "blocked",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How a login that depends on a backend was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendResult {
    /// The backend knows the client.
    Identity,
    /// The backend rejected the credential.
    Rejected,
    /// No usable answer.
    Unavailable,
    /// Answered from memory.
    Remembered,
}

impl BackendResult {
    /// Every result.
    pub const ALL: [Self; 4] =
        [Self::Identity, Self::Rejected, Self::Unavailable, Self::Remembered];

    /// The value of the label `result`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Remembered => "remembered",
        }
    }
}

/// The state of connections to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendConnections {
    /// Open and not in use.
    Idle,
    /// In use by a query.
    Busy,
}

impl BackendConnections {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Idle, Self::Busy];

    /// The value of the label `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
        }
    }
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

#[cfg(test)]
mod tests;
