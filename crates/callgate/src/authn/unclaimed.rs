//! The refusal of a credential that no authenticator accepted.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::Link;
use crate::{
    json::parse_strict,
    record::{Denial, Reason},
    request::Credential,
    sanitize::excerpt_up_to,
};

/// How deep the claims of a token may be nested.
const MAX_DEPTH: usize = 16;
/// How many characters of an issuer are shown.
const MAX_ISSUER_CHARS: usize = 100;
/// How many accepted issuers are listed.
const MAX_LISTED: usize = 3;

/// The refusal of a credential that every authenticator in `links` declined as not its own.
pub(super) fn unclaimed(credential: &Credential, links: &[Link]) -> Denial {
    match credential {
        Credential::Token(token) => {
            let why = explain_issuer(token.expose(), links).unwrap_or_default();
            Denial::new(Reason::BadToken, format!("no authenticator accepts this token{why}"))
        }
        Credential::Nkey(key) => {
            Denial::new(Reason::BadSignature, format!("no authenticator knows the nkey {key}"))
        }
        Credential::Password { .. } => {
            Denial::new(Reason::UnknownUser, "no authenticator accepts passwords")
        }
        Credential::Certificate => {
            Denial::new(Reason::UnknownUser, "no authenticator accepts client certificates")
        }
    }
}

/// Compares the issuer that a token names with those that are accepted; the usual mistake is a slash
/// at the end. Nothing in the token is verified: this is for the operator only.
fn explain_issuer(token: &str, links: &[Link]) -> Option<String> {
    let issuer = issuer_of(token)?;
    let accepted: Vec<(&str, String)> =
        links.iter().filter_map(|link| Some((&*link.name, link.authenticator.issuer()?))).collect();
    let similar: Vec<_> =
        accepted.iter().filter(|(_, other)| normalize(other) == normalize(&issuer)).collect();
    let listed = if similar.is_empty() { accepted.iter().collect() } else { similar };
    let one = |(name, other): &&(&str, String)| {
        format!("`{}` (`{name}`)", excerpt_up_to(other, MAX_ISSUER_CHARS))
    };
    let others: Vec<_> = listed.iter().take(MAX_LISTED).map(one).collect();
    let mut text = format!(": its issuer is `{}`", excerpt_up_to(&issuer, MAX_ISSUER_CHARS));
    if !others.is_empty() {
        text = format!("{text}, accepted are {}", others.join(", "));
    }
    if listed.len() > MAX_LISTED {
        text.push_str(" and others");
    }
    Some(text)
}

fn issuer_of(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
    match parse_strict(&claims, MAX_DEPTH).ok()?.get_mut("iss").map(Value::take)? {
        Value::String(issuer) => Some(issuer),
        _ => None,
    }
}

/// An issuer without the parts that are easily mistaken: scheme, case, slash at the end.
fn normalize(issuer: &str) -> String {
    let lower = issuer.trim().to_ascii_lowercase();
    let bare = lower.split_once("://").map_or(lower.as_str(), |(_scheme, rest)| rest);
    bare.trim_end_matches('/').to_owned()
}
