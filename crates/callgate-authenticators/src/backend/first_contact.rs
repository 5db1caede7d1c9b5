//! Readiness: whether the backend has been reached once.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use callgate::authn::{BackendError, Readiness};

use crate::{
    kind::BuildContext,
    network::{BackgroundTasks, backoff},
};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Tries to reach the backend until it succeeds once. Later outages do not end readiness, because the
/// other authenticators continue to work.
pub(crate) struct FirstContact {
    readiness: Arc<Mutex<Readiness>>,
    _task: BackgroundTasks,
}

impl FirstContact {
    /// Starts trying to reach `backend`. Without background work, it counts as ready.
    pub(crate) fn start<T, F>(
        context: &BuildContext,
        backend: &Arc<T>,
        attempt: impl Fn(Arc<T>) -> F + Send + 'static,
    ) -> Self
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<(), BackendError>> + Send,
    {
        let background = context.services.background;
        let initial = match background {
            true => Readiness::Waiting("not reached yet".to_owned()),
            false => Readiness::Ready,
        };
        let readiness = Arc::new(Mutex::new(initial));
        let state = Arc::clone(&readiness);
        let timeout = context.timeout;
        let backend = Arc::clone(backend);
        let task = async move {
            let mut failures = 0;
            loop {
                let result = tokio::time::timeout(timeout, attempt(Arc::clone(&backend))).await;
                let next = match result {
                    Ok(Ok(())) => Readiness::Ready,
                    Ok(Err(error)) => Readiness::Waiting(error.to_string()),
                    Err(_elapsed) => Readiness::Waiting("no answer in time".to_owned()),
                };
                let is_ready = next == Readiness::Ready;
                *state.lock().unwrap_or_else(PoisonError::into_inner) = next;
                if is_ready {
                    return;
                }
                failures += 1;
                tokio::time::sleep(backoff(FIRST_PAUSE, LONGEST_PAUSE, failures)).await;
            }
        };
        Self { readiness, _task: BackgroundTasks::spawn(background, [task]) }
    }

    /// Ready once the backend has been reached.
    pub(crate) fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for FirstContact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FirstContact({:?})", self.readiness())
    }
}
