//! `callgate key`

use std::path::PathBuf;

use callgate::{
    keys::{CurveKey, KeyError, KeyKind, KeyPair},
    secret::Secret,
};

use super::{GOOD, Outcome, output::say};
use crate::files::write_private;

/// Generate an nkey
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate key account --out issuer.nk    issuer; put the public key in auth_callout.issuer
  callgate key curve --out xkey.xk        xkey; put the public key in auth_callout.xkey

Prints the public key and, without --out, the seed on a second line.")]
pub(super) struct Args {
    /// Type of key: account, user, curve, server or operator
    #[arg(value_parser = parse_kind)]
    kind: KeyKind,
    /// Write the seed to a new file that only its owner can read
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

pub(super) fn run(args: &Args) -> Outcome {
    let (public, seed) = generate(args.kind)?;
    if let Some(path) = &args.out
        && let Err(error) = write_private(path, &format!("{}\n", seed.expose()))
    {
        let path = path.display();
        return Err(match error.kind() {
            std::io::ErrorKind::AlreadyExists => format!(
                "`{path}` already exists: nothing was written; choose another name or move the file away"
            ),
            _ => format!("cannot write `{path}`: {error}"),
        }
        .into());
    }
    let printed_seed = args.out.is_none().then(|| seed.expose());
    match (args.json, printed_seed) {
        (true, Some(seed)) => say(serde_json::json!({ "public_key": public, "seed": seed })),
        (true, None) => say(serde_json::json!({ "public_key": public })),
        (false, Some(seed)) => say(format_args!("{public}\n{seed}")),
        (false, None) => say(public),
    }
    Ok(GOOD)
}
