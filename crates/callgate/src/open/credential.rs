//! Chooses the one credential of a client, or refuses the client.

use std::borrow::Cow;

use super::claims::ConnectOptions;
use crate::{
    jwt::{is_nats_user, looks_like_jwt},
    keys::{KeyError, UserKey, VerifyingKeys, decode_signature},
    reason::{Cause, Denial, Reason},
    request::{Certificate, Credential, MAX_PASSWORD, MAX_TOKEN, MAX_USER},
    sanitize::{MisplacedSecret, misplaced_secret},
    secret::Secret,
    subject::is_invisible,
};

/// nats-server sends 11 random bytes as 15 characters (`nkey.go`), or an empty nonce if no nkey user
/// is configured.
const MIN_NONCE: usize = 11;

/// Words that HTTP clients write before a token.
const PREFIXES: [&str; 3] = ["Bearer", "Token", "JWT"];

/// The mode of nats-server. In operator mode clients also present sentinel credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Configuration,
    Operator,
}

/// The credentials in CONNECT without copies and the sentinel.
struct Present<'a> {
    nkey: Option<(Cow<'a, str>, Cow<'a, str>)>,
    token: Option<Secret>,
    pass: Option<Secret>,
    jwt: Option<Secret>,
    user: Cow<'a, str>,
    /// The password was a NATS user JWT, which is not a credential.
    has_discarded_password: bool,
}

/// Chooses the one credential that counts.
///
/// # Errors
/// If there are none or several, an nkey without a valid signature, or one that is too long or comes
/// with an invalid user name.
pub(crate) fn choose(
    options: ConnectOptions<'_>,
    nonce: &str,
    certificate: Option<&Certificate>,
    mode: Mode,
    known: &VerifyingKeys,
) -> Result<Credential, Denial> {
    let present = present(options, mode);
    check_prefixes(&present)?;
    check_user_is_no_secret(&present, certificate)?;
    check_lengths(&present)?;
    let no_credential = without_credential(&present);
    let mut found = Vec::with_capacity(2);
    if let Some((nkey, sig)) = &present.nkey {
        found.push(Credential::Nkey(proven_nkey(nkey, sig, nonce, known)?));
    }
    found.extend(present.token.map(Credential::Token));
    match present.pass {
        Some(pass) if looks_like_jwt(pass.expose()) => found.push(Credential::Token(pass)),
        Some(password) if !present.user.is_empty() => {
            check_name(&present.user)?;
            let user = present.user.into_owned();
            found.push(Credential::Password { user, password });
        }
        Some(_) | None => {}
    }
    found.extend(present.jwt.map(Credential::Token));

    let kinds: Vec<_> = found.iter().map(Credential::kind).collect();
    match (found.pop(), found.is_empty(), certificate) {
        (Some(only), true, _) => Ok(only),
        (Some(_), false, _) => Err(Denial::new(
            Reason::AmbiguousCredential,
            format!("the client sent several credentials ({}): send one", kinds.join(", ")),
        )),
        (None, _, Some(_)) => Ok(Credential::Certificate),
        (None, _, None) => no_credential,
    }
}

/// What a client without any of the credentials is: anonymous if it sent nothing, not even a user name.
fn without_credential(present: &Present<'_>) -> Result<Credential, Denial> {
    match (present.user.is_empty(), present.has_discarded_password || present.pass.is_some()) {
        (true, false) => Ok(Credential::Anonymous),
        // nats-server does not tell an empty password from none.
        (false, false) => Err(Denial::new(
            Reason::BadPassword,
            "the client sent a user name with an empty password or none",
        )),
        (_, true) => Err(no_credential()),
    }
}

/// The refusal of a client without a credential.
pub(super) fn no_credential() -> Denial {
    Denial::new(
        Reason::NoCredential,
        "the client sent no user and password, token, nkey or verified certificate",
    )
}

fn present(options: ConnectOptions<'_>, mode: Mode) -> Present<'_> {
    let ConnectOptions { jwt, nkey, sig, auth_token, user, pass, name: _, lang: _, version: _ } =
        options;
    // nats-server copies an MQTT password into auth_token, 2.10 also into jwt (mqtt.go).
    let is_copy = |other: &Secret| pass.as_ref().is_some_and(|pass| pass.matches(other.expose()));
    let token = auth_token.filter(|token| !is_copy(token));
    let jwt = jwt.filter(|jwt| !is_copy(jwt));
    let sentinel = jwt.as_ref().is_some_and(|jwt| is_nats_user(jwt.expose()));
    // In operator mode nkey and sig belong to the sentinel's JWT and prove nothing more.
    let sentinel_proof = sentinel && mode == Mode::Operator;
    Present {
        nkey: (!nkey.is_empty() && !sentinel_proof).then_some((nkey, sig)),
        token: token.filter(|token| !is_nats_user(token.expose())),
        jwt: jwt.filter(|_| !sentinel),
        has_discarded_password: pass.as_ref().is_some_and(|pass| is_nats_user(pass.expose())),
        pass: pass.filter(|pass| !is_nats_user(pass.expose())),
        user,
    }
}

/// Refuses a token that was copied from an HTTP header together with its scheme.
fn check_prefixes(present: &Present<'_>) -> Result<(), Denial> {
    for secret in [&present.token, &present.pass, &present.jwt].into_iter().flatten() {
        let Some((before, token)) = secret.expose().trim_end().rsplit_once([' ', ':']) else {
            continue;
        };
        let word = before.trim_end().rsplit([' ', ':']).next().unwrap_or_default();
        let prefix = PREFIXES.into_iter().find(|prefix| prefix.eq_ignore_ascii_case(word));
        if let Some(prefix) = prefix.filter(|_| looks_like_jwt(token)) {
            return Err(Denial::new(
                Reason::BadToken,
                format!("the token begins with the prefix `{prefix}`: send the token alone"),
            )
            .because(Cause::Malformed));
        }
    }
    Ok(())
}

/// Refuses a client that sent its token or seed as the user name, before any message can quote it.
fn check_user_is_no_secret(
    present: &Present<'_>,
    certificate: Option<&Certificate>,
) -> Result<(), Denial> {
    let pass_is_token = present.pass.as_ref().is_some_and(|pass| looks_like_jwt(pass.expose()));
    let other = present.nkey.is_some() || present.token.is_some() || present.jwt.is_some();
    // Next to another credential the user name does not count.
    if other || pass_is_token || (present.pass.is_none() && certificate.is_some()) {
        return Ok(());
    }
    let Some(secret) = misplaced_secret(&present.user) else { return Ok(()) };
    let reason = match present.pass {
        Some(_) => Reason::UnknownUser,
        None => Reason::NoCredential,
    };
    let remedy = match secret {
        MisplacedSecret::Token => "send it as the token",
        MisplacedSecret::Seed => "let the client sign with it, and replace it because it was sent",
    };
    let detail = format!("{} was sent as the user name: {remedy}", secret.as_str());
    Err(Denial::new(reason, detail))
}

fn check_lengths(present: &Present<'_>) -> Result<(), Denial> {
    let longer = |secret: &Option<Secret>, limit: usize| {
        secret.as_ref().is_some_and(|secret| secret.expose().len() > limit)
    };
    if longer(&present.token, MAX_TOKEN) || longer(&present.jwt, MAX_TOKEN) {
        let detail = format!("the token is longer than {MAX_TOKEN} bytes");
        return Err(Denial::new(Reason::BadToken, detail).because(Cause::Malformed));
    }
    let password_is_token = present.pass.as_ref().is_some_and(|p| looks_like_jwt(p.expose()));
    let limit = if password_is_token { MAX_TOKEN } else { MAX_PASSWORD };
    if longer(&present.pass, limit) {
        let reason = if password_is_token { Reason::BadToken } else { Reason::BadPassword };
        let detail = format!("the password is longer than {limit} bytes");
        return Err(Denial::new(reason, detail).because(Cause::Malformed));
    }
    if present.user.len() > MAX_USER {
        let detail = format!("the user name is longer than {MAX_USER} bytes");
        return Err(Denial::new(Reason::UnknownUser, detail));
    }
    Ok(())
}

/// A line break or NUL in a name could be significant to a directory's protocol, a header or a log.
/// With invisible characters it looks like another name.
fn check_name(user: &str) -> Result<(), Denial> {
    let detail = "the user name has control or invisible characters";
    match user.chars().any(is_invisible) {
        true => Err(Denial::new(Reason::UnknownUser, detail)),
        false => Ok(()),
    }
}

fn proven_nkey(
    nkey: &str,
    sig: &str,
    nonce: &str,
    known: &VerifyingKeys,
) -> Result<UserKey, Denial> {
    let bad = |detail: String| Denial::new(Reason::BadSignature, detail);
    if nonce.len() < MIN_NONCE {
        // A signature over nothing could be replayed forever.
        return Err(bad(
            "the server sent the client no nonce to sign: in configuration mode nats-server only \
             sends one if an nkey user is configured, so add one to its configuration"
                .to_owned(),
        ));
    }
    let bad_key = |error: KeyError| bad(format!("the client's nkey: {error}"));
    let key: UserKey = nkey.parse().map_err(bad_key)?;
    let Some(signature) = decode_signature(sig) else {
        return Err(bad("the nkey's signature is missing or not 64 bytes of base64".to_owned()));
    };
    match known.verified(&key, nonce.as_bytes(), &signature).map_err(bad_key)? {
        true => Ok(key),
        false => Err(bad("the nkey did not sign the server's nonce".to_owned())),
    }
}

#[cfg(test)]
mod tests;
