//! `--as` and `--claims`: identities without a credential.

use std::{path::Path, sync::Arc};

use callgate::{
    authn::{Chain, Decline, Identity, Link},
    clock::UnixTime,
    record::{Denial, Reason},
};
use callgate_config::Sources;
use serde_json::{Map, Value};

/// An identity and its authenticator, or why there is none.
pub(super) type Found = Result<(Arc<str>, Identity), Denial>;

/// The identity that `--as` and `--claims` describe.
///
/// # Errors
/// If an authenticator is unknown or cannot answer, or the claims cannot be read.
pub(super) async fn find(
    chain: &Chain,
    named: Option<&str>,
    claims: Option<&Path>,
    now: UnixTime,
) -> Result<Found, String> {
    let claims = claims.map(read_claims).transpose()?;
    match (named, claims) {
        (Some(named), None) => by_name(chain, named, now).await,
        (Some(named), Some(claims)) => given(chain, named, claims, now),
        (None, Some(claims)) => by_claims(chain, &claims, now),
        (None, None) => Err("pass --as AUTHENTICATOR/USER or --claims FILE".to_owned()),
    }
}

async fn by_name(chain: &Chain, named: &str, now: UnixTime) -> Result<Found, String> {
    let (link, user) = named_link(chain, named)?;
    let found = match link.authenticator.lookup() {
        Some(lookup) => lookup.find(user, now).await,
        None => None,
    };
    let found = found.ok_or_else(|| {
        format!(
            "--as: the authenticator `{}` cannot look up users without a credential: describe the \
             user with --claims FILE as well",
            link.name
        )
    })?;
    Ok(found_at(link, found))
}

/// The user of `--as` with these claims: as the authenticator reads them, or else as they are.
fn given(
    chain: &Chain,
    named: &str,
    mut claims: Map<String, Value>,
    now: UnixTime,
) -> Result<Found, String> {
    let (link, user) = named_link(chain, named)?;
    let mut as_token = claims.clone();
    as_token.entry("sub").or_insert(user.into());
    let lookup = link.authenticator.lookup();
    match lookup.and_then(|lookup| lookup.of_claims(&as_token, now)) {
        Some(Ok(identity)) if identity.user != user => Err(format!(
            "--as: these claims are those of the user `{}`, not of `{}`",
            identity.user.escape_debug(),
            user.escape_debug()
        )),
        Some(found) => Ok(found_at(link, found)),
        None => {
            let groups = match claims.remove("groups") {
                None => Vec::new(),
                Some(Value::Array(list)) => {
                    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
                }
                Some(_) => return Err("--claims: `groups` is not a list of strings".to_owned()),
            };
            let identity = Identity { groups, claims, ..Identity::of_user(user) };
            Ok(Ok((Arc::clone(&link.name), identity)))
        }
    }
}

/// The identity of a token with these claims, at the first authenticator that accepts their issuer.
fn by_claims(chain: &Chain, claims: &Map<String, Value>, now: UnixTime) -> Result<Found, String> {
    let mut readers = 0;
    for link in chain.links() {
        let lookup = link.authenticator.lookup();
        match lookup.and_then(|lookup| lookup.of_claims(claims, now)) {
            None => {}
            Some(Err(Decline::NotMine)) => readers += 1,
            Some(found) => return Ok(found_at(link, found)),
        }
    }
    match readers {
        0 => Err(
            "--claims: no authenticator reads the claims of tokens: name the identity with --as \
                  AUTHENTICATOR/USER"
                .to_owned(),
        ),
        _ => Ok(Err(Denial::new(
            Reason::BadToken,
            "no authenticator accepts the issuer (`iss`) and audience (`aud`) of these claims",
        )
        .because(callgate::record::Cause::Issuer))),
    }
}

fn found_at(link: &Link, found: Result<Identity, Decline>) -> Found {
    let identity = found.map_err(|decline| match decline {
        Decline::Rejected(rejection) => rejection.into(),
        Decline::NotMine => {
            Denial::new(Reason::BadToken, "the claims are those of another issuer or audience")
        }
        Decline::Unavailable(error) => Denial::new(Reason::BackendUnavailable, error.to_string()),
    })?;
    Ok((Arc::clone(&link.name), identity))
}

/// Splits `AUTHENTICATOR/USER` at the longest name of an authenticator: both parts may contain slashes.
fn named_link<'a>(chain: &'a Chain, named: &'a str) -> Result<(&'a Link, &'a str), String> {
    let user_of = |link: &&Link| named.strip_prefix(&*link.name)?.strip_prefix('/');
    let links = chain.links().iter().filter_map(|link| Some((link, user_of(&link)?)));
    let found = links.max_by_key(|(link, _)| link.name.len()).filter(|(_, user)| !user.is_empty());
    found.ok_or_else(|| {
        let names: Vec<_> = chain.links().iter().map(|link| format!("`{}`", link.name)).collect();
        format!(
            "--as: `{}` is not of the form AUTHENTICATOR/USER; the authenticators are {}",
            named.escape_debug(),
            names.join(", ")
        )
    })
}

fn read_claims(path: &Path) -> Result<Map<String, Value>, String> {
    const MAX_DEPTH: usize = 16;
    let text = Sources::read_any(path).map_err(|error| format!("--claims: {error}"))?;
    let path = path.display();
    match callgate::json::parse_strict(&text, MAX_DEPTH) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err(format!("--claims: `{path}` is not a JSON object")),
        Err(error) => Err(format!("--claims: `{path}` is not valid JSON: {error}")),
    }
}
