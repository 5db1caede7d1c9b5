//! What is told of a credential that nobody took.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::Link;
use crate::{
    json::parse_strict,
    record::{Denial, Reason},
    request::Credential,
};

/// As deep as the claims of a token may be nested.
const MAX_DEPTH: usize = 16;
/// As much of an issuer is shown, in characters.
const SHOWN: usize = 100;
/// As many of the issuers that are known here are shown.
const MOST: usize = 3;

/// The refusal of a credential that all of `links` said is not theirs.
pub(super) fn nobody_knows(credential: &Credential, links: &[Link]) -> Denial {
    match credential {
        Credential::Token(token) => {
            let why = of_issuer(token.expose(), links).unwrap_or_default();
            Denial::new(Reason::BadToken, format!("no authenticator knows this token{why}"))
        }
        Credential::Nkey(key) => {
            Denial::new(Reason::BadSignature, format!("no authenticator knows the nkey {key}"))
        }
        Credential::Password { .. } => {
            Denial::new(Reason::UnknownUser, "no authenticator takes passwords")
        }
        Credential::Certificate => {
            Denial::new(Reason::UnknownUser, "no authenticator takes client certificates")
        }
    }
}

/// Whose token it says it is, and whose would be taken: the usual mistake is a slash at the end. It is
/// for the operator's eyes only, and nothing of it is verified. Nothing for a token that names nobody.
fn of_issuer(token: &str, links: &[Link]) -> Option<String> {
    let issuer = issuer_of(token)?;
    let taken = links.iter().filter_map(|link| Some((&*link.name, link.authenticator.issuer()?)));
    let taken: Vec<(&str, String)> = taken.collect();
    let near: Vec<_> = taken.iter().filter(|(_, other)| core(other) == core(&issuer)).collect();
    let told = if near.is_empty() { taken.iter().collect() } else { near };
    let one = |(name, other): &&(&str, String)| format!("`{}` (`{name}`)", shown(other));
    let others: Vec<_> = told.iter().take(MOST).map(one).collect();
    let issuer = shown(&issuer);
    Some(match (others.is_empty(), told.len() > MOST) {
        (true, _) => format!(": its issuer is `{issuer}`"),
        (false, false) => format!(": its issuer is `{issuer}`, known are {}", others.join(", ")),
        (false, true) => {
            format!(": its issuer is `{issuer}`, known are {} and others", others.join(", "))
        }
    })
}

fn issuer_of(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
    match parse_strict(&claims, MAX_DEPTH).ok()?.get_mut("iss").map(Value::take)? {
        Value::String(issuer) => Some(issuer),
        _ => None,
    }
}

/// What is left of an issuer without that which is easily mistaken.
fn core(issuer: &str) -> String {
    let lower = issuer.trim().to_ascii_lowercase();
    let bare = lower.split_once("://").map_or(lower.as_str(), |(_scheme, rest)| rest);
    bare.trim_end_matches('/').to_owned()
}

fn shown(issuer: &str) -> String {
    let mut text: String = issuer.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if issuer.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}
