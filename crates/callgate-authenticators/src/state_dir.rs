//! `state_dir`: verified key sets that outlive the process, so that a provider that is down at a start
//! refuses only its own users.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::hmac;
use callgate::clock::UnixTime;
use data_encoding::HEXLOWER;
use rustix::{fs::OFlags, process::geteuid};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The format of the files.
const VERSION: u32 = 1;
/// In bytes; a key set has at most 1 MiB.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// A file from further in the future was not written with a correct clock.
const MAX_CLOCK_ERROR: i64 = 60;

/// Why the folder or a file in it is not used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("cannot {what} `{path}`: {error}", path = .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// It is not a folder.
    #[error("`{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// Other users could read or replace it.
    #[error("`{path}` can be used by others: run `chmod {mode} {path}`", path = .0.display(), mode = .1)]
    Mode(PathBuf, &'static str),
    /// Its owner could replace it.
    #[error("`{}` belongs to user {}, not to Callgate's user {}", .0.display(), .1, .2)]
    Owner(PathBuf, u32, u32),
    /// Not a file that Callgate wrote with this issuer seed.
    #[error(
        "`{}` was changed, or was written with another issuer seed or configuration: remove it",
        .0.display()
    )]
    NotAuthentic(PathBuf),
    /// Its time is in the future.
    #[error("`{}` is from the future ({}): check the clock, or remove it", .0.display(), .1)]
    FromTheFuture(PathBuf, UnixTime),
}

/// A folder of Callgate's own. Clones are the same folder.
#[derive(Clone)]
pub struct StateDir {
    path: PathBuf,
    key: hmac::Key,
    is_writable: bool,
}

impl StateDir {
    /// The folder at `path`. Files in it are authenticated with `secret`, which only Callgate has.
    pub fn new(path: impl Into<PathBuf>, secret: &[u8]) -> Self {
        Self {
            path: path.into(),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            is_writable: true,
        }
    }

    /// The same folder, in which nothing is written: for commands beside the service.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { is_writable: false, ..self }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the folder unless it exists.
    ///
    /// # Errors
    /// If that is not possible, or others can use the folder.
    pub fn create(&self) -> Result<(), StateError> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.error("create the folder", error))
            }
            Ok(()) | Err(_) => self.check(),
        }
    }

    /// Checks a folder that exists.
    ///
    /// # Errors
    /// If it is not a folder, belongs to another user, or others can use it.
    pub fn check(&self) -> Result<(), StateError> {
        let folder = fs::metadata(&self.path).map_err(|error| self.error("read", error))?;
        if !folder.is_dir() {
            return Err(StateError::NotAFolder(self.path.clone()));
        }
        check_access(&self.path, &folder, "700")
    }

    /// The file for what `id` identifies, such as the keys of one authenticator.
    pub(crate) fn file(&self, id: &str) -> StateFile {
        let name = HEXLOWER.encode(Sha256::digest(id).get(..16).unwrap_or_default());
        let path = self.path.join(format!("keys-{name}.json"));
        StateFile { path, id: id.to_owned(), key: self.key.clone(), is_writable: self.is_writable }
    }

    fn error(&self, what: &'static str, error: io::Error) -> StateError {
        StateError::Io { what, path: self.path.clone(), error }
    }
}

impl fmt::Debug for StateDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateDir({})", self.path.display())
    }
}

/// The file of one key set.
#[derive(Clone)]
pub(crate) struct StateFile {
    path: PathBuf,
    id: String,
    key: hmac::Key,
    is_writable: bool,
}

/// A key set as it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SavedKeys {
    pub(crate) fetched: UnixTime,
    /// The issuer, if it was learned together with the keys.
    pub(crate) issuer: Option<String>,
    /// The text of the set.
    pub(crate) keys: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    source: String,
    fetched: i64,
    issuer: Option<String>,
    keys: String,
    mac: String,
}

impl StateFile {
    /// Whether this process may write it.
    pub(crate) fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// What was saved; `None` if nothing was.
    ///
    /// # Errors
    /// If the file cannot be read, others can use it, or it is not authentic.
    pub(crate) fn read(&self, now: UnixTime) -> Result<Option<SavedKeys>, StateError> {
        let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(nofollow).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.error("open", error))?,
        };
        let metadata = file.metadata().map_err(|error| self.error("read", error))?;
        check_access(&self.path, &metadata, "600")?;
        let mut bytes = Vec::new();
        let read = file.take(MAX_SIZE).read_to_end(&mut bytes);
        read.map_err(|error| self.error("read", error))?;
        let saved =
            self.authentic(&bytes).ok_or_else(|| StateError::NotAuthentic(self.path.clone()))?;
        if saved.fetched.seconds_since(now) > MAX_CLOCK_ERROR {
            return Err(StateError::FromTheFuture(self.path.clone(), saved.fetched));
        }
        Ok(Some(saved))
    }

    fn authentic(&self, bytes: &[u8]) -> Option<SavedKeys> {
        let content: Content = serde_json::from_slice(bytes).ok()?;
        let Content { version, source, fetched, issuer, keys, mac } = content;
        let saved = SavedKeys { fetched: UnixTime::from_seconds(fetched), issuer, keys };
        let mac = HEXLOWER.decode(mac.as_bytes()).ok()?;
        hmac::verify(&self.key, &self.authenticated(&saved), &mac).ok()?;
        (version == VERSION && source == self.id).then_some(saved)
    }

    /// Replaces the file atomically. If that fails, removes it: a set that was replaced, perhaps because
    /// a key was stolen, must not come back after a restart.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, saved: &SavedKeys) -> Result<(), StateError> {
        // Another process may have fetched a newer set.
        let newer = |found: SavedKeys| found.fetched.seconds_since(saved.fetched) > 0;
        if self.read(saved.fetched).ok().flatten().is_some_and(newer) {
            return Ok(());
        }
        self.replace(saved).inspect_err(|_| {
            let _ = fs::remove_file(&self.path);
        })
    }

    fn replace(&self, saved: &SavedKeys) -> Result<(), StateError> {
        let mac = hmac::sign(&self.key, &self.authenticated(saved));
        let SavedKeys { fetched, issuer, keys } = saved.clone();
        let content = Content {
            version: VERSION,
            source: self.id.clone(),
            fetched: fetched.seconds(),
            issuer,
            keys,
            mac: HEXLOWER.encode(mac.as_ref()),
        };
        let json = serde_json::to_vec(&content);
        let json = json.map_err(|error| self.error("encode", error.into()))?;
        let new = self.path.with_extension("new");
        let write = || {
            // Left by a process that was killed.
            let _ = fs::remove_file(&new);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&new);
            self.error("write", error)
        })
    }

    /// Everything that the code authenticates; each part has its length in front.
    fn authenticated(&self, saved: &SavedKeys) -> Vec<u8> {
        let issuer = saved.issuer.as_deref().map(|issuer| format!("={issuer}")).unwrap_or_default();
        let mut bytes = VERSION.to_be_bytes().to_vec();
        bytes.extend(saved.fetched.seconds().to_be_bytes());
        for part in [&*self.id, &*issuer, &*saved.keys] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }

    fn error(&self, what: &'static str, error: io::Error) -> StateError {
        StateError::Io { what, path: self.path.clone(), error }
    }
}

impl fmt::Debug for StateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateFile({})", self.path.display())
    }
}

fn check_access(path: &Path, found: &fs::Metadata, mode: &'static str) -> Result<(), StateError> {
    let user = geteuid().as_raw();
    if found.uid() != user {
        return Err(StateError::Owner(path.to_owned(), found.uid(), user));
    }
    match found.mode() & 0o077 {
        0 => Ok(()),
        _ => Err(StateError::Mode(path.to_owned(), mode)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    fn saved(seconds: i64) -> SavedKeys {
        SavedKeys { fetched: at(seconds), issuer: Some("i".into()), keys: "{\"keys\":[]}".into() }
    }

    fn folder() -> (tempfile::TempDir, StateDir) {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::new(root.path().join("state"), b"secret");
        state.create().unwrap();
        (root, state)
    }

    #[test]
    fn saved_keys_are_private_and_come_back() {
        let (_root, state) = folder();
        let file = state.file("a");
        assert_eq!(file.read(at(100)).unwrap(), None);
        file.write(&saved(100)).unwrap();
        assert_eq!(file.read(at(100)).unwrap(), Some(saved(100)));
        assert_eq!(fs::metadata(state.path()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1, "no temporary file is left");
        assert_eq!(state.file("b").read(at(100)).unwrap(), None);
    }

    #[test]
    fn changed_or_foreign_files_are_not_used() {
        let (_root, state) = folder();
        let file = state.file("a");
        file.write(&saved(100)).unwrap();
        let text = fs::read_to_string(&file.path).unwrap();
        for (from, to) in [
            ("100", "200"),
            ("\"i\"", "\"j\""),
            ("\"i\"", "null"),
            ("keys\\\"", "kays\\\""),
            ("\"version\":1", "\"version\":2"),
            ("\"source\":\"a\"", "\"source\":\"b\""),
            ("{", ""),
            ("}", ",\"more\":1}"),
        ] {
            assert!(text.contains(from), "{from} {text}");
            fs::write(&file.path, text.replacen(from, to, 1)).unwrap();
            let found = file.read(at(100));
            assert!(matches!(found, Err(StateError::NotAuthentic(_))), "{from}: {found:?}");
        }
        for garbage in [&b""[..], b"\0\xff", b"[]"] {
            fs::write(&file.path, garbage).unwrap();
            assert!(matches!(file.read(at(100)), Err(StateError::NotAuthentic(_))));
        }
        fs::write(&file.path, &text).unwrap();
        assert_eq!(file.read(at(100)).unwrap(), Some(saved(100)));
        // The same file of another entry, and one that was written with another seed.
        let other = StateDir::new(state.path(), b"another secret").file("a");
        assert!(matches!(other.read(at(100)), Err(StateError::NotAuthentic(_))));
        fs::copy(&file.path, &state.file("b").path).unwrap();
        assert!(matches!(state.file("b").read(at(100)), Err(StateError::NotAuthentic(_))));
    }

    #[test]
    fn files_that_others_can_use_are_not_used() {
        let (root, state) = folder();
        let file = state.file("a");
        file.write(&saved(100)).unwrap();
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(file.read(at(100)), Err(StateError::Mode(_, "600"))));
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o600)).unwrap();
        // Only root can give a file away.
        if chown(&file.path, Some(12345), None).is_ok() {
            assert!(matches!(file.read(at(100)), Err(StateError::Owner(_, 12345, _))));
            chown(&file.path, Some(geteuid().as_raw()), None).unwrap();
        }
        fs::rename(&file.path, root.path().join("elsewhere")).unwrap();
        symlink(root.path().join("elsewhere"), &file.path).unwrap();
        assert!(matches!(file.read(at(100)), Err(StateError::Io { .. })), "a link");
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(state.create(), Err(StateError::Mode(_, "700"))));
        assert!(StateDir::new(root.path().join("elsewhere"), b"").create().is_err());
    }

    #[test]
    fn newer_keys_are_never_replaced_by_older_ones() {
        let (_root, state) = folder();
        let file = state.file("a");
        file.write(&saved(200)).unwrap();
        file.write(&SavedKeys { keys: "old".into(), ..saved(150) }).unwrap();
        // A clock that was wrong by more than a minute does not keep a file forever.
        assert_eq!(file.read(at(200)).unwrap(), Some(saved(200)));
        assert!(matches!(file.read(at(100)), Err(StateError::FromTheFuture(..))));
        file.write(&saved(100)).unwrap();
        assert_eq!(file.read(at(100)).unwrap(), Some(saved(100)));
    }

    #[test]
    fn keys_that_cannot_be_replaced_are_removed() {
        let (_root, state) = folder();
        let file = state.file("a");
        file.write(&saved(100)).unwrap();
        // The temporary name is taken by a folder, so that writing fails, also for root.
        fs::create_dir_all(file.path.with_extension("new").join("x")).unwrap();
        file.write(&saved(200)).unwrap_err();
        assert_eq!(file.read(at(200)).unwrap(), None);
    }
}
