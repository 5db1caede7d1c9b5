//! The refusal of a credential that no authenticator accepted.

use serde_json::Value;

use super::Link;
use crate::{
    keys::{AccountKey, UserKey},
    reason::{Cause, Denial, Reason, unverified_claims},
    request::Credential,
    sanitize::excerpt_up_to,
};

/// How many characters of an issuer are shown.
const MAX_ISSUER_CHARS: usize = 100;
/// How many accepted issuers are listed.
const MAX_LISTED: usize = 3;

/// The refusal of a credential that every authenticator in `links` declined as not its own.
pub(super) fn unclaimed(credential: &Credential, links: &[Link]) -> Denial {
    match credential {
        Credential::Token(token) => unclaimed_token(token.expose(), links),
        Credential::Nkey(key) => {
            Denial::new(Reason::BadSignature, format!("no authenticator knows the nkey {key}"))
        }
        Credential::Password { .. } => {
            Denial::new(Reason::UnknownUser, "no authenticator accepts passwords")
        }
        Credential::Anonymous => {
            Denial::new(Reason::NoCredential, "no authenticator accepts anonymous clients")
        }
        Credential::Certificate => {
            Denial::new(Reason::UnknownUser, "no authenticator accepts client certificates")
        }
    }
}

/// Explains by the issuer that the token names. Nothing in the token is verified: this is for the
/// operator only.
fn unclaimed_token(token: &str, links: &[Link]) -> Denial {
    let denial = |cause, why: &str| {
        let detail = format!("no authenticator accepts this token: {why}");
        Denial::new(Reason::BadToken, detail).because(cause)
    };
    let Some(claims) = unverified_claims(token) else {
        return denial(Cause::Malformed, "it is not a readable JWT");
    };
    match claims.get("iss") {
        Some(Value::String(issuer)) if is_nkey(issuer) => denial(
            Cause::Issuer,
            &format!(
                "its issuer is the nkey `{issuer}`, which is not registered as the key of a service"
            ),
        ),
        Some(Value::String(issuer)) => denial(Cause::Issuer, &compared(issuer, links)),
        Some(_) => denial(Cause::Issuer, "its `iss` is not a string"),
        None => denial(Cause::Issuer, "it names no issuer (`iss`)"),
    }
}

/// Services sign their own tokens: their issuer is a public nkey, not a URL.
fn is_nkey(issuer: &str) -> bool {
    issuer.parse::<UserKey>().is_ok() || issuer.parse::<AccountKey>().is_ok()
}

/// Compares an issuer with those that are accepted; the usual mistake is a slash at the end.
fn compared(issuer: &str, links: &[Link]) -> String {
    let accepted: Vec<(&str, String)> =
        links.iter().filter_map(|link| Some((&*link.name, link.authenticator.issuer()?))).collect();
    let similar: Vec<_> =
        accepted.iter().filter(|(_, other)| normalize(other) == normalize(issuer)).collect();
    let listed = if similar.is_empty() { accepted.iter().collect() } else { similar };
    let one = |(name, other): &&(&str, String)| {
        format!("`{}` (`{name}`)", excerpt_up_to(other, MAX_ISSUER_CHARS))
    };
    let others: Vec<_> = listed.iter().take(MAX_LISTED).map(one).collect();
    let mut text = format!("its issuer is `{}`", excerpt_up_to(issuer, MAX_ISSUER_CHARS));
    if !others.is_empty() {
        text = format!("{text}, accepted are {}", others.join(", "));
    }
    if listed.len() > MAX_LISTED {
        text.push_str(" and others");
    }
    text
}

/// An issuer without the parts that are easily mistaken: scheme, case, slash at the end.
fn normalize(issuer: &str) -> String {
    let lower = issuer.trim().to_ascii_lowercase();
    let bare = lower.split_once("://").map_or(lower.as_str(), |(_scheme, rest)| rest);
    bare.trim_end_matches('/').to_owned()
}
