//! The formats of configuration files.

use std::{path::Path, str::FromStr};

/// The format of a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.toml`
    Toml,
    /// `.yaml`, `.yml`
    Yaml,
    /// `.json`
    Json,
}

impl Format {
    /// Determines the format from the file extension.
    ///
    /// # Errors
    /// If the extension is unknown.
    pub fn of(path: &Path) -> Result<Self, UnknownExtension> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("toml") => Ok(Self::Toml),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("json") => Ok(Self::Json),
            Some(_) | None => Err(UnknownExtension(path.display().to_string())),
        }
    }
}

/// The format cannot be determined from the name of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not end in .toml, .yaml or .json, so its format is unknown")]
pub struct UnknownExtension(String);

/// Not the name of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the formats are toml, yaml and json")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name.to_ascii_lowercase().as_str() {
            "toml" => Ok(Self::Toml),
            "yaml" | "yml" => Ok(Self::Yaml),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

pub(crate) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        // `no` is a string, not a boolean, as in YAML 1.2.
        strict_booleans: true,
        with_snippet: false,
        // Enough for a hundred thousand users; aliases have tighter limits of their own.
        budget: serde_saphyr::budget! { max_events: 8_000_000, max_nodes: 4_000_000 },
    }
}
