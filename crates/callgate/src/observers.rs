//! Passes each decision to the observers.

use std::{fmt, sync::Arc};

use crate::{panics::guarded, record::Decision};

pub(crate) type Observer = Arc<dyn Fn(&Decision) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Observers(pub(crate) Vec<Observer>);

impl Observers {
    /// Calls every observer, also after one has panicked: the others still count the decision.
    pub(crate) fn record(&self, decision: &Decision) {
        for observer in &self.0 {
            let called = guarded("an observer of decisions", || {
                observer(decision);
                Ok(())
            });
            if let Err(denial) = called {
                tracing::error!(reason = %decision.reason, "{}", denial.detail);
            }
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}
