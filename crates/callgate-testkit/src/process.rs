//! A child process that never outlives its test, and whose output a test can wait for.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::wait::{PATIENCE, eventually};

/// How much of each stream is shown when a test fails.
const TAIL_LINES: usize = 60;

/// A running program: killed on drop, and when the test process itself is killed.
///
/// Stdout and stderr go to files; when the test panics, their paths and last lines are printed and the
/// files are kept.
#[derive(Debug)]
pub struct Process {
    name: String,
    // Before `child`: the pid must not be free for others while the watchdog may still kill it.
    watchdog: Option<Watchdog>,
    child: Child,
    ended: Option<ExitStatus>,
    output: TempDir,
}

/// What to start: a program, its arguments and its environment.
#[derive(Debug)]
pub struct ProcessBuilder {
    command: Command,
    name: String,
}

impl Process {
    /// A program to start; `name` is what failures call it.
    pub fn builder(name: &str, program: impl AsRef<OsStr>) -> ProcessBuilder {
        let command = Command::new(program);
        ProcessBuilder { command, name: name.to_owned() }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the program has written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.output.path().join("stdout"))
    }

    /// What the program has written to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.output.path().join("stderr"))
    }

    /// Where stderr is kept.
    pub fn stderr_path(&self) -> PathBuf {
        self.output.path().join("stderr")
    }

    /// The first line on stderr that contains `text`.
    ///
    /// # Panics
    /// If the program ends, or ten seconds pass, without one.
    pub async fn wait_for_stderr(&mut self, text: &str) -> String {
        self.wait_for_stderr_after(0, text).await
    }

    /// The same, looking only at what follows the first `offset` bytes.
    ///
    /// # Panics
    /// As [`Process::wait_for_stderr`].
    pub async fn wait_for_stderr_after(&mut self, offset: usize, text: &str) -> String {
        let description = format!("`{text}` on stderr of {}", self.name);
        eventually(&description, PATIENCE, async || {
            // Asked before reading: what a program wrote just before it ended still counts.
            let ended = self.exit_status();
            let log = self.stderr();
            let found = log.get(offset..).unwrap_or("").lines().find(|line| line.contains(text));
            assert!(
                found.is_some() || ended.is_none(),
                "{} ended ({ended:?}) before: {description}",
                self.name
            );
            found.map(str::to_owned)
        })
        .await
    }

    /// How the program ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
            if self.ended.is_some() {
                self.watchdog = None;
            }
        }
        self.ended
    }

    /// Waits for the program to exit on its own.
    ///
    /// # Panics
    /// If it still runs after `deadline`.
    pub async fn wait_for_exit(&mut self, deadline: Duration) -> ExitStatus {
        let description = format!("the end of {}", self.name);
        eventually(&description, deadline, async || self.exit_status()).await
    }

    /// Sends a signal by its name, such as `TERM` or `HUP`; nothing happens if the program has ended.
    pub fn signal(&mut self, signal: &str) {
        if self.exit_status().is_none() {
            send_signal(signal, self.pid());
        }
    }

    /// Stops every thread of the program, and returns when they stand still; `CONT` ends it.
    ///
    /// # Panics
    /// If they still run after ten seconds.
    pub async fn freeze(&mut self) {
        self.signal("STOP");
        // The signal stops threads one by one: until the last has, the program may still answer.
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("a frozen process", PATIENCE, async || all_stopped(&tasks).then_some(())).await;
    }

    /// Lowers the limit of open files so far that the program cannot open another one, as long as it
    /// closes none. It may have just closed one: [`Process::keep_descriptors_exhausted`] takes care of that.
    /// Returns the limit.
    ///
    /// # Errors
    /// If `prlimit` cannot be run or fails.
    pub fn exhaust_descriptors(&self) -> Result<u64, String> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).map_err(|e| e.to_string())?;
        let open: BTreeSet<u64> =
            open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let first_free = (0..).find(|number| !open.contains(number)).unwrap_or_default();
        self.limit("nofile", first_free).map(|()| first_free)
    }

    /// The same, repeated until the program has closed no descriptor for a second.
    ///
    /// # Errors
    /// As for [`Process::exhaust_descriptors`].
    pub async fn keep_descriptors_exhausted(&self) -> Result<(), String> {
        let mut limit = self.exhaust_descriptors()?;
        let mut unchanged_since = Instant::now();
        while unchanged_since.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let next = self.exhaust_descriptors()?;
            if next != limit {
                limit = next;
                unchanged_since = Instant::now();
            }
        }
        Ok(())
    }

    /// Sets a soft resource limit of the running program, such as `nofile`.
    ///
    /// # Errors
    /// If `prlimit` cannot be run or fails.
    pub fn limit(&self, what: &str, value: u64) -> Result<(), String> {
        let set = format!("--{what}={value}:");
        let output =
            Command::new("prlimit").args(["--pid", &self.pid().to_string(), &set]).output();
        let output = output.map_err(|error| format!("cannot run `prlimit`: {error}"))?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(message)
    }

    /// Kills the program and waits for its end.
    pub fn kill(&mut self) {
        self.watchdog = None;
        if self.exit_status().is_none() {
            self.child.kill().expect("a child can be killed");
            self.ended = Some(self.child.wait().expect("a child can be waited for"));
        }
    }

    fn print_for_failed_test(&mut self) {
        self.output.disable_cleanup(true);
        let folder = self.output.path();
        for stream in ["stdout", "stderr"] {
            let file = folder.join(stream);
            // A second panic while a test fails would end all tests.
            let text = fs::read(&file).unwrap_or_else(|error| error.to_string().into_bytes());
            let text = String::from_utf8_lossy(&text);
            eprintln!("--- {} {stream}, end of {}\n{}", self.name, file.display(), tail(&text));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            self.print_for_failed_test();
        }
    }
}

impl ProcessBuilder {
    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes an environment variable away.
    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Starts the program with an empty stdin.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut self) -> Process {
        let output = tempfile::Builder::new()
            .prefix("callgate-test-")
            .tempdir()
            .expect("a temporary directory can be made");
        let file = |name: &str| File::create(output.path().join(name)).expect("a file can be made");
        self.command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        let watchdog = Some(Watchdog::over(child.id()));
        Process { name: self.name, watchdog, child, ended: None, output }
    }
}

/// Kills a process when this one disappears, however it does.
///
/// A shell holds the reading end of a pipe whose writing end only this process has. The pipe's end is
/// all the shell waits for, so that SIGKILL to a test runner leaves no server behind.
#[derive(Debug)]
struct Watchdog(Child);

impl Watchdog {
    fn over(pid: u32) -> Self {
        let shell = Command::new("sh")
            .args(["-c", "read _; kill -KILL \"$0\"", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        Watchdog(shell)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _no_longer_of_interest = self.0.wait();
    }
}

/// Sends a signal by its name to a process.
///
/// # Panics
/// If there is no such process.
pub fn send_signal(signal: &str, pid: u32) {
    let sent = Command::new("sh")
        .args(["-c", "kill -\"$0\" \"$1\"", signal, &pid.to_string()])
        .status()
        .expect("there is a shell");
    assert!(sent.success(), "signal {signal} cannot be sent to process {pid}");
}

/// Without `/proc` the answer is yes.
fn all_stopped(tasks: &str) -> bool {
    let Ok(threads) = fs::read_dir(tasks) else { return true };
    threads.flatten().all(|thread| {
        // `pid (name) STATE …`, where a name may hold brackets; an ended thread has no file.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['T', 'Z']))
    })
}

fn read(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{file:?} cannot be read: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
