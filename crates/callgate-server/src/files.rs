//! Writing files that hold secrets.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Creates a file that only its owner can read. Never overwrites a file.
///
/// # Errors
/// If the file exists or cannot be written.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())
}

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(
        "`{0}` already exists: nothing was written; choose another directory or remove the file first"
    )]
    Exists(String),
    #[error("`{0}` is not a directory: choose another one")]
    NotAFolder(String),
    #[error("cannot write `{path}`: {error}")]
    Write { path: String, error: io::Error },
}

/// Writes all files, or none if one of them exists. Only the owner can read them. Missing folders are created.
pub(crate) fn write_new<P: AsRef<Path>>(
    folder: &Path,
    files: &[(P, String)],
) -> Result<(), WriteError> {
    let failed = |path: &Path, error| WriteError::Write { path: path.display().to_string(), error };
    if folder.exists() && !folder.is_dir() {
        return Err(WriteError::NotAFolder(folder.display().to_string()));
    }
    create_folder(folder).map_err(|error| failed(folder, error))?;
    for (name, _) in files {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(WriteError::Exists(path.display().to_string()));
        }
    }
    for (name, text) in files {
        let path: PathBuf = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        create_folder(parent).map_err(|error| failed(parent, error))?;
        write_private(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
