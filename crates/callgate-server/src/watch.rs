//! Detects changes of the configuration files.
//!
//! Files are polled: that works on every file system and with the symbolic links that Kubernetes swaps,
//! and costs a few system calls per second.

use std::path::PathBuf;

use callgate_config::file_watch::Fingerprint;

/// A set of files with their last fingerprints.
#[derive(Debug, Default)]
pub(crate) struct FileSetWatch {
    seen: Vec<(PathBuf, Fingerprint)>,
    /// A change was seen, but files may still be changing. It counts when the next poll sees no
    /// further change, so that a file is not read while it is being written.
    unsettled: bool,
}

impl FileSetWatch {
    /// Takes the fingerprint of each file from before it was read, so that later changes are noticed.
    pub(crate) fn new(seen: Vec<(PathBuf, Fingerprint)>) -> Self {
        Self { seen, unsettled: false }
    }

    /// True once for each change, when the files no longer change.
    pub(crate) fn changed(&mut self) -> bool {
        let mut changing = false;
        for (path, seen) in &mut self.seen {
            let now = Fingerprint::of(path);
            changing |= now != *seen;
            *seen = now;
        }
        let settled = self.unsettled && !changing;
        self.unsettled = changing;
        settled
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn change_counts_once_after_files_settle() {
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
    fn change_between_read_and_watch_is_noticed() {
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
