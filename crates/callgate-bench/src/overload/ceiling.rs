//! The ceiling: bare hashes with the same parameters on as many threads, and nothing else.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use callgate::secret::Secret;
use callgate_authenticators::passwords::{Scratch, StoredPassword};

/// Bare hashes a second, on `workers` threads.
pub(super) fn measure(stored: &StoredPassword, workers: usize, duration: Duration) -> f64 {
    let hashes = AtomicU64::new(0);
    let password = Secret::new("not the password");
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut scratch = Scratch::default();
                while started.elapsed() < duration {
                    std::hint::black_box(stored.verify(&password, &mut scratch));
                    hashes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    hashes.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}
