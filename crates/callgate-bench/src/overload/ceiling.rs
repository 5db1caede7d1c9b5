//! The ceiling: bare hashes with the same parameters on as many threads, and nothing else.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use callgate::secret::Secret;
use callgate_authenticators::passwords::{Scratch, StoredPassword};

use super::cores::Cores;
use crate::{Failure, cpu::usage};

/// Bare hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bare {
    /// Per second.
    pub(super) rate: f64,
    /// CPU time of one, in milliseconds.
    pub(super) cpu: f64,
}

/// Hashes on `workers` threads, on the service's core if it has one, and does nothing else.
pub(super) fn measure(
    stored: &StoredPassword,
    workers: usize,
    cores: Option<&Cores>,
    duration: Duration,
) -> Result<Bare, Failure> {
    let cpu = || usage(std::process::id()).unwrap_or_default().cpu;
    let cpu_before = cpu();
    let hashes = AtomicU64::new(0);
    let password = Secret::new("not the password");
    let started = Instant::now();
    let hash = || {
        cores.map_or(Ok(()), Cores::take_this_thread).map_err(|error| error.to_string())?;
        let mut scratch = Scratch::default();
        while started.elapsed() < duration {
            std::hint::black_box(stored.verify(&password, &mut scratch));
            hashes.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, String>(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(hash)).collect();
        let panicked = |_| Err("a hash panicked".to_owned());
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
    })?;
    let (hashes, took) = (hashes.load(Ordering::Relaxed) as f64, started.elapsed());
    let spent = cpu().saturating_sub(cpu_before);
    Ok(Bare { rate: hashes / took.as_secs_f64(), cpu: spent.as_secs_f64() * 1e3 / hashes.max(1.0) })
}
