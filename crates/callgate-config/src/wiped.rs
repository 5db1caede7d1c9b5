//! Bytes with secrets, in memory that returns to the system.

use std::fmt;

use zeroize::Zeroize;

/// Bytes that are wiped when they are dropped. More than 256 KiB of them then return to the system; only what is
/// written occupies memory.
#[derive(Default)]
pub struct WipedBytes(Vec<u8>);

impl WipedBytes {
    /// More bytes than this are worth a mapping of their own.
    pub const SMALL: usize = 256 * 1024;
    /// The size of the smallest mapping: larger than any allocation that an allocator keeps for reuse
    /// (glibc: 32 MiB).
    pub const MAPPED: usize = 33 * 1024 * 1024;

    /// Empty, with room for at least `bytes`. Growing beyond that would leave a copy behind.
    pub fn for_about(bytes: usize) -> Self {
        let size = if bytes > Self::SMALL { bytes.max(Self::MAPPED) } else { bytes };
        Self(Vec::with_capacity(size))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there is still room for.
    pub fn room(&self) -> usize {
        self.0.capacity() - self.0.len()
    }
}

impl AsMut<Vec<u8>> for WipedBytes {
    fn as_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for WipedBytes {
    fn drop(&mut self) {
        // Not `Vec::zeroize`, which also writes to what was reserved but never used.
        self.0.as_mut_slice().zeroize();
    }
}

impl fmt::Debug for WipedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WipedBytes([redacted])")
    }
}
