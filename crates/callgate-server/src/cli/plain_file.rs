//! Files that are read line by line.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

/// What compressed files begin with.
const COMPRESSED: [(&[u8], &str); 3] = [
    (&[0x1f, 0x8b], "it is compressed: decompress it first with `gunzip`"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "it is compressed: decompress it first with `unzstd`"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "it is compressed: decompress it first with `unxz`"),
];

/// Opens a file of lines.
///
/// # Errors
/// If it cannot be opened, or is compressed.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(file);
    }
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start)?;
    file.rewind()?;
    match COMPRESSED.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, what_to_do)) => Err(io::Error::other(*what_to_do)),
        None => Ok(file),
    }
}
