//! Keys and accounts of one environment, and the configuration of server and Callgate.

mod configuration;
mod keys;
mod nsc;
mod operator;
mod users;

use std::collections::BTreeMap;

use callgate_testkit::nats_server::Version;
pub use keys::{Pair, Xkey};
pub(crate) use operator::knows_default_sentinel;
pub use users::{JWT_TOKEN, NKEY_SEED, users};

use crate::mode::Mode;

/// The accounts that clients may be placed in.
pub const ACCOUNTS: [&str; 2] = ["APP", "OTHER"];

/// A login that bypasses the callout.
#[derive(Debug, Clone)]
pub enum Fixed {
    /// Configuration mode: a user of the server's configuration.
    Password(&'static str, &'static str),
    /// Operator mode: the text of a credentials file.
    Credentials(String),
}

/// The credential that clients present in operator mode so that the server calls Callgate.
#[derive(Debug, Clone)]
pub struct Sentinel {
    /// The bearer JWT.
    pub jwt: String,
    /// The credentials file.
    pub credentials: String,
    /// The JWT of one that is not a bearer: its key must be proved, as in sets that others made.
    pub keyed: String,
}

/// The keys of a callout without the library.
#[derive(Debug, Clone)]
pub struct Signers {
    /// Signs answers.
    pub issuer: Pair,
    /// The callout account, in operator mode.
    pub callout_account: Option<String>,
    /// Signs users of APP.
    pub app: Pair,
    /// The scoped signing key `reader` of APP.
    pub reader: Pair,
    /// Opens requests.
    pub xkey: Option<Xkey>,
}

/// One environment's materials.
#[derive(Debug, Clone)]
pub struct Site {
    /// Which environment.
    pub mode: Mode,
    /// Accounts, operator and callout: a part of the server's configuration.
    pub server: String,
    /// `[nats]` without servers, `[issuer]`, `[[accounts]]` and scoped roles, in TOML.
    pub service: String,
    /// Files that `service` names.
    pub files: Vec<(&'static str, String)>,
    /// How the server calls each account, by name.
    pub accounts: BTreeMap<&'static str, String>,
    /// How one watches each account.
    pub watchers: BTreeMap<&'static str, Fixed>,
    /// A user of the system account.
    pub system: Fixed,
    /// The callout's own user.
    pub callout: Fixed,
    /// Present in operator mode.
    pub sentinel: Option<Sentinel>,
    /// The keys.
    pub signers: Signers,
}

/// What may differ from the usual.
#[derive(Debug, Clone, Default)]
pub struct Variation {
    /// The server may place users in these accounts only (configuration mode), or in any account
    /// (operator mode, `["*"]`).
    pub allowed_accounts: Option<Vec<&'static str>>,
    /// What the scoped key `reader` may subscribe to beside inboxes (operator mode).
    pub reader_hears: Option<&'static str>,
}

impl Site {
    /// New keys for an environment.
    pub fn new(mode: Mode, version: Version, variation: &Variation) -> Self {
        match mode {
            Mode::Configuration | Mode::ConfigurationXkey | Mode::ConfigurationAccounts => {
                configuration::site(mode, variation)
            }
            Mode::Operator
            | Mode::OperatorXkey
            | Mode::OperatorSigningKeys
            | Mode::OperatorScopedKeys => operator::site(mode, version, variation),
            Mode::OperatorNsc => nsc::site(mode, version, variation),
        }
    }
}
