//! Hashes new passwords.

use aws_lc_rs::rand;
use callgate::{request::MAX_PASSWORD, secret::Secret};
use data_encoding::BASE64_NOPAD;

use super::cost::{Cost, Scratch};

/// OWASP Password Storage Cheat Sheet: argon2id with 19 MiB, two passes, one lane.
pub(super) const DEFAULT_COST: Cost =
    Cost::Argon2id { version: 19, memory: 19 * 1024, passes: 2, lanes: 1, length: 32 };

/// Why a password cannot be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// An empty password protects nothing.
    #[error("the password is empty")]
    Empty,
    /// A login with it would always be refused.
    #[error("the password has more than {MAX_PASSWORD} bytes: logins with it are always refused")]
    TooLong,
    /// The system has no randomness or memory left.
    #[error("the system has no randomness or no memory left for a hash")]
    System,
}

/// Hashes a password with argon2id at the recommended cost, as a PHC string.
///
/// # Errors
/// If the password is empty or too long, or the system has no randomness or memory left.
pub fn hash(password: &Secret) -> Result<String, HashError> {
    if password.is_empty() {
        return Err(HashError::Empty);
    }
    if password.expose().len() > MAX_PASSWORD {
        return Err(HashError::TooLong);
    }
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(|_| HashError::System)?;
    let hash = DEFAULT_COST
        .derive(password.expose().as_bytes(), &salt, &mut Scratch::default())
        .ok_or(HashError::System)?;
    let salt = BASE64_NOPAD.encode(&salt);
    let hash = BASE64_NOPAD.encode(&hash);
    Ok(format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}"))
}
