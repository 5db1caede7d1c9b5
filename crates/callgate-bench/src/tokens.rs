//! `callgate-bench tokens`: bearer tokens for load, and the key that verifies them.

use std::{fs, path::PathBuf};

use callgate_testkit::oidc_provider::SigningKey;
use serde_json::Map;

use crate::{Failure, logins};

/// Write bearer tokens for `flood --tokens`, and the key set that verifies them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: 1,000 tokens of the issuer https://issuer.test for the audience nats
  callgate-bench tokens --count 1000 --out-dir load
  # load/keys.json is the `jwks_file` of an oidc authenticator, load/tokens has one token on a line"
)]
pub(crate) struct Args {
    /// How many tokens, each of another user
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// The algorithm
    #[arg(long, default_value = "RS256", value_parser = ["RS256", "PS256", "ES256", "ES384", "EdDSA"])]
    algorithm: String,
    /// Where to write `keys.json` and `tokens`
    #[arg(long)]
    out_dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let key = SigningKey::generate("bench", &args.algorithm);
    fs::create_dir_all(&args.out_dir)?;
    fs::write(args.out_dir.join("keys.json"), logins::key_set(&key))?;
    let mut lines = String::new();
    for number in 0..args.count {
        lines.push_str(&logins::token(&key, number, Map::new()));
        lines.push('\n');
    }
    fs::write(args.out_dir.join("tokens"), lines)?;
    Ok(())
}
