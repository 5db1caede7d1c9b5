//! What a service checks and records around each admission: locks, a table of sessions, an audit.

use std::{fmt, sync::Arc, task::Poll};

use futures_util::{future::BoxFuture, poll};
use tokio::time::timeout_at;

use crate::{
    panics::{guarded, guarded_future},
    reason::Denial,
    record::Decision,
    request::AuthRequest,
};

/// Takes part in each admission. All methods may be called concurrently.
///
/// A hook that panics refuses the client.
pub trait AdmissionHook: fmt::Debug + Send + Sync + 'static {
    /// Called for each request with a usable credential, before the credential is checked and before the
    /// request takes a slot. Must be quick.
    ///
    /// # Errors
    /// Refuses the client for any credential.
    fn before_authentication(&self, request: &AuthRequest) -> Result<(), Denial> {
        let _ = request;
        Ok(())
    }

    /// Called when the user JWT is signed, and before its answer leaves. The decision has the identity and
    /// the grant; its `ids` and durations are not set yet. It may wait, at most until the request's deadline.
    ///
    /// # Errors
    /// Refuses the client.
    fn before_answer<'a>(
        &'a self,
        request: &'a AuthRequest,
        decision: &'a Decision,
    ) -> BoxFuture<'a, Result<(), Denial>>;

    /// Called if [`AdmissionHook::before_answer`] was called for this request, and the client was not admitted
    /// after all: this or a later hook refused it or was late, or the answer could not be sent in time.
    fn not_admitted(&self, request: &AuthRequest, why: &Denial) {
        let _ = (request, why);
    }
}

/// The hooks, called in order.
#[derive(Debug, Default)]
pub(crate) struct Hooks(pub(crate) Vec<Arc<dyn AdmissionHook>>);

impl Hooks {
    pub(crate) fn before_authentication(&self, request: &AuthRequest) -> Result<(), Denial> {
        self.0.iter().try_for_each(|hook| {
            guarded("an admission hook", || hook.before_authentication(request))
        })
    }

    /// Calls the hooks in order until one refuses. Those that were called learn of the refusal.
    pub(crate) async fn before_answer(
        &self,
        request: &AuthRequest,
        decision: &Decision,
    ) -> Result<(), Denial> {
        for (index, hook) in self.0.iter().enumerate() {
            let work = async {
                let mut answer = hook.before_answer(request, decision);
                match poll!(&mut answer) {
                    // Most hooks answer at once, and need no timer.
                    Poll::Ready(result) => Ok(result),
                    Poll::Pending => timeout_at(request.deadline(), answer).await,
                }
            };
            let in_time = guarded_future("an admission hook", work).await;
            let result = in_time.and_then(|it| it.map_err(|_elapsed| Denial::decided_too_late()));
            if let Err(denial) = result.and_then(|result| result) {
                self.notify(index + 1, request, &denial);
                return Err(denial);
            }
        }
        Ok(())
    }

    /// The client was not admitted although all hooks agreed.
    pub(crate) fn not_admitted(&self, request: &AuthRequest, why: &Denial) {
        self.notify(self.0.len(), request, why);
    }

    fn notify(&self, count: usize, request: &AuthRequest, why: &Denial) {
        for hook in self.0.iter().take(count) {
            let called = guarded("an admission hook", || {
                hook.not_admitted(request, why);
                Ok(())
            });
            if let Err(denial) = called {
                tracing::error!(reason = %denial.reason, "{}", denial.detail);
            }
        }
    }
}
