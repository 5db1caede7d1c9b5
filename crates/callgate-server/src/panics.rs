//! What is said of a panic: where it was, never its text, which may hold a password or a token.
//!
//! Panics in decisions are caught and refuse one request; but before that the process's panic hook
//! speaks, and the standard one prints the text.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::Write,
    panic::PanicHookInfo,
    thread,
};

/// Replaces the standard panic hook. A backtrace, which holds names and no values, is added where
/// `RUST_BACKTRACE` asks for one.
pub(crate) fn tell_only_where() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => backtrace.to_string(),
        _ => String::new(),
    };
    if tracing::dispatcher::has_been_set() {
        tracing::error!(place, thread, backtrace, "a panic; this is a bug");
    } else {
        let _ = writeln!(std::io::stderr(), "a panic at {place}; this is a bug\n{backtrace}");
    }
}
