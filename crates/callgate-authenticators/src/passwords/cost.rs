//! Hash parameters: their bounds, and computing a hash with them.

use std::{num::NonZeroU32, time::Duration};

use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

use super::stored::StoredError;

/// Minimum length of a hash in bytes: a shorter one could match by chance.
const MIN_LENGTH: usize = 16;
/// Maximum length of a hash in bytes.
const MAX_LENGTH: usize = 64;
/// Blocks of 1 KiB that a thread keeps for its next argon2 hash; more are freed.
const MAX_KEPT_BLOCKS: usize = 64 * 1024;

/// The digest of a PBKDF2 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Hash parameters. Two hashes with equal `Cost` take the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cost {
    /// RFC 9106.
    Argon2id {
        /// 16 or 19.
        version: u32,
        /// Memory in KiB, at most 1 GiB.
        memory: u32,
        /// Passes, at most 16.
        passes: u32,
        /// Lanes, at most 16.
        lanes: u32,
        /// Bytes of the hash.
        length: usize,
    },
    /// RFC 7914.
    Scrypt {
        /// log₂ of N, at most 20.
        log_n: u8,
        /// Block size, at most 32.
        r: u32,
        /// Parallelism, at most 16.
        p: u32,
        /// Bytes of the hash.
        length: usize,
    },
    /// bcrypt.
    Bcrypt {
        /// log₂ of the rounds, 4 to 16.
        cost: u32,
    },
    /// RFC 8018.
    Pbkdf2 {
        /// Which digest.
        digest: Digest,
        /// Rounds, at most 10⁷.
        rounds: u32,
        /// Bytes of the hash.
        length: usize,
    },
}

impl Cost {
    /// Fails for parameters that would overload the machine or protect nothing.
    pub(super) fn within_bounds(self) -> Result<Self, StoredError> {
        match self {
            Self::Argon2id { version, memory, passes, lanes, length: _ } => {
                check("argon2 version", [16, 19].contains(&version), "must be 16 or 19")?;
                check("argon2 m", memory <= 1 << 20, "must be at most 1048576 (1 GiB)")?;
                check("argon2 t", (1..=16).contains(&passes), "must be 1 to 16")?;
                check("argon2 p", (1..=16).contains(&lanes), "must be 1 to 16")?;
                check("argon2 m", memory >= 8 * lanes, "must be at least 8 times p")?;
            }
            Self::Scrypt { log_n, r, p, length: _ } => {
                check("scrypt ln", (1..=20).contains(&log_n), "must be 1 to 20 (N up to 2^20)")?;
                check("scrypt r", (1..=32).contains(&r), "must be 1 to 32")?;
                check("scrypt p", (1..=16).contains(&p), "must be 1 to 16")?;
            }
            Self::Bcrypt { cost } => {
                check("bcrypt cost", (4..=16).contains(&cost), "must be 4 to 16")?;
            }
            Self::Pbkdf2 { digest: _, rounds, length: _ } => {
                let good = (1..=10_000_000).contains(&rounds);
                check("pbkdf2 rounds", good, "must be 1 to 10000000")?;
            }
        }
        let good = (MIN_LENGTH..=MAX_LENGTH).contains(&self.length());
        check("the length of the hash", good, "must be 16 to 64 bytes")?;
        Ok(self)
    }

    /// Bytes of the hash.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Argon2id { length, .. }
            | Self::Scrypt { length, .. }
            | Self::Pbkdf2 { length, .. } => length,
            // All implementations write 23 of the 24 bytes.
            Self::Bcrypt { .. } => 23,
        }
    }

    /// Computes the hash. `None` if there is not enough memory, which the scratch then records.
    pub(super) fn derive(
        self,
        password: &[u8],
        salt: &[u8],
        scratch: &mut Scratch,
    ) -> Option<Zeroizing<Vec<u8>>> {
        scratch.derived += 1;
        let hash = self.hash(password, salt, scratch);
        scratch.short |= hash.is_none();
        hash
    }

    fn hash(
        self,
        password: &[u8],
        salt: &[u8],
        scratch: &mut Scratch,
    ) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Argon2id { version, memory, passes, lanes, length } => {
                let parameters = argon2::Params::new(memory, passes, lanes, Some(length)).ok()?;
                let version = version.try_into().ok()?;
                let algorithm =
                    argon2::Argon2::new(argon2::Algorithm::Argon2id, version, parameters);
                let mut out = Zeroizing::new(vec![0; length]);
                let blocks = scratch.blocks(algorithm.params().block_count())?;
                algorithm.hash_password_into_with_memory(password, salt, &mut out, blocks).ok()?;
                scratch.give_back();
                Some(out)
            }
            Self::Scrypt { log_n, r, p, length } => {
                let parameters = scrypt::Params::new(log_n, r, p).ok()?;
                let mut out = Zeroizing::new(vec![0; length]);
                scrypt::scrypt(password, salt, &parameters, &mut out).ok()?;
                Some(out)
            }
            Self::Bcrypt { cost } => {
                let salt: [u8; 16] = salt.try_into().ok()?;
                // With full capacity, because growing would leave a copy of the password behind.
                let mut key = Zeroizing::new(Vec::with_capacity(72));
                key.extend(password.iter().copied().take(72));
                // A key of fewer than 72 bytes ends with a zero byte.
                if key.len() < 72 {
                    key.push(0);
                }
                let hash = Zeroizing::new(bcrypt::bcrypt(cost, salt, &key));
                Some(Zeroizing::new(hash.iter().copied().take(self.length()).collect()))
            }
            Self::Pbkdf2 { digest, rounds, length } => {
                let mut out = Zeroizing::new(vec![0; length]);
                let algorithm = match digest {
                    Digest::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
                    Digest::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
                };
                pbkdf2::derive(algorithm, NonZeroU32::new(rounds)?, salt, password, &mut out);
                Some(out)
            }
        }
    }

    /// About how long a hash takes on one core of a current server.
    pub fn estimate(self) -> Duration {
        let nanoseconds = match self {
            Self::Argon2id { version: _, memory, passes, lanes: _, length: _ } => {
                700 * u64::from(memory) * u64::from(passes)
            }
            Self::Scrypt { log_n, r, p, length: _ } => {
                330 * (1 << log_n) * u64::from(r) * u64::from(p)
            }
            Self::Bcrypt { cost } => 50_000 * (1 << cost),
            Self::Pbkdf2 { digest, rounds, length } => {
                // Every piece of output as long as the digest takes all rounds.
                let (round, piece) = match digest {
                    Digest::Sha256 => (200, 32),
                    Digest::Sha512 => (600, 64),
                };
                round * u64::from(rounds) * if length > piece { 2 } else { 1 }
            }
        };
        Duration::from_nanos(nanoseconds)
    }
}

fn check(what: &'static str, good: bool, rule: &'static str) -> Result<(), StoredError> {
    if good { Ok(()) } else { Err(StoredError::OutOfBounds { what, rule }) }
}

/// Memory of a thread, kept between hashes: with fresh pages argon2 would take 20 % longer.
#[derive(Default)]
pub struct Scratch {
    blocks: Vec<argon2::Block>,
    derived: u64,
    short: bool,
}

impl Scratch {
    /// The number of hashes computed with it.
    pub fn derived(&self) -> u64 {
        self.derived
    }

    /// True if there was not enough memory for a hash since the last call: whether the password is
    /// correct is then unknown.
    pub fn take_shortage(&mut self) -> bool {
        std::mem::take(&mut self.short)
    }

    fn blocks(&mut self, count: usize) -> Option<&mut [argon2::Block]> {
        let missing = count.saturating_sub(self.blocks.len());
        self.blocks.try_reserve_exact(missing).ok()?;
        self.blocks.resize(self.blocks.len() + missing, argon2::Block::new());
        self.blocks.get_mut(..count)
    }

    fn give_back(&mut self) {
        if self.blocks.len() > MAX_KEPT_BLOCKS {
            self.blocks = Vec::new();
        }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scratch({} KiB)", self.blocks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::StoredPassword;

    #[test]
    fn estimates_have_the_right_magnitude() {
        let length = 32;
        for (cost, milliseconds) in [
            (
                Cost::Argon2id { version: 19, memory: 19 * 1024, passes: 2, lanes: 1, length },
                10..60,
            ),
            (Cost::Scrypt { log_n: 17, r: 8, p: 1, length }, 150..700),
            (Cost::Bcrypt { cost: 12 }, 100..500),
            (Cost::Bcrypt { cost: 16 }, 1_600..8_000),
            (Cost::Pbkdf2 { digest: Digest::Sha256, rounds: 600_000, length }, 50..600),
            (Cost::Pbkdf2 { digest: Digest::Sha512, rounds: 210_000, length: 64 }, 50..600),
        ] {
            let estimate = cost.estimate().as_millis();
            assert!(milliseconds.contains(&estimate), "{cost:?}: {estimate} ms");
        }
    }

    #[test]
    fn lack_of_memory_is_not_a_wrong_password() {
        let mut scratch = Scratch::default();
        // argon2 cannot work with this little memory, as if the system had none left.
        let cost = Cost::Argon2id { version: 19, memory: 1, passes: 1, lanes: 1, length: 32 };
        assert!(cost.derive(b"right", &[1; 16], &mut scratch).is_none());
        assert_eq!([scratch.take_shortage(), scratch.take_shortage()], [true, false]);
        assert!(!StoredPassword::dummy(Some(cost)).verify(&"right".into(), &mut scratch));
        assert!(scratch.take_shortage(), "of a dummy, too");
    }
}
