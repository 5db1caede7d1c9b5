//! The only code that reads the environment and files. Records the files read, and their fingerprints.

use std::{
    ffi::OsString,
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use callgate::{
    keys::{KeyError, Seed},
    secret::Secret,
};
use zeroize::Zeroizing;

use crate::file_watch::{Fingerprint, Fingerprints};
use crate::folders::{self, FolderFinding};
use crate::mode::{Access, Reader};

/// In bytes.
const MAX_FILE_SIZE: u64 = 256 * 1024 * 1024;

/// In UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a file or variable could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file does not exist or cannot be read.
    #[error("cannot read `{path}`: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        error: io::Error,
    },
    /// A pipe or a device, where reading may never end.
    #[error("`{0}` is not a regular file")]
    NotRegular(String),
    /// The file is too large for a configuration.
    #[error("`{0}` is larger than 256 MiB")]
    TooLarge(String),
    /// The file is not UTF-8.
    #[error("`{0}` is not UTF-8 text")]
    NotText(String),
    /// The file is empty.
    #[error("`{0}` is empty, but a secret is needed")]
    EmptyFile(String),
    /// The variable is not set.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    /// The variable is empty.
    #[error("the environment variable `{0}` is empty")]
    EmptyVariable(String),
    /// The variable is not UTF-8.
    #[error("the environment variable `{0}` is not UTF-8 text")]
    NotTextVariable(String),
    /// The value is empty.
    #[error("the secret is empty")]
    Empty,
    /// The value is in quotes, which a shell removes, but an env file or a Secret does not.
    #[error("{0} begins and ends with a quote, which would be part of the value: remove both")]
    Quoted(String),
    /// The text does not contain a seed.
    #[error("{origin} contains no seed: {error}")]
    NoSeed {
        /// The file, variable or value.
        origin: String,
        /// What was found instead.
        error: KeyError,
    },
    /// Other users could replace the seed with their own.
    #[error("`{0}` contains a seed and is writable by others: run `chmod 600 {0}`")]
    WritableByOthers(String),
    /// Other users could replace the file, because of a folder above it.
    #[error("{0}")]
    UnsafeFolder(String),
}

impl SourceError {
    /// True if the file does not exist.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Unreadable { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

type Lookup = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// Files, relative to a base folder, and environment variables.
#[derive(Clone)]
pub struct Sources {
    base: PathBuf,
    document: Option<PathBuf>,
    environment: Lookup,
    read: Arc<Mutex<Fingerprints>>,
    watched_elsewhere: Arc<Mutex<Fingerprints>>,
}

/// A secret from a command-line flag or its variable.
#[derive(Debug)]
pub struct FlagSecret {
    /// The secret.
    pub secret: Secret,
    /// True if it was given literally, not as `@FILE` or `env:NAME`.
    pub literal: bool,
}

impl Sources {
    /// Files relative to `base`, and the environment of this process.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            document: None,
            environment: Arc::new(|name| std::env::var_os(name)),
            read: Arc::default(),
            watched_elsewhere: Arc::default(),
        }
    }

    /// Replaces the environment, for tests.
    #[must_use]
    pub fn with_environment(
        self,
        lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { environment: Arc::new(move |name| lookup(name).map(OsString::from)), ..self }
    }

    /// Sets the configuration file. A seed written in it is subject to the rules for seed files.
    #[must_use]
    pub fn for_document(self, path: impl Into<PathBuf>) -> Self {
        Self { document: Some(path.into()), ..self }
    }

    /// The same sources with paths relative to the working folder, for command-line arguments.
    #[must_use]
    pub fn from_working_folder(&self) -> Self {
        Self { base: PathBuf::from("."), ..self.clone() }
    }

    /// The folder to which relative paths are resolved.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Resolves a path relative to the base folder.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// An environment variable, if set, trimmed.
    ///
    /// # Errors
    /// If it is not UTF-8, or is in quotes.
    pub fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, SourceError> {
        let Some(value) = (self.environment)(name) else { return Ok(None) };
        let value = value.into_string().map(Zeroizing::new);
        let value = value.map_err(|_| SourceError::NotTextVariable(name.to_owned()))?;
        let trimmed = trimmed(&value, || format!("the environment variable `{name}`"))?;
        Ok(Some(Zeroizing::new(trimmed.to_owned())))
    }

    /// Every file that was read so far, including missing files, with its fingerprint from before the
    /// first read.
    pub fn files_read(&self) -> Fingerprints {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the caller reads and watches this file itself. Call this before reading it.
    pub fn note_watched(&self, path: &Path) {
        let mut watched = self.watched_elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        watched.entry(path.to_owned()).or_insert_with(|| Fingerprint::of(path));
    }

    /// The files whose readers watch them themselves, with their fingerprints from before they were read.
    pub fn files_watched_elsewhere(&self) -> Fingerprints {
        self.watched_elsewhere.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads a regular file, following symbolic links, and records it.
    ///
    /// # Errors
    /// If it is not a regular file, cannot be read or is too large.
    pub fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        self.record(path);
        Self::read_unrecorded(path)
    }

    fn record(&self, path: &Path) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.entry(path.to_owned()).or_insert_with(|| Fingerprint::of(path));
    }

    /// Reads a regular file without recording it, for callers that watch the file themselves.
    ///
    /// # Errors
    /// If it is not a regular file, cannot be read or is too large.
    pub fn read_unrecorded(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        Self::read_bounded(path, MAX_FILE_SIZE)
    }

    /// The same for a file of at most `max` bytes; never reads more than that.
    ///
    /// # Errors
    /// If it is not a regular file, cannot be read or is too large.
    pub fn read_bounded(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        match is_pipe_or_device(path) {
            true => Err(SourceError::NotRegular(path.display().to_string())),
            false => read(path, max),
        }
    }

    /// Reads a regular file without recording it, into a buffer that `reserve` makes for its size.
    ///
    /// # Errors
    /// If it is not a regular file, cannot be read or is too large.
    pub(crate) fn read_into<B: AsMut<Vec<u8>>>(
        path: &Path,
        reserve: impl FnOnce(usize) -> B,
    ) -> Result<B, SourceError> {
        match is_pipe_or_device(path) {
            true => Err(SourceError::NotRegular(path.display().to_string())),
            false => read_with(path, MAX_FILE_SIZE, reserve),
        }
    }

    /// Reads any kind of file, without a byte-order mark: a secret may come from a pipe.
    ///
    /// # Errors
    /// If it cannot be read or is too large.
    pub fn read_any(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        read(path, MAX_FILE_SIZE)
    }

    /// Reads text, without a byte-order mark, from a file or pipe.
    ///
    /// # Errors
    /// If it cannot be read or is not UTF-8.
    pub fn read_text(&self, path: &Path) -> Result<Zeroizing<String>, SourceError> {
        self.record(path);
        let bytes = Self::read_any(path)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(SourceError::NotText(path.display().to_string())),
        }
    }

    /// The secret in a file.
    ///
    /// # Errors
    /// If it cannot be read, is not UTF-8, is empty, or is in quotes.
    pub fn secret_file(&self, path: &Path) -> Result<Secret, SourceError> {
        let text = self.read_text(path)?;
        match trimmed(&text, || format!("`{}`", path.display()))? {
            "" => Err(SourceError::EmptyFile(path.display().to_string())),
            secret => Ok(Secret::new(secret)),
        }
    }

    /// The secret in an environment variable.
    ///
    /// # Errors
    /// If it is unset, empty, not UTF-8, or in quotes.
    pub fn secret_variable(&self, name: &str) -> Result<Secret, SourceError> {
        let text = self.variable(name)?.ok_or_else(|| SourceError::Unset(name.to_owned()))?;
        match text.as_str() {
            "" => Err(SourceError::EmptyVariable(name.to_owned())),
            secret => Ok(Secret::new(secret)),
        }
    }

    /// The first seed in a file, and a warning if others can read the file, it has an unknown owner, or it
    /// is in a folder that every user can write. That owner may be the service's user, for example when
    /// root runs `check`.
    ///
    /// # Errors
    /// If the file cannot be read, contains no seed, is writable by others, or can be replaced by others.
    pub fn seed_file(&self, path: &Path) -> Result<(Seed, Option<String>), SourceError> {
        let text = self.read_text(path)?;
        let name = path.display().to_string();
        if text.trim().is_empty() {
            return Err(SourceError::EmptyFile(name));
        }
        let access = Access::of(path)
            .map_err(|error| SourceError::Unreadable { path: name.clone(), error })?;
        if access.writable_by_others() {
            return Err(SourceError::WritableByOthers(name));
        }
        let shared = self.check_folders(path)?;
        let seed = Seed::find(&text).map_err(|error| {
            let origin = format!("`{name}`");
            // An env file leaves quotes in place.
            match text.lines().any(is_quoted) {
                true => SourceError::Quoted(origin),
                false => SourceError::NoSeed { origin, error },
            }
        })?;
        let reader = Reader::this();
        let document = self.document.as_deref().and_then(|path| Access::of(path).ok());
        let unknown_owner = access.unknown_owner(reader.as_ref(), document).map(|owner| {
            format!(
                "`{name}` contains a seed and belongs to user {owner}, who can change it: this is safe only \
                 if Callgate runs as that user"
            )
        });
        let readable =
            format!("`{name}` contains a seed and is readable by others: run `chmod 600 {name}`");
        let readable = access.readable_by_others(reader.as_ref()).then_some(readable);
        let warnings: Vec<_> = unknown_owner.into_iter().chain(readable).chain(shared).collect();
        Ok((seed, (!warnings.is_empty()).then(|| warnings.join("; "))))
    }

    /// A seed written in the configuration itself.
    ///
    /// # Errors
    /// If the text is not a seed, or the configuration is writable by others.
    pub fn own_seed(&self, text: &Secret) -> Result<Seed, SourceError> {
        let document = self.document.as_deref();
        if let Some(path) = document.filter(|path| Self::writable_by_others(path).is_some()) {
            return Err(SourceError::WritableByOthers(path.display().to_string()));
        }
        Seed::find(text.expose())
            .map_err(|error| SourceError::NoSeed { origin: "the value".to_owned(), error })
    }

    /// Checks the folders above a file that other users must not replace. Returns a warning if it is in a
    /// folder, such as `/tmp`, where every user can create files.
    ///
    /// # Errors
    /// If another user can replace the file.
    pub fn check_folders(&self, path: &Path) -> Result<Option<String>, SourceError> {
        let document = self.document.as_deref().and_then(|path| Access::of(path).ok());
        let mut shared = None;
        for finding in folders::check(path, Reader::this().as_ref(), document) {
            match finding {
                FolderFinding::Unsafe(text) => return Err(SourceError::UnsafeFolder(text)),
                FolderFinding::Shared(text) => shared = Some(text),
            }
        }
        Ok(shared)
    }

    /// A warning if users other than the owner can write the file.
    pub fn writable_by_others(path: &Path) -> Option<String> {
        let name = path.display();
        let text = format!("`{name}` is writable by others: run `chmod go-w {name}`");
        access(path)?.writable_by_others().then_some(text)
    }

    /// A warning if users other than the owner can read the file, which contains a secret.
    pub fn readable_by_others(path: &Path) -> Option<String> {
        let name = path.display();
        let text =
            format!("`{name}` contains a secret and is readable by others: run `chmod 600 {name}`");
        access(path)?.readable_by_others(Reader::this().as_ref()).then_some(text)
    }

    /// The secret of a flag: `@FILE`, `env:NAME`, or the text itself.
    ///
    /// # Errors
    /// If the file or variable cannot be read, or the secret is empty.
    pub fn flag_secret(&self, text: &str) -> Result<FlagSecret, SourceError> {
        if let Some(path) = text.strip_prefix('@') {
            let secret = self.secret_file(&self.resolve(path))?;
            return Ok(FlagSecret { secret, literal: false });
        }
        if let Some(name) = text.strip_prefix("env:") {
            return Ok(FlagSecret { secret: self.secret_variable(name)?, literal: false });
        }
        match trimmed(text, || "the value".to_owned())? {
            "" => Err(SourceError::Empty),
            secret => Ok(FlagSecret { secret: Secret::new(secret), literal: true }),
        }
    }

    /// The seed of a flag, in the same forms, and a warning if other users can read it.
    ///
    /// # Errors
    /// As for [`Sources::flag_secret`] and [`Sources::seed_file`].
    pub fn flag_seed(&self, text: &str) -> Result<(Seed, Option<String>), SourceError> {
        if let Some(path) = text.strip_prefix('@') {
            return self.seed_file(&self.resolve(path));
        }
        let FlagSecret { secret, literal } = self.flag_secret(text)?;
        let seed = Seed::find(secret.expose())
            .map_err(|error| SourceError::NoSeed { origin: "the value".to_owned(), error })?;
        let exposed =
            "visible to other users of this machine on the command line: use @FILE or env:NAME"
                .to_owned();
        Ok((seed, literal.then_some(exposed)))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("base", &self.base).finish_non_exhaustive()
    }
}

/// `text` without a byte-order mark.
pub(crate) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A value without a byte-order mark and surrounding white space; a quoted value is an error.
fn trimmed(text: &str, origin: impl FnOnce() -> String) -> Result<&str, SourceError> {
    let text = without_bom(text).trim();
    match is_quoted(text) {
        true => Err(SourceError::Quoted(origin())),
        false => Ok(text),
    }
}

fn is_quoted(text: &str) -> bool {
    let text = text.trim();
    ['"', '\'']
        .iter()
        .any(|quote| text.len() > 1 && text.starts_with(*quote) && text.ends_with(*quote))
}

/// The access of a regular file. Returns `None` on errors, which are reported when the file is read.
fn access(path: &Path) -> Option<Access> {
    path.is_file().then(|| Access::of(path).ok()).flatten()
}

/// True for a pipe or a device. Check this before opening the file, because opening a pipe waits for a
/// writer. Reading a folder fails anyway.
fn is_pipe_or_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn read(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    read_with(path, max, |size| Zeroizing::new(Vec::with_capacity(size)))
}

fn read_with<B: AsMut<Vec<u8>>>(
    path: &Path,
    max: u64,
    reserve: impl FnOnce(usize) -> B,
) -> Result<B, SourceError> {
    let name = || path.display().to_string();
    let unreadable = |error| SourceError::Unreadable { path: name(), error };
    let file = fs::File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_or(0, |metadata| metadata.len().min(max));
    // Allocated once, because growing would leave copies of a secret in memory.
    let size = usize::try_from(size).unwrap_or(0).saturating_add(1);
    let mut buffer = reserve(size);
    let bytes = buffer.as_mut();
    // The metadata of a device has no size, so reading is bounded too.
    file.take(max + 1).read_to_end(bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max {
        return Err(SourceError::TooLarge(name()));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(buffer)
}
