//! A key set in a file, which is read again when it changes.

use std::{path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;

use super::source::{BoxSourceError, Fetched, KeySource};
use crate::http_client::MAX_BODY;
use callgate_config::may_hang;

/// How often the file is read. It is small, and reading it whole notices every way of replacing it:
/// in place, by renaming, and by the symlink swaps of mounted secrets.
const PERIOD: Duration = Duration::from_secs(2);

/// A key set in a file.
#[derive(Debug, Clone)]
pub struct FileSource {
    path: PathBuf,
}

/// Why the file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read `{path}`: {error}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A pipe or a device: whoever reads it may wait for ever.
    #[error("`{path}` is no regular file", path = .path.display())]
    NoRegularFile {
        /// The file.
        path: PathBuf,
    },
    /// Longer than any key set.
    #[error("`{path}` is longer than {MAX_BODY} bytes: it is no key set", path = .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

impl FileSource {
    /// Reads the set from `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads it now, blocking.
    ///
    /// # Errors
    /// If it is no regular file, cannot be read or is too long.
    pub fn read(&self) -> Result<Vec<u8>, FileError> {
        use std::io::Read;
        let failed = |error| FileError::Read { path: self.path.clone(), error };
        if may_hang(&self.path) {
            return Err(FileError::NoRegularFile { path: self.path.clone() });
        }
        let file = std::fs::File::open(&self.path).map_err(failed)?;
        let mut body = Vec::new();
        file.take(MAX_BODY as u64 + 1).read_to_end(&mut body).map_err(failed)?;
        match body.len() > MAX_BODY {
            true => Err(FileError::TooLong { path: self.path.clone() }),
            false => Ok(body),
        }
    }
}

impl FileError {
    /// True if there is no file: it may come later.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Read { error, .. } => error.kind() == std::io::ErrorKind::NotFound,
            Self::NoRegularFile { .. } | Self::TooLong { .. } => false,
        }
    }
}

impl KeySource for FileSource {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, BoxSourceError>> {
        let source = self.clone();
        Box::pin(async move {
            let body = tokio::task::spawn_blocking(move || source.read()).await??;
            Ok(Fetched { body, max_age: None })
        })
    }

    fn describe(&self) -> String {
        format!("the key set file `{}`", self.path.display())
    }

    fn fixed_period(&self) -> Option<Duration> {
        Some(PERIOD)
    }
}
