//! Notices that a file has changed, by looking at it: this works for every editor, for the
//! symbolic links of Kubernetes, and on network file systems.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, SystemTime},
};

/// How often a file is looked at.
pub const INTERVAL: Duration = Duration::from_millis(300);

/// What a file looks like from outside; nothing, if it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Option<Attributes>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attributes {
    modified: Option<SystemTime>,
    size: u64,
    inode: Inode,
}

/// Device, inode, and when the inode changed last: whoever writes in place may set the other time as he
/// likes.
type Inode = (u64, u64, (i64, i64));

impl Fingerprint {
    /// Looks at a file, through symbolic links. Take it before reading the file: what changes in
    /// between is then noticed.
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

/// Looks at a file on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct FileWatch {
    _ends_when_dropped: mpsc::Sender<()>,
}

impl FileWatch {
    /// Calls `changed` each time when the file is no longer what it was at `seen` or at the last
    /// call, and has stayed the same for one `interval`: a file is not read while it is written.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(
        path: PathBuf,
        seen: Fingerprint,
        interval: Duration,
        mut changed: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, ended) = mpsc::channel();
        thread::Builder::new().name("file-watch".to_owned()).spawn(move || {
            let mut steady = Steady { seen, changing: None };
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if steady.is_new(Fingerprint::of(&path)) {
                    changed();
                }
            }
        })?;
        Ok(Self { _ends_when_dropped: sender })
    }
}

struct Steady {
    seen: Fingerprint,
    changing: Option<Fingerprint>,
}

impl Steady {
    /// True if `now` differs from what was seen and is what it was the last time.
    fn is_new(&mut self, now: Fingerprint) -> bool {
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
    fn a_file_counts_as_changed_only_after_it_has_settled() {
        let fingerprint =
            |size| Fingerprint(Some(Attributes { modified: None, size, inode: (1, 1, (1, 1)) }));
        let mut steady = Steady { seen: fingerprint(1), changing: None };
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
            assert_eq!(steady.is_new(now), expected);
        }
    }

    #[tokio::test]
    async fn an_edit_that_keeps_size_and_time_is_a_change() {
        use callgate_testkit::wait::{PATIENCE, eventually};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "x").unwrap();
        let before = Fingerprint::of(&path);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        // The clock of a file system has steps of some milliseconds.
        eventually("the inode's time moves on", PATIENCE, async || {
            fs::write(&path, "y").unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
            (before != Fingerprint::of(&path)).then_some(())
        })
        .await;
    }

    #[test]
    fn a_swapped_link_is_a_change() {
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
    fn dropping_the_watch_ends_it() {
        let (kept, gone) = mpsc::channel::<()>();
        let interval = Duration::from_millis(1);
        let watch =
            FileWatch::start("/nonexistent".into(), Fingerprint(None), interval, move || {
                let _still_here = &kept;
            });
        drop(watch.unwrap());
        assert!(
            gone.recv_timeout(Duration::from_secs(10))
                .is_err_and(|e| e == RecvTimeoutError::Disconnected)
        );
    }
}
