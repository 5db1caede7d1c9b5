//! `callgate hash-password`

use std::io::{IsTerminal, Read};

use callgate::{request::MAX_PASSWORD, secret::Secret};
use callgate_authenticators::passwords::{HashError, hash as hash_password};
use zeroize::Zeroizing;

use super::{
    GOOD, Outcome,
    output::{complain, say},
};

/// Hash a password for a users file
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate hash-password                       prompts for the password
  pass show nats/alice | callgate hash-password

Prints an argon2id hash for `password` in a users file.")]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Outcome {
    say(hash_password(&read_password()?)?);
    Ok(GOOD)
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

fn prompted_or_piped() -> Result<Secret, String> {
    if std::io::stdin().is_terminal() {
        complain("Password:");
        let password = rpassword::read_password().map_err(|error| error.to_string())?;
        return Ok(Secret::new(password));
    }
    // One byte more than the longest password and its line end, to detect input that is too long.
    let limit = MAX_PASSWORD + "\r\n".len() + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(limit));
    let read = std::io::stdin().take(limit as u64).read_to_end(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    if text.len() == limit {
        return Err(HashError::TooLong.to_string());
    }
    let text = std::str::from_utf8(&text).map_err(|_| "the password is not UTF-8".to_owned())?;
    // The trailing line end comes from the pipe; it is not part of the password.
    let password = text.strip_suffix('\n').unwrap_or(text);
    Ok(Secret::new(password.strip_suffix('\r').unwrap_or(password)))
}
