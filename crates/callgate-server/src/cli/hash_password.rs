//! `callgate hash-password`

use std::io::{IsTerminal, Read};

use callgate::secret::Secret;
use callgate_authenticators::passwords::hash as hash_password;
use zeroize::Zeroizing;

use super::{
    GOOD,
    output::{complain, say, unusable},
};

/// Hash a password for the users file
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate hash-password                       asks for it, without showing it
  pass show nats/alice | callgate hash-password

Prints an argon2id hash for `password` in the users file.")]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> u8 {
    let password = match password() {
        Ok(password) => password,
        Err(error) => return unusable(error),
    };
    if password.is_empty() {
        return unusable("the password is empty: give one on standard input");
    }
    match hash_password(&password) {
        Ok(hash) => {
            say(hash);
            GOOD
        }
        Err(error) => unusable(error),
    }
}

fn password() -> Result<Secret, String> {
    if std::io::stdin().is_terminal() {
        complain("Password:");
        let password = rpassword::read_password().map_err(|error| error.to_string())?;
        return Ok(Secret::new(password));
    }
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().take(64 * 1024).read_to_string(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    // The line end is the pipe's, not the password's.
    let password = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(password.strip_suffix('\r').unwrap_or(password)))
}
