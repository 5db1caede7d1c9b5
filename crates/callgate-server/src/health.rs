//! Readiness as reported by `/readyz`: whether requests can be answered now, and if not, why.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared between the service and the admin endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Mutex<Result<(), String>>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Err("starting".to_owned()))))
    }
}

impl Health {
    pub(crate) fn ready(&self) {
        self.set(Ok(()));
    }

    pub(crate) fn not_ready(&self, why: impl Into<String>) {
        self.set(Err(why.into()));
    }

    fn set(&self, state: Result<(), String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// `Err` holds the reason why the service is not ready.
    pub(crate) fn state(&self) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
