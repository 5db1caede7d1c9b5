//! Entry points for the fuzz targets (feature `fuzzing`); not for use in a service.

use std::path::Path;

use callgate_config::Fault;

use crate::config::{self, BuildEnv, Overrides};

/// The result of `callgate check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Whether `serve` would start with it.
    pub usable: bool,
    /// Errors.
    pub faults: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// What a message between replicas about sessions says: as it is decoded, and after encoding and decoding that
/// again. `None` if it is not a message.
pub fn session_message(message: &[u8]) -> Option<[Vec<String>; 2]> {
    crate::sessions::decoded_twice(message)
}

/// Loads a configuration file as `callgate check --config` does.
pub fn check(path: &Path) -> Checked {
    let overrides = Overrides { config: Some(path.to_owned()), ..Overrides::default() };
    let env = BuildEnv::aside();
    let loaded = config::load(&overrides, &env);
    let texts = |list: Vec<Fault>| list.iter().map(ToString::to_string).collect();
    Checked {
        usable: loaded.config.is_some(),
        faults: texts(loaded.report.faults()),
        warnings: texts(loaded.report.warnings()),
    }
}
