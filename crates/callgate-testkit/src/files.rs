//! Files with the permissions that an operator would set.

use std::{fs, io::Write, path::Path};

/// Writes a file that only its owner can read and write.
///
/// # Panics
/// If it cannot be written.
pub fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.expect("a file").write_all(text.as_bytes()).expect("it is written");
}
