//! What can be checked of a JWT by itself, and what only with keys that are elsewhere.

use callgate::{
    clock::UnixTime,
    keys::{CurvePublicKey, KeyKind, parse_public},
};
use serde_json::{Value, json};

use super::Decoded;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Good(String),
    Failed(String),
    /// It was not made: what it needs is not here.
    Unchecked(String),
}

/// One check, by name.
#[derive(Debug)]
pub(super) struct Check {
    name: &'static str,
    verdict: Verdict,
}

impl Check {
    /// A response's `jwt` that cannot be shown.
    pub(super) fn not_a_user_jwt(why: &str) -> Self {
        Self { name: "user_jwt", verdict: Verdict::Failed(why.to_owned()) }
    }

    pub(super) fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }

    pub(super) fn to_json(&self) -> Value {
        let (result, detail) = match &self.verdict {
            Verdict::Good(detail) => ("ok", detail),
            Verdict::Failed(detail) => ("failed", detail),
            Verdict::Unchecked(detail) => ("unchecked", detail),
        };
        json!({ "check": self.name, "result": result, "detail": detail })
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mark, text) = match &self.verdict {
            Verdict::Good(text) => ("ok", text),
            Verdict::Failed(text) => ("FAILED", text),
            Verdict::Unchecked(text) => ("-", text),
        };
        write!(f, "{mark:<7} {}: {text}", self.name)
    }
}

/// All of them, in order.
pub(super) fn checks(decoded: &Decoded, server_xkey: Option<&CurvePublicKey>) -> Vec<Check> {
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
    checks.into_iter().map(|(name, verdict)| Check { name, verdict }).collect()
}

fn verdict(good: bool, yes: &str, no: &str) -> Verdict {
    if good { Verdict::Good(yes.to_owned()) } else { Verdict::Failed(no.to_owned()) }
}

fn signature(decoded: &Decoded) -> Verdict {
    let text =
        |name: &str, value: &Value| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(algorithm) = text("alg", &decoded.header) else {
        return Verdict::Failed("the header names no algorithm".to_owned());
    };
    if algorithm.eq_ignore_ascii_case("none") || decoded.signature.is_empty() {
        return Verdict::Failed("there is none: anybody could have written this".to_owned());
    }
    let shown = algorithm.escape_debug();
    let issuer = text("iss", &decoded.claims).unwrap_or_default();
    let kinds = [KeyKind::Server, KeyKind::Account, KeyKind::User, KeyKind::Operator];
    match parse_public(&issuer, &kinds) {
        Ok(key) if matches!(algorithm.as_str(), "ed25519-nkey" | "EdDSA") => {
            let good = key.verifies(decoded.signed.as_bytes(), &decoded.signature);
            verdict(good, "is the issuer's", "is not the issuer's")
        }
        Ok(_) => Verdict::Failed(format!(
            "`{shown}`, but the issuer is an nkey, which signs with ed25519-nkey or EdDSA only"
        )),
        // A secret that the issuer shares with those it talks to: it proves nothing to others.
        Err(_) if algorithm.starts_with("HS") => Verdict::Unchecked(format!(
            "not checked: `{shown}` is of no kind that Callgate accepts"
        )),
        Err(_) => Verdict::Unchecked(format!(
            "not checked here: {shown} by another kind of issuer (`callgate explain --token` \
             checks it with the configured keys)"
        )),
    }
}

fn times(claims: &Value) -> Verdict {
    let now = UnixTime::now();
    let (start, end) = match (time(claims, "nbf"), time(claims, "exp")) {
        (Ok(start), Ok(end)) => (start, end),
        (Err(wrong), _) | (_, Err(wrong)) => return Verdict::Failed(wrong),
    };
    if let Some(start) = start.filter(|start| *start > now) {
        return Verdict::Failed(format!("not good before {start}"));
    }
    match end {
        Some(end) if end < now => Verdict::Failed(format!("expired at {end}, it is {now}")),
        Some(end) => Verdict::Good(format!("good until {end}")),
        None => Verdict::Good("no end".to_owned()),
    }
}

/// Whole seconds, as nats-server writes them and as Callgate requires them of every issuer.
fn time(claims: &Value, name: &str) -> Result<Option<UnixTime>, String> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_i64().map(UnixTime::from_seconds);
    seconds.map(Some).ok_or_else(|| format!("`{name}` is no whole number of seconds"))
}
