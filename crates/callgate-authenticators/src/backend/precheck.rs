//! Credentials that are never sent to a backend.

use callgate::{
    authn::Rejection,
    jwt::looks_like_jwt,
    record::Reason,
    request::{MAX_PASSWORD, MAX_USER},
    secret::Secret,
    subject::is_invisible,
};

/// Whether a password may contain a NUL, which ends a text in the protocols of LDAP and SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nul {
    Allowed,
    Refused,
}

/// Checks a user name and a password before a backend sees them.
///
/// # Errors
/// If one of them is empty (directories accept an empty password without checking it: RFC 4513 section
/// 5.1.2), too long, or contains what is not part of a name or password.
pub(crate) fn precheck(user: &str, password: &Secret, nul: Nul) -> Result<(), Rejection> {
    let rejected = |reason, detail: &str| Err(Rejection::new(reason, detail));
    let text = password.expose();
    if user.is_empty() || text.is_empty() {
        return rejected(Reason::BadPassword, "an empty user name or password is never accepted");
    }
    if user.len() > MAX_USER {
        return rejected(Reason::UnknownUser, "the user name is too long");
    }
    if user.chars().any(is_invisible) {
        return rejected(Reason::UnknownUser, "the user name has control or invisible characters");
    }
    if text.len() > MAX_PASSWORD {
        return rejected(Reason::BadPassword, "the password is too long");
    }
    if looks_like_jwt(text) {
        return rejected(Reason::BadPassword, "the password is a token");
    }
    if nul == Nul::Refused && text.contains('\0') {
        return rejected(Reason::BadPassword, "the password contains a NUL character");
    }
    Ok(())
}
