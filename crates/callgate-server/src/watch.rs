//! Notices that a configuration file changed.
//!
//! Files are looked at, not listened to: it works for every file system, for Kubernetes' symbolic
//! links that are swapped as a whole, and it costs a few system calls a second.

use std::path::PathBuf;

use callgate_config::file_watch::Fingerprint;

/// A set of files, and how they looked.
#[derive(Debug, Default)]
pub(crate) struct FileSetWatch {
    seen: Vec<(PathBuf, Fingerprint)>,
    /// A change that was seen once; it counts when nothing more changes until the next look, so
    /// that a file is not read while somebody writes it.
    unsettled: bool,
}

impl FileSetWatch {
    /// With how each file looked before it was read: what changed since then is a change.
    pub(crate) fn new(read: Vec<(PathBuf, Fingerprint)>) -> Self {
        Self { seen: read, unsettled: false }
    }

    /// True once for each change, when the files have come to rest.
    pub(crate) fn changed(&mut self) -> bool {
        let mut moved = false;
        for (path, seen) in &mut self.seen {
            let now = Fingerprint::of(path);
            moved |= now != *seen;
            *seen = now;
        }
        let settled = self.unsettled && !moved;
        self.unsettled = moved;
        settled
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_counts_once_and_only_when_it_has_come_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "1").unwrap();
        let mut watch = FileSetWatch::new(vec![(path.clone(), Fingerprint::of(&path))]);
        assert!(!watch.changed());
        fs::write(&path, "22").unwrap();
        assert!(!watch.changed());
        fs::write(&path, "333").unwrap();
        assert!(!watch.changed());
        assert!(watch.changed());
        assert!(!watch.changed());
        fs::remove_file(&path).unwrap();
        assert!(!watch.changed());
        assert!(watch.changed());
    }

    #[test]
    fn what_changed_after_the_reading_and_before_the_watch_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "1").unwrap();
        let read = vec![(path.clone(), Fingerprint::of(&path))];
        fs::write(&path, "22").unwrap();
        let mut watch = FileSetWatch::new(read);
        assert!(!watch.changed());
        assert!(watch.changed());
    }
}
