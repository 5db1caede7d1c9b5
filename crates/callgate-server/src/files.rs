//! Writing files that hold secrets.

use std::{fs::OpenOptions, io, io::Write, path::Path};

/// Writes a new file that only its owner may read. An existing one is left alone.
///
/// # Errors
/// If it exists, or cannot be written.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())
}
