//! Ends a process whose event loop stalls: its place in the queue group goes to the others.
//!
//! NATS hands requests to every member of a queue group, also to one that does not answer. A
//! stalled replica would swallow its share for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How often the event loop shows that it lives.
const BEAT: Duration = Duration::from_millis(100);
/// How long it may be silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the log may take to say why.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The exit code of a stalled process.
const STALLED: i32 = 70;

/// Starts the watch. Call it on the runtime that is to be watched.
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn start() -> std::io::Result<()> {
    let beats = Arc::new(AtomicU64::new(0));
    let heart = Arc::clone(&beats);
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(BEAT);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            heart.fetch_add(1, Ordering::Relaxed);
        }
    });
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&beats))?;
    Ok(())
}

/// Says why, if it can be said: the loop may stand still because nobody reads the log, and then this
/// must not wait for the log either.
fn tell() {
    let (told, wait) = std::sync::mpsc::channel();
    let say = move || {
        tracing::error!("the event loop has not moved for 2 s: exiting, so that others take over");
        // Nobody waits any more if it took too long.
        let _ = told.send(());
    };
    if std::thread::Builder::new().name("last words".to_owned()).spawn(say).is_ok() {
        let _ = wait.recv_timeout(LAST_WORDS);
    }
}

/// Counts its own rounds rather than the clock: a process that was stopped and continued, or a
/// machine that slept, was not stalled.
fn watch(beats: &AtomicU64) {
    let rounds = PATIENCE.as_millis() / BEAT.as_millis();
    let (mut seen, mut silent) = (beats.load(Ordering::Relaxed), 0);
    loop {
        std::thread::sleep(BEAT);
        let now = beats.load(Ordering::Relaxed);
        silent = if now == seen { silent + 1 } else { 0 };
        seen = now;
        if silent > rounds {
            tell();
            std::process::exit(STALLED);
        }
    }
}
