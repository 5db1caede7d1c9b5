//! CPU time and memory of other processes, from `/proc`.

use std::{fs, time::Duration};

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// The most memory it ever had resident, in bytes.
    pub(crate) peak: u64,
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
    let peak = status.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?;
        kilobytes.trim().parse::<u64>().ok()
    });
    let cpu = Duration::from_millis((user + system) * 1000 / TICKS);
    Some(Usage { cpu, peak: peak.unwrap_or_default() * 1024 })
}
