//! `callgate token`

use std::time::Duration;

use callgate::clock::UnixTime;
use callgate_authenticators::service_tokens::{DEFAULT_MAX_TOKEN_LIFETIME, mint_service_token};
use callgate_config::{Sources, parse_duration};
use serde_json::json;

use super::{
    GOOD, Outcome,
    output::{complain, say},
};

/// Mint a service token
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  callgate token --seed @llm-api.nk --user svc:llm-api --ttl 15m --audience nats

The service connects with the result as its token. Its public key belongs in [[authenticators]] service_tokens.")]
pub(super) struct Args {
    /// Seed of the service's nkey (SU… or SA…)
    #[arg(long, value_name = "@FILE|env:NAME")]
    seed: String,
    /// User that the key is registered for
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Lifetime of the token
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    ttl: Duration,
    /// Audience of the token
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (seed, warning) =
        Sources::new(".").flag_seed(&args.seed).map_err(|error| format!("--seed: {error}"))?;
    if let Some(warning) = warning {
        complain(format_args!("warning: --seed: {warning}"));
    }
    if args.ttl > DEFAULT_MAX_TOKEN_LIFETIME {
        complain(
            "warning: --ttl: exceeds the default max_token_lifetime of 1h: the token is refused unless \
             [[authenticators]] service_tokens allows more",
        );
    }
    let now = UnixTime::now();
    let token = mint_service_token(seed, &args.user, args.ttl, args.audience.as_deref(), now)?;
    if args.json {
        let end = now.plus(args.ttl);
        say(json!({ "token": token, "expires": end.to_string(), "expires_at": end.seconds() }));
    } else {
        say(token);
    }
    Ok(GOOD)
}
