//! Which other users can replace a file by way of the folders above it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::mode::{Access, Reader};

/// What the folders above a file permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FolderFinding {
    /// Another user can replace the file.
    Unsafe(String),
    /// Others can create files beside it.
    Shared(String),
}

/// Checks the folders above a file as OpenSSH does (`safe_path` in misc.c): each must belong to root or to
/// `reader`, and no other user may write it. The owners of `document`, the configuration, and of the file
/// itself are accepted too: the checks of these files judge them.
///
/// A symbolic link is checked on both sides: the folder of the link and that of its target.
pub(crate) fn check(
    path: &Path,
    reader: Option<&Reader>,
    document: Option<Access>,
) -> Vec<FolderFinding> {
    // The file cannot be read, which is reported elsewhere.
    let Ok(target) = fs::canonicalize(path) else { return Vec::new() };
    let file = Access::of(&target).ok();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let link = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok();
    let nearest: BTreeSet<PathBuf> =
        link.into_iter().chain(target.parent().map(Path::to_owned)).collect();
    let all: BTreeSet<&Path> = nearest.iter().flat_map(|folder| folder.ancestors()).collect();
    let findings = all.into_iter().filter_map(|folder| {
        let access = Access::of(folder).ok().filter(|_| !is_read_only(folder))?;
        let is_owned = access.unknown_owner(reader, document).is_none()
            || file.is_some_and(|file| file.has_owner_of(access))
            || access.is_unmapped();
        let (path, name) = (path.display(), folder.display());
        match (is_owned, access.writable_by_others(), access.is_sticky()) {
            (false, ..) => Some(FolderFinding::Unsafe(format!(
                "`{path}` can be replaced by the owner of the folder `{name}`, who is neither root nor \
                 Callgate's user: run `chown` or move the file"
            ))),
            (true, true, false) => Some(FolderFinding::Unsafe(format!(
                "`{path}` can be replaced by others, who can write the folder `{name}`: run \
                 `chmod go-w {name}` or move the file"
            ))),
            // In a sticky folder, users can add files but not replace those of others.
            (true, true, true) if nearest.contains(folder) => {
                Some(FolderFinding::Shared(format!(
                    "`{path}` is in `{name}`, where every user can create files: move it to a folder \
                     of its own"
                )))
            }
            (true, true, true) | (true, false, _) => None,
        }
    });
    findings.collect()
}

/// True for a mounted Secret, for example: its mode may let every user write, but the mount is read-only.
fn is_read_only(folder: &Path) -> bool {
    let found = rustix::fs::statvfs(folder);
    found.is_ok_and(|found| found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// `outer/inner/file`, and what is found with these modes of the folders.
    fn found(outer: u32, inner: u32) -> Vec<FolderFinding> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("outer/inner");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        set_mode(&folder, inner);
        set_mode(folder.parent().unwrap(), outer);
        check(&folder.join("file"), Reader::this().as_ref(), None)
    }

    #[test]
    fn folder_that_others_can_write_is_unsafe() {
        for (outer, inner) in [(0o755, 0o775), (0o755, 0o757), (0o770, 0o700), (0o777, 0o700)] {
            let findings = found(outer, inner);
            let [FolderFinding::Unsafe(text)] = &*findings else { panic!("{findings:?}") };
            assert!(text.contains("chmod go-w"), "{text}");
        }
        assert_eq!(found(0o755, 0o755), []);
    }

    #[test]
    fn sticky_folder_is_shared_only_if_the_file_is_in_it() {
        assert!(matches!(&*found(0o755, 0o1777), [FolderFinding::Shared(_)]));
        assert_eq!(found(0o1777, 0o700), []);
    }

    #[test]
    fn folder_of_a_link_and_that_of_its_target_are_checked() {
        for exposed in ["links", "files"] {
            let root = tempfile::tempdir().unwrap();
            let path = |name: &str| root.path().join(name);
            for folder in ["links", "files"] {
                fs::create_dir(path(folder)).unwrap();
            }
            fs::write(path("files/file"), "x").unwrap();
            symlink("../files/file", path("links/link")).unwrap();
            assert_eq!(check(&path("links/link"), Reader::this().as_ref(), None), []);
            set_mode(&path(exposed), 0o777);
            let findings = check(&path("links/link"), Reader::this().as_ref(), None);
            assert!(matches!(&*findings, [FolderFinding::Unsafe(_)]), "{exposed}: {findings:?}");
        }
    }

    #[test]
    fn folder_of_an_unknown_user_is_unsafe() {
        // Only root can give a folder away.
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("foreign");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        if std::os::unix::fs::chown(&folder, Some(12345), None).is_err() {
            let stranger = Reader::of(12345);
            let findings = check(&folder.join("file"), Some(&stranger), None);
            assert_eq!(findings, [], "the owner of the file is judged elsewhere");
            return;
        }
        let findings = check(&folder.join("file"), Reader::this().as_ref(), None);
        let [FolderFinding::Unsafe(text)] = &*findings else { panic!("{findings:?}") };
        assert!(text.contains("owner of the folder"), "{text}");
    }
}
