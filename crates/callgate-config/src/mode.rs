//! Who else may read or write a file.

use std::{io, path::Path};

/// What a file's owner, group and mode say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    mode: u32,
    owner: u32,
    group: u32,
}

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reader {
    user: u32,
    groups: Vec<u32>,
}

impl Access {
    /// True if anybody but its owner may write it.
    pub(crate) fn writable_by_others(self) -> bool {
        self.mode & 0o022 != 0
    }

    /// Its owner, if he is neither `reader` nor root nor the owner of `document`, the configuration:
    /// he may write it, or give himself the right, whatever its mode says.
    pub(crate) fn strange_owner(
        self,
        reader: Option<&Reader>,
        document: Option<Self>,
    ) -> Option<u32> {
        let reader = reader?;
        let known = [Some(reader.user), Some(0), document.map(|document| document.owner)];
        (!known.contains(&Some(self.owner))).then_some(self.owner)
    }

    /// True if others than `reader` may read it for no good reason. A file of somebody else's that
    /// `reader` can read through its group alone is given on purpose: so come the seeds of a Secret
    /// into a pod (owner root, mode 0440, `fsGroup`), or those that root gives a service.
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

/// Elsewhere files have no such bits.
#[cfg(not(unix))]
impl Access {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|_| Self { mode: 0, owner: 0, group: 0 })
    }
}

impl Reader {
    /// This process, where the system tells (Linux: proc(5)).
    pub(crate) fn this() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let numbers = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()
        };
        // Real, effective, saved, and that of the file system, which is the one that counts.
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
    fn a_file_that_is_given_through_a_group_lies_open_to_nobody() {
        let reader = Reader::parse(STATUS).unwrap();
        for (owner, group, mode, open) in [
            // A Secret with `fsGroup`; what root gives to a service; a supplementary group.
            (0, 65532, 0o440, false),
            (0, 65532, 0o640, false),
            (0, 3000, 0o440, false),
            (65532, 65532, 0o400, false),
            // One's own file needs no group; nor does anybody need what all may read.
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
        assert!(given.readable_by_others(None), "nobody knows who reads");
    }

    #[test]
    fn a_file_that_a_group_may_write_is_writable_by_others_whoever_reads() {
        for (mode, writable) in [(0o440, false), (0o660, true), (0o642, true), (0o600, false)] {
            let access = Access { mode, owner: 0, group: 65532 };
            assert_eq!(access.writable_by_others(), writable, "{mode:o}");
        }
    }

    #[test]
    fn an_owner_who_is_neither_the_reader_nor_root_nor_the_configurations_is_strange() {
        let of = |owner| Access { mode: 0o600, owner, group: 65532 };
        let (service, root) = (Reader::parse(STATUS).unwrap(), Reader { user: 0, groups: vec![0] });
        for (owner, reader, document, strange) in [
            (0, Some(&service), None, false),
            (65532, Some(&service), None, false),
            (12345, Some(&service), None, true),
            (12345, Some(&service), Some(of(0)), true),
            (0, Some(&root), None, false),
            (12345, Some(&root), Some(of(0)), true),
            // Root looks at what a service's user owns.
            (12345, Some(&root), Some(of(12345)), false),
            // Nobody knows who reads.
            (12345, None, None, false),
        ] {
            let found = of(owner).strange_owner(reader, document);
            assert_eq!(found, strange.then_some(owner), "{owner} {reader:?} {document:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_knows_who_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let made = Access::of(file.path()).unwrap();
        assert_eq!(made.owner, Reader::this().unwrap().user);
    }
}
