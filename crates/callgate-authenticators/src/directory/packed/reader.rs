//! Reads the packed form of an entry. `None` at the end or at something unexpected.

use std::{str::FromStr, time::Duration};

use zeroize::Zeroizing;

use crate::passwords::{Cost, Digest, StoredPassword};

/// A position in a byte string.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn index(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        self.fixed().map(i64::from_le_bytes)
    }

    pub(super) fn duration(&mut self) -> Option<Duration> {
        Some(Duration::new(self.number()?, self.small()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.index()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn texts(&mut self) -> Option<Vec<String>> {
        let count = self.index()?;
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }

    pub(super) fn parsed<T: FromStr>(&mut self) -> Option<Vec<T>> {
        let count = self.index()?;
        (0..count).map(|_| self.text()?.parse().ok()).collect()
    }

    /// The outer `None` means an error.
    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            _ => read(self).map(Some),
        }
    }

    pub(super) fn password(&mut self) -> Option<StoredPassword> {
        if self.0.first() == Some(&0) {
            self.byte()?;
            return self.fixed().map(StoredPassword::Clear);
        }
        let cost = self.cost()?;
        let salt = self.bytes()?.to_vec();
        let expected = Zeroizing::new(self.bytes()?.to_vec());
        Some(StoredPassword::Hashed { cost, salt, expected })
    }

    /// `None` also for clear text.
    pub(super) fn cost(&mut self) -> Option<Cost> {
        Some(match self.byte()? {
            1 => Cost::Argon2id {
                version: self.small()?,
                memory: self.small()?,
                passes: self.small()?,
                lanes: self.small()?,
                length: self.index()?,
            },
            2 => Cost::Scrypt {
                log_n: self.byte()?,
                r: self.small()?,
                p: self.small()?,
                length: self.index()?,
            },
            3 => Cost::Bcrypt { cost: self.small()? },
            4 => self.pbkdf2(Digest::Sha256)?,
            5 => self.pbkdf2(Digest::Sha512)?,
            _ => return None,
        })
    }

    fn pbkdf2(&mut self, digest: Digest) -> Option<Cost> {
        Some(Cost::Pbkdf2 { digest, rounds: self.small()?, length: self.index()? })
    }
}
