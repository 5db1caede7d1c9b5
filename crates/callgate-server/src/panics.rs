//! The panic hook: reports where a panic happened but never its message, which may contain a secret.
//!
//! A panic during a decision is caught and refuses that one request, but the panic hook runs first, and
//! the standard hook prints the message.

use std::{io::Write, panic::PanicHookInfo};

/// Replaces the standard panic hook, for every command.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(log_location));
}

/// Writes one record without a backtrace, whatever `RUST_BACKTRACE` says: capturing one takes seconds,
/// during which no other thread can log, so the event loop stalls. A bug report needs only the location.
fn log_location(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    if tracing::dispatcher::has_been_set() {
        tracing::error!(place, "internal panic (this is a bug); the affected request is refused");
    } else {
        let _ = writeln!(std::io::stderr(), "internal panic at {place}; this is a bug");
    }
}
