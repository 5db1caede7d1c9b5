//! The labels of the metrics.

use std::path::Path;

use prometheus_client::encoding::EncodeLabelSet;

/// The label of decisions by no authenticator.
pub(super) const NO_AUTHENTICATOR: &str = "none";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DecisionLabels {
    pub(super) authenticator: String,
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
    /// The check that a bad token failed; empty for all other reasons.
    pub(super) cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AuthenticatorLabel {
    pub(super) authenticator: String,
}

impl AuthenticatorLabel {
    pub(super) fn of(authenticator: &str) -> Self {
        Self { authenticator: authenticator.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabels {
    pub(super) authenticator: String,
    pub(super) result: &'static str,
}

impl ResultLabels {
    pub(super) fn of(authenticator: &str, result: &'static str) -> Self {
        Self { authenticator: authenticator.to_owned(), result }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) authenticator: String,
    pub(super) state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabel {
    pub(super) stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabel {
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FileLabel {
    pub(super) file: String,
}

impl FileLabel {
    /// The path as error messages show it.
    pub(super) fn of(file: &Path) -> Self {
        Self { file: file.strip_prefix(".").unwrap_or(file).display().to_string() }
    }
}

pub(super) fn ok_or_failed(ok: bool) -> &'static str {
    if ok { "ok" } else { "failed" }
}
