//! A panic in code from outside (a signer, a deciding function, an observer) ends the work on one
//! request and nothing else.
//!
//! Only the fact of a panic is reported: its message may contain anything, even a password.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::{FutureExt, future::Future};

use crate::reason::{Denial, Reason};

/// Runs `work`; a panic in it becomes a refusal, `temporarily unavailable`.
pub(crate) fn guarded<T>(
    what: &str,
    work: impl FnOnce() -> Result<T, Denial>,
) -> Result<T, Denial> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| Err(panicked(what)))
}

/// The same for a future, including what it drops. Not an `async fn`, which would reserve space for
/// `work` twice.
pub(crate) fn guarded_future<T>(
    what: &str,
    work: impl Future<Output = T>,
) -> impl Future<Output = Result<T, Denial>> {
    let guarded = AssertUnwindSafe(work).catch_unwind();
    guarded.map(move |result| result.map_err(|_panic| panicked(what)))
}

fn panicked(what: &str) -> Denial {
    Denial::new(Reason::BackendUnavailable, format!("{what} panicked; this is a bug"))
}
