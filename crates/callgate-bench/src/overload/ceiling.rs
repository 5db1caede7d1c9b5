//! The ceiling: bare hashes with the same parameters on as many threads, and nothing else.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use callgate::secret::Secret;
use callgate_authenticators::passwords::{Scratch, StoredPassword};

use crate::cpu::usage;

/// Bare hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bare {
    /// So many a second.
    pub(super) rate: f64,
    /// CPU time of one, in milliseconds.
    pub(super) cpu: f64,
}

/// Hashes on `workers` threads and does nothing else.
pub(super) fn measure(stored: &StoredPassword, workers: usize, duration: Duration) -> Bare {
    let cpu = || usage(std::process::id()).unwrap_or_default().cpu;
    let cpu_before = cpu();
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
    let (hashes, took) = (hashes.load(Ordering::Relaxed) as f64, started.elapsed());
    let spent = cpu().saturating_sub(cpu_before);
    Bare { rate: hashes / took.as_secs_f64(), cpu: spent.as_secs_f64() * 1e3 / hashes.max(1.0) }
}
