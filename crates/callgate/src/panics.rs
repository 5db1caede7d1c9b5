//! A panic in what others wrote (a signer, a function that decides, an observer) ends the work on
//! one request, and nothing else.
//!
//! Only the fact of a panic is ever told: its text may hold anything, also a password.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::{FutureExt, future::Future};

use crate::decision::{Denial, Reason};

/// Runs `work`; a panic in it refuses, `temporarily unavailable`.
pub(crate) fn guarded<T>(
    what: &str,
    work: impl FnOnce() -> Result<T, Denial>,
) -> Result<T, Denial> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| Err(panicked(what)))
}

/// The same for work that waits, and for what it drops on the way.
pub(crate) async fn guarded_future<T>(
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, Denial> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_panic| panicked(what))
}

fn panicked(what: &str) -> Denial {
    Denial::new(Reason::BackendUnavailable, format!("{what} panicked; this is a bug"))
}
