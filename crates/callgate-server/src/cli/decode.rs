//! `callgate decode`

mod checks;

use std::path::Path;

use callgate::{
    keys::{CurveKey, CurvePublicKey},
    sanitize::misplaced_secret,
};
use callgate_config::Sources;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use self::checks::{Check, checks};
use super::{
    GOOD, Outcome, REFUSED,
    output::{complain, literal_secret_warning, read_stdin, say},
};

/// JSON members that hold secrets, at any depth.
const SECRETS: [&str; 4] = ["pass", "auth_token", "sig", "jwt"];

/// Decode a request, response, user JWT or bearer token
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate decode @token.jwt
  pbpaste | callgate decode
  callgate decode --xkey-seed @xkey.xk --server-xkey XA… < request.bin

Prints which checks pass (ok), fail (FAILED) or cannot be run here (-); exits with 1 if one fails.")]
pub(super) struct Args {
    /// The token to decode; read from standard input if absent or `-`
    #[arg(value_name = "@FILE|env:NAME|TOKEN")]
    token: Option<String>,
    /// Seed of Callgate's curve key, for decryption
    #[arg(long, value_name = "@FILE|env:NAME", requires = "server_xkey")]
    xkey_seed: Option<String>,
    /// The server's public curve key (header Nats-Server-Xkey)
    #[arg(long, value_name = "KEY", requires = "xkey_seed")]
    server_xkey: Option<CurvePublicKey>,
    /// Show passwords and tokens
    #[arg(long)]
    show_secrets: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let plain = decrypted(args, &input(args)?)?;
    let token = std::str::from_utf8(&plain)
        .map_err(|_| "not a JWT; if it is encrypted, add --xkey-seed and --server-xkey")?;
    let token = without_prefix(token.trim_start_matches('\u{feff}').trim())?;
    let report = Report::of(token, args.show_secrets, args.server_xkey.as_ref())?;
    match args.json {
        true => say(report.to_json()),
        false => say(&report),
    }
    Ok(if report.is_good() { GOOD } else { REFUSED })
}

/// A token without white space, as pasted from an HTTP header.
fn without_prefix(token: &str) -> Result<&str, String> {
    match token.split_once(char::is_whitespace) {
        Some((prefix, _)) if !prefix.contains('.') => Err(format!(
            "the token begins with the prefix `{}`: pass the token alone",
            prefix.escape_debug()
        )),
        Some(_) | None => Ok(token),
    }
}

fn input(args: &Args) -> Result<Vec<u8>, String> {
    match args.token.as_deref() {
        None | Some("-") => read_input(),
        Some(text) => match text.strip_prefix('@') {
            // Unlike a secret, a message may be encrypted, and so no text.
            Some(path) => Sources::read_any(Path::new(path))
                .map(|bytes| bytes.to_vec())
                .map_err(|error| error.to_string()),
            None => secret_argument(text),
        },
    }
}

fn secret_argument(text: &str) -> Result<Vec<u8>, String> {
    let found = Sources::new(".").flag_secret(text).map_err(|error| error.to_string())?;
    if found.literal {
        complain(literal_secret_warning("the token"));
    }
    Ok(found.secret.expose().as_bytes().to_vec())
}

fn read_input() -> Result<Vec<u8>, String> {
    let bytes = read_stdin().map_err(|error| format!("standard input: {error}"))?;
    match bytes.trim_ascii().is_empty() {
        true => Err("nothing to decode: pass a token, or pipe one to standard input".to_owned()),
        false => Ok(bytes),
    }
}

fn decrypted(args: &Args, input: &[u8]) -> Result<Vec<u8>, String> {
    let (Some(seed), Some(server)) = (&args.xkey_seed, &args.server_xkey) else {
        return Ok(input.to_vec());
    };
    let (seed, warning) =
        Sources::new(".").flag_seed(seed).map_err(|error| format!("--xkey-seed: {error}"))?;
    if let Some(warning) = warning {
        complain(format_args!("warning: --xkey-seed: {warning}"));
    }
    let key = CurveKey::try_from(seed).map_err(|error| format!("--xkey-seed: {error}"))?;
    let shared = key.shared_with(server).map_err(|error| error.to_string())?;
    Ok(shared.open(input).map_err(|error| error.to_string())?.to_vec())
}

struct Decoded {
    header: Value,
    claims: Value,
    signed: String,
    signature: Vec<u8>,
}

fn decode(token: &str) -> Result<Decoded, String> {
    let form = || "not a JWT: expected three base64url parts separated by dots".to_owned();
    let (signed, signature) = token.rsplit_once('.').ok_or_else(form)?;
    let (header, claims) = signed.split_once('.').ok_or_else(form)?;
    let part = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| form());
    let json = |bytes: Vec<u8>| {
        callgate::json::parse_strict(&bytes, 32)
            .map_err(|error| format!("invalid JSON in the JWT: {error}"))
    };
    Ok(Decoded {
        header: json(part(header)?)?,
        claims: json(part(claims)?)?,
        signed: signed.to_owned(),
        signature: part(signature)?,
    })
}

/// A decoded JWT with its checks, and the user JWT inside it.
struct Report {
    header: Value,
    claims: Value,
    checks: Vec<Check>,
    user_jwt: Option<Box<Report>>,
}

impl Report {
    fn of(
        token: &str,
        secrets: bool,
        server_xkey: Option<&CurvePublicKey>,
    ) -> Result<Self, String> {
        let decoded = decode(token)?;
        let mut checks = checks(&decoded, server_xkey);
        let Decoded { mut header, mut claims, .. } = decoded;
        let inner = claims.pointer("/nats/jwt").and_then(Value::as_str);
        let inner = match inner.map(|inner| Self::of(inner, secrets, None)).transpose() {
            Ok(inner) => inner.map(Box::new),
            Err(error) => {
                checks.push(Check::not_a_user_jwt(&error));
                None
            }
        };
        if !secrets {
            redact_copies_of_the_token(&mut claims);
            redact(&mut header);
            redact(&mut claims);
        }
        Ok(Self { header, claims, checks, user_jwt: inner })
    }

    fn is_good(&self) -> bool {
        let inner = self.user_jwt.as_ref().is_none_or(|inner| inner.is_good());
        inner && !self.checks.iter().any(Check::failed)
    }

    fn to_json(&self) -> Value {
        json!({
            "ok": self.is_good(),
            "header": self.header,
            "claims": self.claims,
            "checks": self.checks.iter().map(Check::to_json).collect::<Vec<_>>(),
            "user_jwt": self.user_jwt.as_ref().map(|inner| inner.to_json()),
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
        write!(f, "{}\n{}", pretty(&self.header), pretty(&self.claims))?;
        for check in &self.checks {
            write!(f, "\n{check}")?;
        }
        match &self.user_jwt {
            Some(inner) => write!(f, "\n\nuser JWT inside:\n{inner}"),
            None => Ok(()),
        }
    }
}

const REDACTED: &str = "[redacted; use --show-secrets to show it]";

/// nats-server 2.10 copies the token into the user name.
fn redact_copies_of_the_token(claims: &mut Value) {
    let Some(token) = claims.pointer("/nats/connect_opts/auth_token").cloned() else { return };
    if let Some(user) = claims.pointer_mut("/nats/client_info/user")
        && *user == token
    {
        *user = REDACTED.into();
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let secret = SECRETS.contains(&name.as_str()) && value.is_string();
                match secret {
                    true => *value = REDACTED.into(),
                    false => redact(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(redact),
        // A token or seed in a place where none belongs, such as the user name.
        Value::String(text) if misplaced_secret(text).is_some() => *value = REDACTED.into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
