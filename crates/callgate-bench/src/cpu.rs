//! CPU time and memory of other processes, from `/proc`.

use std::{fs, time::Duration};

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// The most memory it ever had resident, in bytes.
    pub(crate) peak: u64,
    /// What it has resident now, in bytes.
    pub(crate) resident: u64,
}

/// Measures a process, if it is known.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pid: Option<u32>,
    started: Option<Usage>,
    last: Option<Usage>,
    spent: Duration,
}

impl Meter {
    pub(crate) fn new(pid: Option<u32>) -> Self {
        Self { pid, ..Self::default() }
    }

    pub(crate) fn start(&mut self) {
        self.started = self.pid.and_then(usage);
    }

    /// Adds what was spent since the start.
    pub(crate) fn stop(&mut self) {
        self.last = self.pid.and_then(usage);
        if let (Some(before), Some(after)) = (self.started.take(), self.last) {
            self.spent += after.cpu.saturating_sub(before.cpu);
        }
    }

    /// CPU time for each of `count`, in microseconds.
    pub(crate) fn micros_for_each(&self, count: usize) -> Option<f64> {
        self.last.map(|_| self.spent.as_secs_f64() * 1e6 / count.max(1) as f64)
    }

    pub(crate) fn peak_mib(&self) -> Option<f64> {
        self.last.map(|usage| mib(usage.peak))
    }

    pub(crate) fn resident_mib(&self) -> Option<f64> {
        self.last.map(|usage| mib(usage.resident))
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// Clock ticks per second in `/proc/PID/stat`: fixed for user space on Linux.
const TICKS: u64 = 100;

/// Usage of a process, summed with that of its children that are still there.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything; the fields begin after the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let bytes = |name: &str| kilobytes(name).unwrap_or_default() * 1024;
    let cpu = Duration::from_millis((user + system) * 1000 / TICKS);
    Some(Usage { cpu, peak: bytes("VmHWM:"), resident: bytes("VmRSS:") })
}
