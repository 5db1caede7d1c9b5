//! A key set in a file, which is read again regularly.

use std::{fs, io, io::Read as _, path::PathBuf, time::Duration};

use callgate_config::is_pipe_or_device;
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
    /// Opening or reading it failed.
    #[error("cannot read `{path}`: {error}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A pipe or a device, where reading may never end.
    #[error("`{path}` is not a regular file", path = .path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
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

    /// Reads the file now, blocking.
    ///
    /// # Errors
    /// If it is not a regular file, cannot be read, or is too long.
    pub fn read(&self) -> Result<Vec<u8>, FileError> {
        let failed = |error| FileError::Read { path: self.path.clone(), error };
        if is_pipe_or_device(&self.path) {
            return Err(FileError::NotRegular { path: self.path.clone() });
        }
        let file = fs::File::open(&self.path).map_err(failed)?;
        let mut body = Vec::new();
        file.take(MAX_BODY as u64 + 1).read_to_end(&mut body).map_err(failed)?;
        match body.len() > MAX_BODY {
            true => Err(FileError::TooLong { path: self.path.clone() }),
            false => Ok(body),
        }
    }
}

impl FileError {
    /// True if the file does not exist (yet).
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Read { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

impl KeySource for FileSource {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, KeySourceError>> {
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
