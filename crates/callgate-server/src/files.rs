//! Writing files that hold secrets.

use std::{fs::OpenOptions, io, io::Write, path::Path};

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
