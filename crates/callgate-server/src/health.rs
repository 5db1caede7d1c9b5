//! Readiness as reported by `/readyz`: whether requests can be answered now, and if not, why.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared between the service and the admin endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Mutex<State>>);

/// `Ok` with remarks, or the reason why the service is not ready.
type State = Result<Vec<String>, String>;

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Err("starting".to_owned()))))
    }
}

impl Health {
    /// Ready; `remarks` say what the operator should know anyway.
    pub(crate) fn ready(&self, remarks: Vec<String>) {
        self.set(Ok(remarks));
    }

    pub(crate) fn not_ready(&self, why: impl Into<String>) {
        self.set(Err(why.into()));
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn state(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
