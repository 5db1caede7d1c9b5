//! Errors and warnings about the policy, each with the path of its configuration key.

use std::fmt;

use crate::{
    sanitize::one_line,
    template::{ParseContext, check::self_asserted_warning},
};

/// An error in the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {message}")]
pub struct PolicyFault {
    /// The key, such as `roles.tenant.publish.allow[0]`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// A part of the policy that works, but probably not as intended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyWarning {
    /// The key.
    pub path: String,
    /// What happens and what to do.
    pub message: String,
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Collects all errors and warnings, so that the operator sees them together.
///
/// Messages quote the configuration and are printed to terminals, so they are sanitized.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<PolicyFault>,
    pub(super) warnings: Vec<PolicyWarning>,
    /// Variables that the authenticators declare for templates.
    pub(super) variables: Vec<&'static str>,
}

impl Findings {
    pub(super) fn fault(&mut self, path: impl AsRef<str>, message: impl AsRef<str>) {
        let path = one_line(path.as_ref());
        let message = one_line(message.as_ref());
        self.faults.push(PolicyFault { path, message });
    }

    pub(super) fn warn(&mut self, path: impl AsRef<str>, message: impl AsRef<str>) {
        let path = one_line(path.as_ref());
        let message = one_line(message.as_ref());
        self.warnings.push(PolicyWarning { path, message });
    }

    /// The value, or `None` after recording the error.
    pub(super) fn take<T, E: fmt::Display>(
        &mut self,
        path: impl AsRef<str>,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.fault(path, error.to_string())).ok()
    }

    /// Parses a text with templates, and warns about client fields that are not verified.
    pub(super) fn parse<T>(
        &mut self,
        path: &str,
        text: &str,
        parse: impl FnOnce(&str, &mut ParseContext<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let mut context = ParseContext::new(&self.variables);
        let parsed = parse(text, &mut context);
        let self_asserted = context.self_asserted;
        self.warn_self_asserted(path, &self_asserted);
        self.take(path, parsed)
    }

    pub(super) fn warn_self_asserted(&mut self, path: &str, fields: &[&'static str]) {
        fields.iter().for_each(|field| self.warn(path, self_asserted_warning(field)));
    }
}
