//! Rotation: renames the file, runs a command, and deletes the oldest files.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::{lines::Head, settings::RotateSettings};
use crate::telemetry::Metrics;

/// How long the command may run.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a running command may delay the end of the process.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// Before another attempt to rename.
const RETRY_DELAY: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The only variables that the command sees: those of the service may contain secrets.
const VARIABLES: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Rotation {
    size: Option<u64>,
    every: Option<Duration>,
    retry_at: Option<Instant>,
    rotated: mpsc::Sender<PathBuf>,
    thread: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

impl Rotation {
    /// Starts the thread that runs commands, one at a time.
    pub(super) fn start(
        settings: &RotateSettings,
        file: &Path,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let (rotated, queue) = mpsc::channel::<PathBuf>();
        let aftermath = Aftermath {
            file: file.to_owned(),
            then: settings.then.clone(),
            keep: settings.keep,
            metrics: Arc::clone(&metrics),
        };
        let thread = std::thread::Builder::new().name("audit rotation".to_owned());
        let thread = thread.spawn(move || queue.iter().for_each(|path| aftermath.of(&path)))?;
        let RotateSettings { size, every, keep: _, then: _ } = settings;
        Ok(Self { size: *size, every: *every, retry_at: None, rotated, thread, metrics })
    }

    /// Whether a file of this length, whose first record is from `begun`, is rotated now.
    pub(super) fn is_due(&self, length: u64, begun: Timestamp) -> bool {
        let may_try = self.retry_at.is_none_or(|at| Instant::now() >= at);
        let is_full = self.size.is_some_and(|size| length >= size);
        may_try && (is_full || self.due_in(begun) == Some(Duration::ZERO))
    }

    /// How long until a file whose first record is from `begun` is old enough.
    pub(super) fn due_in(&self, begun: Timestamp) -> Option<Duration> {
        let age = Timestamp::now().duration_since(begun);
        let age = Duration::try_from(age).unwrap_or_default();
        let due = self.every?.saturating_sub(age);
        let retry = self.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        Some(due.max(retry.unwrap_or_default()))
    }

    /// Renames the file by its first record; false if that fails.
    pub(super) fn rename(&mut self, file: &Path, head: &Head) -> bool {
        let to = rotated_name(file, &head.boot, head.seq);
        // Never overwrites a file. The name is taken only if another program chose it.
        let renamed = match to.try_exists() {
            Ok(true) => Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists)),
            Ok(false) => std::fs::rename(file, &to),
            Err(error) => Err(error),
        };
        if let Err(error) = renamed {
            error!(file = %file.display(), %error, "cannot rotate the audit file; it grows");
            self.metrics.count_audit_rotation_failure();
            self.retry_at = Some(Instant::now() + RETRY_DELAY);
            return false;
        }
        info!(file = %to.display(), "rotated the audit file");
        self.retry_at = None;
        // Fails only if the thread has panicked.
        let _ = self.rotated.send(to);
        true
    }

    /// Lets running commands end, for a short time.
    pub(super) fn finish(self) {
        drop(self.rotated);
        let end = Instant::now() + STOP_TIMEOUT;
        while !self.thread.is_finished() && Instant::now() < end {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// `audit.jsonl` becomes `audit-BOOT-SEQ.jsonl`.
fn rotated_name(file: &Path, boot: &str, seq: u64) -> PathBuf {
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{boot}-{seq}"));
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}

/// What follows a rotation.
struct Aftermath {
    file: PathBuf,
    then: Vec<String>,
    keep: Option<usize>,
    metrics: Arc<Metrics>,
}

impl Aftermath {
    fn of(&self, rotated: &Path) {
        if let Err(error) = self.run(rotated) {
            warn!(file = %rotated.display(), error, "the command after the rotation failed; the file stays");
            self.metrics.count_audit_rotation_failure();
        }
        if let Err(error) = self.delete_oldest() {
            warn!(file = %self.file.display(), %error, "cannot delete old audit files");
            self.metrics.count_audit_rotation_failure();
        }
    }

    /// Runs the command without a shell, with the file as its last argument.
    fn run(&self, rotated: &Path) -> Result<(), String> {
        let Some((program, arguments)) = self.then.split_first() else { return Ok(()) };
        let path = std::path::absolute(rotated).unwrap_or_else(|_| rotated.to_owned());
        let mut command = Command::new(program);
        command.args(arguments).arg(path).env_clear().process_group(0);
        command.envs(VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("`{program}`: {error}"))?;
        let end = Instant::now() + COMMAND_TIMEOUT;
        loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("`{program}`: {status}")),
                None if Instant::now() >= end => {
                    let group =
                        i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
                    if let Some(group) = group {
                        let _ = rustix::process::kill_process_group(
                            group,
                            rustix::process::Signal::KILL,
                        );
                    }
                    let _ = child.wait();
                    return Err(format!("`{program}`: still running after 60 s, and killed"));
                }
                None => std::thread::sleep(POLL_INTERVAL),
            }
        }
    }

    /// Deletes the oldest rotated files above the number to keep.
    fn delete_oldest(&self) -> std::io::Result<()> {
        let Some(keep) = self.keep else { return Ok(()) };
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut rotated = Vec::new();
        for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            if is_rotated(&self.file, &entry.path()) {
                rotated.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        rotated.sort();
        let surplus = rotated.len().saturating_sub(keep);
        rotated.iter().take(surplus).try_for_each(|(_, path)| std::fs::remove_file(path))
    }
}

/// Whether `path` has the form of [`rotated_name`].
fn is_rotated(file: &Path, path: &Path) -> bool {
    let middle = || {
        let stem = path.file_stem()?.to_str()?.strip_prefix(file.file_stem()?.to_str()?)?;
        let (boot, seq) = stem.strip_prefix('-')?.split_once('-')?;
        let is_hex = !boot.is_empty() && boot.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hex && seq.parse::<u64>().is_ok()).then_some(())
    };
    path.extension() == file.extension() && middle().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_are_recognized() {
        let file = Path::new("audit/audit;rm -rf.jsonl");
        let rotated = rotated_name(file, "9a1e", 77);
        assert_eq!(rotated, Path::new("audit/audit;rm -rf-9a1e-77.jsonl"));
        assert!(is_rotated(file, &rotated));
        for other in
            ["audit;rm -rf.jsonl", "audit;rm -rf-x-7.jsonl", "audit;rm -rf-9a1e-77.gz", "b"]
        {
            assert!(!is_rotated(file, Path::new(other)), "{other}");
        }
        let plain = rotated_name(Path::new("audit"), "00", 0);
        assert_eq!(plain, Path::new("audit-00-0"));
        assert!(is_rotated(Path::new("audit"), &plain));
    }
}
