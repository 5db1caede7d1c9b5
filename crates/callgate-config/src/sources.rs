//! The only reader of environment and files; remembers which files were read, and how they looked.

use std::{
    collections::BTreeMap,
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

use crate::file_watch::Fingerprint;
use crate::mode::{Access, Reader};

/// The largest file that is read as configuration, in bytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// Why a file or a variable gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file is not there, or may not be read.
    #[error("cannot read `{path}`: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// A pipe or a device: whoever reads it may wait for ever.
    #[error("`{0}` is no regular file")]
    NoRegularFile(String),
    /// The file is too large to be what it should be.
    #[error("`{0}` is larger than 256 MiB")]
    TooLarge(String),
    /// The file is not text.
    #[error("`{0}` is not UTF-8 text")]
    NotText(String),
    /// The file has nothing in it.
    #[error("`{0}` is empty, but a secret is needed")]
    EmptyFile(String),
    /// The variable is not there.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    /// The variable has nothing in it.
    #[error("the environment variable `{0}` is empty")]
    EmptyVariable(String),
    /// The variable is not text.
    #[error("the environment variable `{0}` is not UTF-8 text")]
    NotTextVariable(String),
    /// Nothing was written.
    #[error("the secret is empty")]
    Empty,
    /// Quotes that a shell would have removed, and an env file or a Secret did not.
    #[error("{0} begins and ends with a quote, which would be part of the value: remove both")]
    Quoted(String),
    /// There is no seed in it.
    #[error("{origin} holds no seed: {error}")]
    NoSeed {
        /// Where it was looked for.
        origin: String,
        /// What stands there instead.
        error: KeyError,
    },
    /// Whoever may write a seed can put his own in its place.
    #[error("`{0}` holds a seed and may be written by others: run `chmod 600 {0}`")]
    WritableByOthers(String),
}

impl SourceError {
    /// True if there is no such file.
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
    read: Arc<Mutex<BTreeMap<PathBuf, Fingerprint>>>,
}

/// A secret from a command-line flag or its variable.
#[derive(Debug)]
pub struct FlagSecret {
    /// The secret.
    pub secret: Secret,
    /// True if it stood on the command line itself, where other users of the machine can read it.
    pub literal: bool,
}

impl Sources {
    /// Reads files relative to `base`, and the environment of this process.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            document: None,
            environment: Arc::new(|name| std::env::var_os(name)),
            read: Arc::default(),
        }
    }

    /// With another environment, for tests.
    #[must_use]
    pub fn with_environment(
        self,
        lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { environment: Arc::new(move |name| lookup(name).map(OsString::from)), ..self }
    }

    /// For the values of this file: a seed that is written in it makes it a seed file.
    #[must_use]
    pub fn for_document(self, path: impl Into<PathBuf>) -> Self {
        Self { document: Some(path.into()), ..self }
    }

    /// The same, with paths relative to the working folder: those of a command line.
    #[must_use]
    pub fn from_working_folder(&self) -> Self {
        Self { base: PathBuf::from("."), ..self.clone() }
    }

    /// The folder that relative paths start from.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// A path of the configuration as one that can be opened.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// An environment variable, if it is set, without white space around it.
    ///
    /// # Errors
    /// If it is not text, or in quotes.
    pub fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, SourceError> {
        let Some(value) = (self.environment)(name) else { return Ok(None) };
        let value = value.into_string().map(Zeroizing::new);
        let value = value.map_err(|_| SourceError::NotTextVariable(name.to_owned()))?;
        let bare = bare(&value, || format!("the environment variable `{name}`"))?;
        Ok(Some(Zeroizing::new(bare.to_owned())))
    }

    /// Every file that was asked for so far, also in vain, and how each looked before it was first
    /// read: what a watcher has to look at, and compare with.
    pub fn files_read(&self) -> Vec<(PathBuf, Fingerprint)> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.iter().map(|(path, fingerprint)| (path.clone(), fingerprint.clone())).collect()
    }

    /// Reads a regular file through symbolic links, and remembers its name.
    ///
    /// # Errors
    /// If it is none, cannot be read or is absurdly large.
    pub fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        self.remember(path);
        Self::read_aside(path)
    }

    fn remember(&self, path: &Path) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.entry(path.to_owned()).or_insert_with(|| Fingerprint::of(path));
    }

    /// Reads a regular file without remembering its name: for files that their reader watches himself.
    ///
    /// # Errors
    /// If it is none, cannot be read or is absurdly large.
    pub fn read_aside(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        match may_hang(path) {
            true => Err(SourceError::NoRegularFile(path.display().to_string())),
            false => Self::read_anything(path),
        }
    }

    /// The same of whatever it is: a secret may be handed over by a pipe.
    fn read_anything(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let name = || path.display().to_string();
        let unreadable = |error| SourceError::Unreadable { path: name(), error };
        let file = fs::File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_or(0, |metadata| metadata.len().min(MAX_FILE));
        // Large enough from the beginning, so that growing leaves no copy of a secret behind.
        let size = usize::try_from(size).unwrap_or(0).saturating_add(1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        // Bounded while reading: a device tells no size beforehand.
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        match bytes.len() as u64 > MAX_FILE {
            true => Err(SourceError::TooLarge(name())),
            false => Ok(bytes),
        }
    }

    /// Reads a file that is text, without its byte-order mark; it may be a pipe.
    ///
    /// # Errors
    /// If it cannot be read or is not UTF-8.
    pub fn read_text(&self, path: &Path) -> Result<Zeroizing<String>, SourceError> {
        self.remember(path);
        let bytes = Self::read_anything(path)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(without_mark(text).to_owned())),
            Err(_) => Err(SourceError::NotText(path.display().to_string())),
        }
    }

    /// The secret in a file.
    ///
    /// # Errors
    /// If it cannot be read, is not text, is empty, or is in quotes.
    pub fn secret_file(&self, path: &Path) -> Result<Secret, SourceError> {
        let text = self.read_text(path)?;
        match bare(&text, || format!("`{}`", path.display()))? {
            "" => Err(SourceError::EmptyFile(path.display().to_string())),
            secret => Ok(Secret::new(secret)),
        }
    }

    /// The secret in an environment variable.
    ///
    /// # Errors
    /// If it is unset, empty, not text, or in quotes.
    pub fn secret_variable(&self, name: &str) -> Result<Secret, SourceError> {
        let text = self.variable(name)?.ok_or_else(|| SourceError::Unset(name.to_owned()))?;
        match text.as_str() {
            "" => Err(SourceError::EmptyVariable(name.to_owned())),
            secret => Ok(Secret::new(secret)),
        }
    }

    /// The seed in a file (the first line that is one), and a warning if others may read it, or if it
    /// belongs to somebody else. That is no fault: root may look at what the service's user owns.
    ///
    /// # Errors
    /// If it cannot be read, holds no seed, or may be written by others.
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
        let seed = Seed::find(&text).map_err(|error| {
            let origin = format!("`{name}`");
            SourceError::NoSeed { origin, error }
        })?;
        let reader = Reader::this();
        let document = self.document.as_deref().and_then(|path| Access::of(path).ok());
        let strange = access.strange_owner(reader.as_ref(), document).map(|owner| {
            format!(
                "`{name}` holds a seed and belongs to the user {owner}, who may write it: right only if \
                 Callgate runs as that user"
            )
        });
        let readable = format!("`{name}` holds a seed and others may read it: `chmod 600 {name}`");
        let readable = access.readable_by_others(reader.as_ref()).then_some(readable);
        let warnings: Vec<_> = strange.into_iter().chain(readable).collect();
        Ok((seed, (!warnings.is_empty()).then(|| warnings.join("; "))))
    }

    /// The seed that is written in the document itself.
    ///
    /// # Errors
    /// If it is none, or others may write the document.
    pub fn own_seed(&self, text: &Secret) -> Result<Seed, SourceError> {
        let document = self.document.as_deref();
        if let Some(path) = document.filter(|path| Self::writable_by_others(path).is_some()) {
            return Err(SourceError::WritableByOthers(path.display().to_string()));
        }
        Seed::find(text.expose())
            .map_err(|error| SourceError::NoSeed { origin: "the value".to_owned(), error })
    }

    /// A warning if others than its owner may write a file that decides about anything.
    pub fn writable_by_others(path: &Path) -> Option<String> {
        let name = path.display();
        let text =
            format!("`{name}` may be written by others, who then decide: `chmod go-w {name}`");
        access(path)?.writable_by_others().then_some(text)
    }

    /// A warning if others than its owner may read a file that holds a secret.
    pub fn readable_by_others(path: &Path) -> Option<String> {
        let name = path.display();
        let text = format!("`{name}` holds a secret and others may read it: `chmod 600 {name}`");
        access(path)?.readable_by_others(Reader::this().as_ref()).then_some(text)
    }

    /// The secret of a flag: `@FILE`, `env:NAME`, or the text itself.
    ///
    /// # Errors
    /// If the file or variable cannot be read, or there is nothing in it.
    pub fn flag_secret(&self, text: &str) -> Result<FlagSecret, SourceError> {
        if let Some(path) = text.strip_prefix('@') {
            let secret = self.secret_file(&self.resolve(path))?;
            return Ok(FlagSecret { secret, literal: false });
        }
        if let Some(name) = text.strip_prefix("env:") {
            return Ok(FlagSecret { secret: self.secret_variable(name)?, literal: false });
        }
        match bare(text, || "the value".to_owned())? {
            "" => Err(SourceError::Empty),
            secret => Ok(FlagSecret { secret: Secret::new(secret), literal: true }),
        }
    }

    /// The seed of a flag, written in the same way, and a warning if it lies open.
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
        let open = "other users of this machine can read it: use @FILE or env:NAME".to_owned();
        Ok((seed, literal.then_some(open)))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("base", &self.base).finish_non_exhaustive()
    }
}

/// `text` without a byte-order mark.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A value without a byte-order mark and white space around it.
fn bare(text: &str, origin: impl FnOnce() -> String) -> Result<&str, SourceError> {
    let text = without_mark(text).trim();
    let quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    match quoted('"') || quoted('\'') {
        true => Err(SourceError::Quoted(origin())),
        false => Ok(text),
    }
}

/// Access of a file (no device, no pipe) that is there. What cannot be looked at is reported by whoever
/// reads it.
fn access(path: &Path) -> Option<Access> {
    path.is_file().then(|| Access::of(path).ok()).flatten()
}

/// True for a pipe or a device. To be asked before it is opened: opening a pipe waits for whoever writes to
/// it. That a folder is no file is told when it is read.
pub fn may_hang(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}
