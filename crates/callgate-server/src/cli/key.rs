//! `callgate key`

use std::path::PathBuf;

use callgate::{
    keys::{CurveKey, KeyError, KeyKind, KeyPair},
    secret::Secret,
};

use super::{
    GOOD,
    output::{say, unusable},
};
use crate::files::write_private;

/// Make an nkey
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate key account --out issuer.nk    the issuer: its public key goes into auth_callout.issuer
  callgate key curve --out xkey.xk        the xkey: its public key goes into auth_callout.xkey

Prints the public key, and without --out the seed on a second line.")]
pub(super) struct Args {
    /// account, user, curve, server or operator
    #[arg(value_parser = parse_kind)]
    kind: KeyKind,
    /// Write the seed to this new file, readable by its owner only
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_kind(text: &str) -> Result<KeyKind, KeyError> {
    match text.parse()? {
        KeyKind::Cluster => Err(KeyError::UnknownKind),
        kind => Ok(kind),
    }
}

/// A new key: its public half and its seed.
pub(super) fn generate(kind: KeyKind) -> Result<(String, Secret), KeyError> {
    if kind == KeyKind::Curve {
        let key = CurveKey::generate()?;
        return Ok((key.public_key().to_string(), key.seed()));
    }
    let pair = KeyPair::generate(kind)?;
    Ok((pair.public_key(), pair.seed()))
}

pub(super) fn run(args: &Args) -> u8 {
    let (public, seed) = match generate(args.kind) {
        Ok(key) => key,
        Err(error) => return unusable(error),
    };
    let kept =
        args.out.as_ref().map(|path| (path, write_private(path, &format!("{}\n", seed.expose()))));
    match kept {
        Some((path, Err(error))) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return unusable(format_args!(
                "`{}` is there already: nothing was written; choose another name, or move it away",
                path.display()
            ));
        }
        Some((path, Err(error))) => {
            return unusable(format_args!("cannot write `{}`: {error}", path.display()));
        }
        Some((_, Ok(()))) | None => {}
    }
    let shown = args.out.is_none().then(|| seed.expose());
    match (args.json, shown) {
        (true, Some(seed)) => say(serde_json::json!({ "public_key": public, "seed": seed })),
        (true, None) => say(serde_json::json!({ "public_key": public })),
        (false, Some(seed)) => say(format_args!("{public}\n{seed}")),
        (false, None) => say(public),
    }
    GOOD
}
