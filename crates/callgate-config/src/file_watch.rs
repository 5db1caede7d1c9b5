//! Detects file changes by polling, which works with every editor, with the symbolic links that
//! Kubernetes swaps, and on network file systems.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, SystemTime},
};

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

/// Polls a file on its own thread until dropped.
#[derive(Debug)]
pub struct FileWatcher {
    _stops_on_drop: mpsc::Sender<()>,
}

impl FileWatcher {
    /// Calls `changed` when the file differs from `seen`, or from its state at the last call, and has not
    /// changed for one `interval`, so that a file is not read while it is being written.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        path: PathBuf,
        seen: Fingerprint,
        interval: Duration,
        mut changed: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, ended) = mpsc::channel();
        thread::Builder::new().name("file-watch".to_owned()).spawn(move || {
            let mut detector = ChangeDetector { seen, changing: None };
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if detector.has_settled_change(Fingerprint::of(&path)) {
                    changed();
                }
            }
        })?;
        Ok(Self { _stops_on_drop: sender })
    }
}

struct ChangeDetector {
    seen: Fingerprint,
    changing: Option<Fingerprint>,
}

impl ChangeDetector {
    /// True if `now` differs from `seen` and equals the fingerprint of the previous check.
    fn has_settled_change(&mut self, now: Fingerprint) -> bool {
        if now == self.seen {
            self.changing = None;
            return false;
        }
        if self.changing.as_ref() != Some(&now) {
            self.changing = Some(now);
            return false;
        }
        self.changing = None;
        self.seen = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_counts_as_changed_after_it_settles() {
        let fingerprint =
            |size| Fingerprint(Some(Attributes { modified: None, size, inode: (1, 1, (1, 1)) }));
        let mut detector = ChangeDetector { seen: fingerprint(1), changing: None };
        for (now, expected) in [
            (fingerprint(1), false),
            (fingerprint(2), false),
            (fingerprint(3), false),
            (fingerprint(3), true),
            (fingerprint(3), false),
            (Fingerprint(None), false),
            (fingerprint(3), false),
            (Fingerprint(None), false),
            (Fingerprint(None), true),
        ] {
            assert_eq!(detector.has_settled_change(now), expected);
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
        let (kept, gone) = mpsc::channel::<()>();
        let interval = Duration::from_millis(1);
        let watch =
            FileWatcher::start("/nonexistent".into(), Fingerprint(None), interval, move || {
                let _still_here = &kept;
            });
        drop(watch.unwrap());
        assert!(
            gone.recv_timeout(Duration::from_secs(10))
                .is_err_and(|e| e == RecvTimeoutError::Disconnected)
        );
    }
}
