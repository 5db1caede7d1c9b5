//! A key set in a file, which is read again regularly.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use callgate_config::{SourceError, Sources};
use futures_util::future::BoxFuture;

use super::source::{Fetched, KeySource, KeySourceError};
use crate::http_client::MAX_BODY;

/// How often the file is read. It is small, and reading all of it notices every kind of replacement:
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
    /// Reading it failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Longer than any key set.
    #[error("`{path}` is longer than {MAX_BODY} bytes, too long for a key set", path = .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

impl FileSource {
    /// A source that reads the set from `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file now, blocking.
    ///
    /// # Errors
    /// If it is not a regular file, cannot be read, or is too long.
    pub fn read(&self) -> Result<Vec<u8>, FileError> {
        match Sources::read_bounded(&self.path, MAX_BODY as u64) {
            Ok(body) => Ok(body.to_vec()),
            Err(SourceError::TooLarge(_)) => Err(FileError::TooLong { path: self.path.clone() }),
            Err(error) => Err(error.into()),
        }
    }
}

impl FileError {
    /// True if the file does not exist (yet).
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_absence())
    }
}

impl KeySource for FileSource {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, KeySourceError>> {
        let source = self.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || source.read()).await;
            // The text of the task's error may contain the message of the panic.
            let body = read.map_err(|_| "reading it panicked, which is a bug in Callgate")??;
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
