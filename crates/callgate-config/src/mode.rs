//! Which other users can read or write a file.

use std::{io, path::Path};

/// The owner, group and mode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    mode: u32,
    owner: u32,
    group: u32,
}

/// Stands for users without a number (/proc/sys/kernel/overflowuid).
const OVERFLOW_USER: u32 = 65534;

/// The user and groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reader {
    user: u32,
    groups: Vec<u32>,
}

impl Access {
    /// True if anyone but the owner can write the file.
    pub(crate) fn writable_by_others(self) -> bool {
        self.mode & 0o022 != 0
    }

    /// True if only owners can rename and delete what is in the folder.
    pub(crate) fn is_sticky(self) -> bool {
        self.mode & 0o1000 != 0
    }

    pub(crate) fn has_owner_of(self, other: Self) -> bool {
        self.owner == other.owner
    }

    /// True if the owner may be a user that has no number in this user namespace: in a rootless container,
    /// everything that belongs to the host's root (user_namespaces(7)).
    pub(crate) fn is_unmapped(self) -> bool {
        let is_whole = |map: String| map.split_whitespace().nth(2) == Some("4294967295");
        self.owner == OVERFLOW_USER
            && !std::fs::read_to_string("/proc/self/uid_map").is_ok_and(is_whole)
    }

    /// The owner, unless it is `reader`, root, or the owner of `document`, the configuration. An owner can
    /// always write the file, or give itself permission to.
    pub(crate) fn unknown_owner(
        self,
        reader: Option<&Reader>,
        document: Option<Self>,
    ) -> Option<u32> {
        let reader = reader?;
        let known = [Some(reader.user), Some(0), document.map(|document| document.owner)];
        (!known.contains(&Some(self.owner))).then_some(self.owner)
    }

    /// True if users other than `reader` can read the file without a good reason. A file of another owner
    /// that `reader` can read only through its group is shared on purpose: a Secret mounted into a pod
    /// (owner root, mode 0440, `fsGroup`), or a file that root provides for a service.
    pub(crate) fn readable_by_others(self, reader: Option<&Reader>) -> bool {
        let through_group = |reader: &Reader| {
            self.owner != reader.user && reader.user != 0 && reader.groups.contains(&self.group)
        };
        self.mode & 0o004 != 0 || (self.mode & 0o040 != 0 && !reader.is_some_and(through_group))
    }
}

#[cfg(unix)]
impl Access {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(path)?;
        Ok(Self { mode: file.mode(), owner: file.uid(), group: file.gid() })
    }
}

/// Other systems have no mode bits.
#[cfg(not(unix))]
impl Access {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|_| Self { mode: 0, owner: 0, group: 0 })
    }
}

impl Reader {
    /// The current process, if the system provides the information (Linux: proc(5)).
    pub(crate) fn this() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    #[cfg(test)]
    pub(crate) fn of(user: u32) -> Self {
        Self { user, groups: Vec::new() }
    }

    fn parse(status: &str) -> Option<Self> {
        let numbers = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()
        };
        // Real, effective, saved and file system ID; the last one determines file access.
        let user = *numbers("Uid:")?.get(3)?;
        let mut groups = numbers("Groups:")?;
        groups.push(*numbers("Gid:")?.get(3)?);
        Some(Self { user, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tcallgate\nUid:\t65532\t65532\t65532\t65532\n\
                          Gid:\t65532\t65532\t65532\t65532\nGroups:\t2000 3000 \n";

    #[test]
    fn file_shared_through_a_group_is_not_readable_by_others() {
        let reader = Reader::parse(STATUS).unwrap();
        for (owner, group, mode, open) in [
            // A Secret with `fsGroup`; a file that root provides for a service; a supplementary group.
            (0, 65532, 0o440, false),
            (0, 65532, 0o640, false),
            (0, 3000, 0o440, false),
            (65532, 65532, 0o400, false),
            // The process's own file, a world-readable file, and a file of a foreign group.
            (65532, 65532, 0o440, true),
            (0, 65532, 0o444, true),
            (0, 4000, 0o440, true),
        ] {
            let access = Access { mode: 0o100_000 | mode, owner, group };
            assert_eq!(access.readable_by_others(Some(&reader)), open, "{access:?}");
        }
        let given = Access { mode: 0o440, owner: 1, group: 0 };
        let root = Reader { user: 0, groups: vec![0] };
        assert!(given.readable_by_others(Some(&root)), "root needs no group");
        assert!(given.readable_by_others(None), "the reader is unknown");
    }

    #[test]
    fn group_writable_file_is_writable_by_others() {
        for (mode, writable) in [(0o440, false), (0o660, true), (0o642, true), (0o600, false)] {
            let access = Access { mode, owner: 0, group: 65532 };
            assert_eq!(access.writable_by_others(), writable, "{mode:o}");
        }
    }

    #[test]
    fn owner_other_than_reader_root_or_configuration_owner_is_unknown() {
        let of = |owner| Access { mode: 0o600, owner, group: 65532 };
        let service = Reader::parse(STATUS).unwrap();
        let root = Reader { user: 0, groups: vec![0] };
        for (owner, reader, document, is_unknown) in [
            (0, Some(&service), None, false),
            (65532, Some(&service), None, false),
            (12345, Some(&service), None, true),
            (12345, Some(&service), Some(of(0)), true),
            (0, Some(&root), None, false),
            (12345, Some(&root), Some(of(0)), true),
            // Root checks files of the service's user.
            (12345, Some(&root), Some(of(12345)), false),
            // The reader is unknown.
            (12345, None, None, false),
        ] {
            let found = of(owner).unknown_owner(reader, document);
            assert_eq!(found, is_unknown.then_some(owner), "{owner} {reader:?} {document:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reader_is_this_process() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let made = Access::of(file.path()).unwrap();
        assert_eq!(made.owner, Reader::this().unwrap().user);
    }
}
