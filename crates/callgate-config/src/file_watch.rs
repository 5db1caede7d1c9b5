//! Detects file changes by polling, which works with every editor, with the symbolic links that
//! Kubernetes swaps, and on network file systems.

mod reconciler;

use std::{
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant, SystemTime},
};

pub use reconciler::{Due, Fingerprints, Reconciler};

/// The time between two checks of a file.
pub const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// The metadata by which a change is detected; `None` if the file does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Option<Attributes>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attributes {
    modified: Option<SystemTime>,
    size: u64,
    inode: Inode,
}

/// Device, inode number and inode change time. Unlike the modification time, a program cannot set the
/// change time.
type Inode = (u64, u64, (i64, i64));

impl Fingerprint {
    /// The fingerprint of a file, following symbolic links. Take it before reading the file, so that a
    /// change in between is detected.
    pub fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|metadata| Attributes {
            modified: metadata.modified().ok(),
            size: metadata.len(),
            inode: inode(&metadata),
        }))
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> Inode {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino(), (metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> Inode {
    Inode::default()
}

/// What a [`FileWatcher`] does with its file.
pub trait WatchedFile: Send + 'static {
    /// Loads the file. False if it could not be used: then it is loaded again after a pause.
    fn load(&mut self) -> bool;

    /// Called at the start and after each change: whether the file in force is the one on disk.
    fn report(&mut self, in_sync: bool);
}

/// Polls a file on its own thread until dropped.
#[derive(Debug)]
pub struct FileWatcher {
    _stops_on_drop: mpsc::Sender<()>,
}

impl FileWatcher {
    /// Loads `file` whenever `path` differs from `in_force`, the fingerprint of the file in force, until
    /// that succeeds ([`Reconciler`]). A panic counts as a failure.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        path: PathBuf,
        in_force: Fingerprint,
        interval: Duration,
        mut file: impl WatchedFile,
    ) -> io::Result<Self> {
        let (sender, ended) = mpsc::channel();
        thread::Builder::new().name("file-watch".to_owned()).spawn(move || {
            let files = |fingerprint| Fingerprints::from([(path.clone(), fingerprint)]);
            let mut reconciler = Reconciler::new(files(in_force));
            let mut reported = None;
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if reconciler.due(Instant::now(), Fingerprint::of).is_some() {
                    // Taken before the file is read, so that a change in between is noticed.
                    let before = files(Fingerprint::of(&path));
                    let began = Instant::now();
                    let load = panic::catch_unwind(AssertUnwindSafe(|| file.load()));
                    match load.unwrap_or(false) {
                        true => reconciler.in_force(before),
                        false => reconciler.failed(before, Instant::now(), began.elapsed()),
                    }
                }
                let in_sync = reconciler.in_sync(Fingerprint::of).all(|(_, same)| same);
                if reported.replace(in_sync) != Some(in_sync) {
                    file.report(in_sync);
                }
            }
        })?;
        Ok(Self { _stops_on_drop: sender })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads the content of a file, except `bad`.
    struct Content {
        path: PathBuf,
        loaded: mpsc::Sender<Vec<u8>>,
        reports: mpsc::Sender<bool>,
    }

    impl WatchedFile for Content {
        fn load(&mut self) -> bool {
            let Ok(content) = fs::read(&self.path) else { return false };
            assert_ne!(content, b"panic");
            let good = content != b"bad";
            if good {
                self.loaded.send(content).unwrap();
            }
            good
        }

        fn report(&mut self, in_sync: bool) {
            self.reports.send(in_sync).unwrap();
        }
    }

    /// Longer than any step takes on a busy machine.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn unusable_file_is_out_of_sync_until_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "first").unwrap();
        let (loaded, contents) = mpsc::channel();
        let (reports, reported) = mpsc::channel();
        let content = Content { path: path.clone(), loaded, reports };
        let seen = Fingerprint::of(&path);
        let interval = Duration::from_millis(1);
        let _watch = FileWatcher::start(path.clone(), seen, interval, content).unwrap();
        assert_eq!(reported.recv_timeout(LONG), Ok(true));
        let replace = |content: &str| {
            fs::write(folder.path().join("new"), content).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        };
        for unusable in ["bad", "panic"] {
            replace(unusable);
            assert_eq!(reported.recv_timeout(LONG), Ok(false), "{unusable}");
            replace(&format!("after {unusable}"));
            let content = contents.recv_timeout(LONG).unwrap();
            assert_eq!(content, format!("after {unusable}").into_bytes());
            assert_eq!(reported.recv_timeout(LONG), Ok(true), "{unusable}");
        }
    }

    #[tokio::test]
    async fn edit_that_keeps_size_and_time_is_a_change() {
        use callgate_testkit::wait::{PATIENCE, eventually};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "x").unwrap();
        let before = Fingerprint::of(&path);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        // File system timestamps have a resolution of some milliseconds.
        eventually("the inode change time advances", PATIENCE, async || {
            fs::write(&path, "y").unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
            (before != Fingerprint::of(&path)).then_some(())
        })
        .await;
    }

    #[test]
    fn swapped_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "x").unwrap();
        fs::write(path("b"), "x").unwrap();
        std::os::unix::fs::symlink("a", path("link")).unwrap();
        let before = Fingerprint::of(&path("link"));
        assert_eq!(before, Fingerprint::of(&path("link")));
        std::os::unix::fs::symlink("b", path("new")).unwrap();
        fs::rename(path("new"), path("link")).unwrap();
        assert_ne!(before, Fingerprint::of(&path("link")));
    }

    #[test]
    fn dropping_the_watcher_stops_it() {
        let (loaded, gone) = mpsc::channel();
        let (reports, _reported) = mpsc::channel();
        let content = Content { path: "/nonexistent".into(), loaded, reports };
        let interval = Duration::from_millis(1);
        let watch = FileWatcher::start("/nonexistent".into(), Fingerprint(None), interval, content);
        drop(watch.unwrap());
        assert!(
            gone.recv_timeout(Duration::from_secs(10))
                .is_err_and(|e| e == RecvTimeoutError::Disconnected)
        );
    }
}
