//! `[audit]`, checked.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use callgate::{keys::KeyPair, secret::Secret};

use super::privacy::{Hidden, HideKey, Hider};

/// What is recorded, and where.
#[derive(Debug, Clone)]
pub(crate) struct AuditSettings {
    /// No login is admitted unless a sink has stored its record.
    pub(crate) required: bool,
    /// How long an admission waits for that.
    pub(crate) timeout: Duration,
    /// Signs seals.
    pub(crate) key: Option<Arc<KeyPair>>,
    pub(crate) hide: Vec<Hidden>,
    pub(crate) hide_key: Option<Secret>,
    /// Also the claims that policy names.
    pub(crate) facts: bool,
    pub(crate) sinks: Vec<SinkSettings>,
}

/// One of `[[audit.sinks]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SinkSettings {
    File(FileSettings),
    Stream(StreamSettings),
    Stdout,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileSettings {
    pub(crate) path: PathBuf,
    /// As it is written in the configuration.
    pub(crate) name: String,
    pub(crate) rotate: Option<RotateSettings>,
}

/// When a file is rotated, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RotateSettings {
    /// In bytes.
    pub(crate) size: Option<u64>,
    pub(crate) every: Option<Duration>,
    /// How many rotated files stay.
    pub(crate) keep: Option<usize>,
    /// A command with its arguments.
    pub(crate) then: Vec<String>,
}

/// A stream in the callout account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamSettings {
    pub(crate) name: String,
    pub(crate) create: Option<CreateSettings>,
}

/// How a missing stream is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreateSettings {
    /// Zero for ever.
    pub(crate) max_age: Duration,
    pub(crate) replicas: usize,
}

impl AuditSettings {
    pub(crate) fn hider(&self) -> Hider {
        Hider::new(self.hide.clone(), self.hide_key.as_ref().map(HideKey::new))
    }

    /// For a command that records beside a running service, which holds its own files: with the suffix
    /// `direct`, `audit.jsonl` becomes `audit-direct.jsonl`. No record is required.
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        let mut settings = Self { required: false, ..self.clone() };
        for sink in &mut settings.sinks {
            if let SinkSettings::File(file) = sink {
                file.path = with_suffix(&file.path, suffix);
            }
        }
        settings
    }

    /// True if nothing differs that takes effect after a restart.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let Self { required, timeout, key, hide, hide_key, facts, sinks } = self;
        let public = |key: &Option<Arc<KeyPair>>| key.as_ref().map(|key| key.public_key());
        let same_hide_key = match (hide_key, &other.hide_key) {
            (None, None) => true,
            (Some(one), Some(other)) => one.matches(other.expose()),
            (Some(_), None) | (None, Some(_)) => false,
        };
        *required == other.required
            && *timeout == other.timeout
            && public(key) == public(&other.key)
            && *hide == other.hide
            && same_hide_key
            && *facts == other.facts
            && *sinks == other.sinks
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-");
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

impl SinkSettings {
    /// The sink's name in logs and metrics: only the operator's own words.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::File(file) => &file.name,
            Self::Stream(stream) => &stream.name,
            Self::Stdout => "stdout",
        }
    }

    /// Whether a record can be stored there durably.
    pub(crate) fn is_durable(&self) -> bool {
        match self {
            Self::File(_) | Self::Stream(_) => true,
            Self::Stdout => false,
        }
    }
}
