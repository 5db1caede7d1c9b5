//! `callgate decode`

use std::io::Read;

use callgate::{
    clock::UnixTime,
    keys::{CurveKey, CurvePublicKey, KeyKind, parse_public},
};
use callgate_authenticators::settings::Sources;
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::{
    GOOD, REFUSED,
    output::{complain, say, unusable},
};

/// Members whose values are secrets, wherever they stand.
const SECRETS: [&str; 4] = ["pass", "auth_token", "sig", "jwt"];

/// Show what is in a request, response, user JWT or bearer token
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate decode < token.jwt
  callgate decode --xkey-seed @xkey.xk --server-xkey XA… < request.bin

Says which checks pass; exits with 1 if one fails.")]
pub(super) struct Args {
    /// The token; without it standard input is read
    token: Option<String>,
    /// The seed of our curve key, to decrypt with
    #[arg(long, value_name = "@FILE|env:NAME", requires = "server_xkey")]
    xkey_seed: Option<String>,
    /// The server's curve key (header Nats-Server-Xkey)
    #[arg(long, value_name = "KEY", requires = "xkey_seed")]
    server_xkey: Option<CurvePublicKey>,
    /// Show passwords and tokens, too
    #[arg(long)]
    show_secrets: bool,
}

pub(super) fn run(args: &Args) -> u8 {
    let input = match input(args) {
        Ok(input) => input,
        Err(error) => return unusable(error),
    };
    let plain = match decrypted(args, &input) {
        Ok(plain) => plain,
        Err(error) => return unusable(error),
    };
    let token = match std::str::from_utf8(&plain) {
        Ok(text) => text.trim(),
        Err(_) => {
            return unusable(
                "this is not a JWT; if it is encrypted, give --xkey-seed and --server-xkey",
            );
        }
    };
    match show(token, args.show_secrets, args.server_xkey.as_ref()) {
        Ok(true) => GOOD,
        Ok(false) => REFUSED,
        Err(error) => unusable(error),
    }
}

fn input(args: &Args) -> Result<Vec<u8>, String> {
    if let Some(token) = &args.token {
        return Ok(token.clone().into_bytes());
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(4 * 1024 * 1024).read_to_end(&mut bytes);
    read.map_err(|error| format!("standard input: {error}"))?;
    match bytes.trim_ascii().is_empty() {
        true => Err("nothing to decode: give a token, or pipe one in".to_owned()),
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
    let form =
        || "this is not a JWT: three parts of base64url, joined by dots, are expected".to_owned();
    let (signed, signature) = token.rsplit_once('.').ok_or_else(form)?;
    let (header, claims) = signed.split_once('.').ok_or_else(form)?;
    let part = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| form());
    let json = |bytes: Vec<u8>| {
        callgate::wire::parse_strict(&bytes, 32).map_err(|error| format!("its JSON: {error}"))
    };
    Ok(Decoded {
        header: json(part(header)?)?,
        claims: json(part(claims)?)?,
        signed: signed.to_owned(),
        signature: part(signature)?,
    })
}

fn show(token: &str, secrets: bool, server_xkey: Option<&CurvePublicKey>) -> Result<bool, String> {
    let decoded = decode(token)?;
    let mut claims = decoded.claims.clone();
    let inner = claims.pointer("/nats/jwt").and_then(Value::as_str).map(str::to_owned);
    if !secrets {
        redact_copies_of_the_token(&mut claims);
        redact(&mut claims);
    }
    say(pretty(&decoded.header));
    say(pretty(&claims));
    let mut good = true;
    for (name, verdict) in checks(&decoded, server_xkey) {
        let (mark, text) = match verdict {
            Ok(text) => ("ok", text),
            Err(text) => {
                good = false;
                ("FAILED", text)
            }
        };
        say(format_args!("{mark:<7} {name}: {text}"));
    }
    if let Some(inner) = inner {
        say("\nthe user JWT in it:");
        good &= show(&inner, secrets, None)?;
    }
    Ok(good)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

const REDACTED: &str = "[redacted; --show-secrets shows it]";

/// nats-server 2.10 repeats a token as the user's name.
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
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

type Check = (&'static str, Result<String, String>);

fn checks(decoded: &Decoded, server_xkey: Option<&CurvePublicKey>) -> Vec<Check> {
    let claims = &decoded.claims;
    let text = |pointer: &str| claims.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut checks = vec![("signature", signature(decoded)), ("times", times(claims))];
    if text("/nats/type") == "authorization_request" {
        let same = text("/iss") == text("/nats/server_id/id");
        checks.push((
            "issuer",
            verdict(same, "is the server that asks", "is not the server that asks"),
        ));
        let aud = text("/aud") == "nats-authorization-request";
        checks.push(("audience", verdict(aud, "is that of a request", "is not that of a request")));
        if let Some(key) = server_xkey {
            let same = text("/nats/server_id/xkey") == key.as_str();
            checks.push((
                "xkey",
                verdict(same, "is the one that was signed", "is not the one that was signed"),
            ));
        }
    }
    checks
}

fn verdict(good: bool, yes: &str, no: &str) -> Result<String, String> {
    if good { Ok(yes.to_owned()) } else { Err(no.to_owned()) }
}

fn signature(decoded: &Decoded) -> Result<String, String> {
    let text = |name: &str, value: &Value| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (algorithm, issuer) = (text("alg", &decoded.header), text("iss", &decoded.claims));
    let kinds = [KeyKind::Server, KeyKind::Account, KeyKind::User, KeyKind::Operator];
    match parse_public(&issuer, &kinds) {
        Ok(key) if matches!(algorithm.as_str(), "ed25519-nkey" | "EdDSA") => {
            let good = key.verifies(decoded.signed.as_bytes(), &decoded.signature);
            verdict(good, "is the issuer's", "is not the issuer's")
        }
        Ok(_) | Err(_) => Ok(format!(
            "not checked here: {algorithm} by another kind of issuer (`callgate explain --token` \
             checks it with the configured keys)"
        )),
    }
}

fn times(claims: &Value) -> Result<String, String> {
    let now = UnixTime::now();
    let time = |name: &str| claims.get(name).and_then(Value::as_i64).map(UnixTime::from_seconds);
    if let Some(start) = time("nbf").filter(|start| *start > now) {
        return Err(format!("not good before {start}"));
    }
    match time("exp") {
        Some(end) if end < now => Err(format!("expired at {end}, it is {now}")),
        Some(end) => Ok(format!("good until {end}")),
        None => Ok("no end".to_owned()),
    }
}
