//! What is said of a panic: where it was, never its text, which may hold a password or a token.
//!
//! Panics in decisions are caught and refuse one request; but before that the process's panic hook
//! speaks, and the standard one prints the text.

use std::{io::Write, panic::PanicHookInfo};

/// Replaces the standard panic hook, for every command.
pub(crate) fn tell_only_where() {
    std::panic::set_hook(Box::new(tell));
}

/// One record, and no backtrace, whatever `RUST_BACKTRACE` says: to make one takes seconds, in which no
/// other thread can log, so that the event loop stalls. The place is all that a bug report needs.
fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    if tracing::dispatcher::has_been_set() {
        tracing::error!(place, "a panic, which is a bug; whatever it was about is refused");
    } else {
        let _ = writeln!(std::io::stderr(), "a panic at {place}, which is a bug");
    }
}
