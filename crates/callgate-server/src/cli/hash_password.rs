//! `callgate hash-password`

use std::io::{IsTerminal, Read};

use callgate::{request::MAX_PASSWORD, secret::Secret};
use callgate_authenticators::passwords::{HashError, hash as hash_password};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    GOOD, Outcome,
    output::{complain, say},
};

/// In bytes.
const MAX_BCRYPT: usize = 72;
/// As `nats server passwd` chooses it.
const BCRYPT_COST: u32 = 11;

/// Hash a password for a users file
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate hash-password                       prompts for the password
  pass show nats/alice | callgate hash-password
  pass show nats/sys | callgate hash-password --bcrypt

Prints an argon2id hash for `password` in a users file. nats-server itself only knows bcrypt.")]
pub(super) struct Args {
    /// Print a bcrypt hash, for a password in nats-server's own configuration
    #[arg(long)]
    bcrypt: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let password = read_password()?;
    let hash = match args.bcrypt {
        true => bcrypt_hash(&password)?,
        false => hash_password(&password)?.to_string(),
    };
    match args.json {
        true => say(json!({ "hash": hash })),
        false => say(hash),
    }
    Ok(GOOD)
}

/// A bcrypt hash that nats-server accepts.
///
/// # Errors
/// If the password is too long for bcrypt, or has a NUL byte, at which some implementations stop.
pub(super) fn bcrypt_hash(password: &Secret) -> Result<String, String> {
    let password = password.expose();
    if password.len() > MAX_BCRYPT {
        return Err(format!(
            "the password has {} bytes, but bcrypt ignores all after the first {MAX_BCRYPT}: choose a \
             shorter one",
            password.len()
        ));
    }
    if password.contains('\0') {
        return Err("the password contains a NUL byte, which bcrypt does not support".to_owned());
    }
    bcrypt::hash(password, BCRYPT_COST).map_err(|error| format!("bcrypt: {error}"))
}

/// Reads a password from standard input or a prompt.
///
/// # Errors
/// If it is empty or too long.
pub(super) fn read_password() -> Result<Secret, String> {
    let password = prompted_or_piped()?;
    if password.is_empty() {
        return Err("the password is empty: pipe one to standard input".to_owned());
    }
    Ok(password)
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

fn prompted_or_piped() -> Result<Secret, String> {
    if std::io::stdin().is_terminal() {
        complain("Password:");
        let password = rpassword::read_password().map_err(|error| error.to_string())?;
        return Ok(Secret::new(password));
    }
    // One byte more than the longest password and its line end, to detect input that is too long.
    let limit = BYTE_ORDER_MARK.len() + MAX_PASSWORD + "\r\n".len() + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(limit));
    let read = std::io::stdin().take(limit as u64).read_to_end(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    if text.len() == limit {
        return Err(HashError::TooLong.to_string());
    }
    let text = std::str::from_utf8(&text).map_err(|_| "the password is not UTF-8".to_owned())?;
    // The mark comes from an editor and the line end from the pipe; they are not part of the password.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let password = text.strip_suffix('\n').unwrap_or(text);
    Ok(Secret::new(password.strip_suffix('\r').unwrap_or(password)))
}
