//! Checks of a JWT that need no configuration.

use callgate::{
    clock::UnixTime,
    keys::{CurvePublicKey, KeyKind, parse_public},
};
use serde_json::{Value, json};

use super::Decoded;

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Good(String),
    Failed(String),
    /// Not run, because it needs keys or data that are not available here.
    Unchecked(String),
}

/// One named check.
#[derive(Debug)]
pub(super) struct Check {
    name: &'static str,
    verdict: Verdict,
}

impl Check {
    /// A response's `jwt` that cannot be decoded.
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

/// All checks, in order.
pub(super) fn checks(decoded: &Decoded, server_xkey: Option<&CurvePublicKey>) -> Vec<Check> {
    let claims = &decoded.claims;
    let text = |pointer: &str| claims.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut checks = vec![("signature", signature(decoded)), ("times", times(claims))];
    if text("/nats/type") == "authorization_request" {
        let same = text("/iss") == text("/nats/server_id/id");
        checks.push((
            "issuer",
            verdict(same, "matches the requesting server", "does not match the requesting server"),
        ));
        let aud = text("/aud") == "nats-authorization-request";
        checks.push((
            "audience",
            verdict(aud, "is correct for a request", "is not correct for a request"),
        ));
        if let Some(key) = server_xkey {
            let same = text("/nats/server_id/xkey") == key.as_str();
            checks.push((
                "xkey",
                verdict(same, "matches the signed key", "does not match the signed key"),
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
        return Verdict::Failed("the header has no `alg`".to_owned());
    };
    if algorithm.eq_ignore_ascii_case("none") || decoded.signature.is_empty() {
        return Verdict::Failed("missing: the token could have been written by anyone".to_owned());
    }
    let algorithm_text = algorithm.escape_debug();
    let issuer = text("iss", &decoded.claims).unwrap_or_default();
    let kinds = [KeyKind::Server, KeyKind::Account, KeyKind::User, KeyKind::Operator];
    match parse_public(&issuer, &kinds) {
        Ok(key) if matches!(algorithm.as_str(), "ed25519-nkey" | "EdDSA") => {
            let good = key.verifies(decoded.signed.as_bytes(), &decoded.signature);
            verdict(good, "is valid for the issuer", "is not valid for the issuer")
        }
        Ok(_) => Verdict::Failed(format!(
            "algorithm is `{algorithm_text}`, but the issuer is an nkey, which signs only with ed25519-nkey or EdDSA"
        )),
        // HMAC: only holders of the shared secret can verify it.
        Err(_) if algorithm.starts_with("HS") => Verdict::Unchecked(format!(
            "not checked: Callgate accepts no tokens signed with `{algorithm_text}`"
        )),
        Err(_) => Verdict::Unchecked(format!(
            "not checked: `{algorithm_text}` by an issuer that is not an nkey (`callgate explain --token` \
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
        return Verdict::Failed(format!("not valid before {start}"));
    }
    match end {
        Some(end) if end < now => Verdict::Failed(format!("expired at {end}, now {now}")),
        Some(end) => Verdict::Good(format!("valid until {end}")),
        None => Verdict::Good("no expiry".to_owned()),
    }
}

/// Whole seconds, as nats-server writes them and Callgate requires them.
fn time(claims: &Value, name: &str) -> Result<Option<UnixTime>, String> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_i64().map(UnixTime::from_seconds);
    seconds.map(Some).ok_or_else(|| format!("`{name}` is not a whole number of seconds"))
}
