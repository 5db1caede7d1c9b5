//! What the result of a user's bind means.

use callgate::record::Reason;

use super::{
    ber::{Reader, SEQUENCE},
    message::{OperationResult, PASSWORD_POLICY},
};
use crate::backend::QueryError;

const SUCCESS: i32 = 0;
const CONSTRAINT_VIOLATION: i32 = 19;
pub(super) const INVALID_CREDENTIALS: i32 = 49;
const UNWILLING_TO_PERFORM: i32 = 53;

/// Netscape's control: the password has expired and must be changed.
const PASSWORD_EXPIRED: &str = "2.16.840.1.113730.3.4.4";

/// Checks the result of a bind as the user `user`, which must have been shortened and escaped.
pub(super) fn check_bind(result: &OperationResult, user: &str) -> Result<(), QueryError> {
    let rejected = |reason, what: &str| {
        Err(QueryError::rejected(reason, format!("{what} for `{user}`{}", said(result))))
    };
    match result.code {
        SUCCESS if must_change_password(result) => {
            rejected(Reason::UserExpired, "the password has expired or must be changed")
        }
        SUCCESS => Ok(()),
        INVALID_CREDENTIALS => match active_directory_code(&result.message) {
            Some("532" | "773") => {
                rejected(Reason::UserExpired, "the password has expired or must be changed")
            }
            Some("701") => rejected(Reason::UserExpired, "the account has expired"),
            Some("533") => rejected(Reason::UserDisabled, "the account is disabled"),
            Some("775") => rejected(Reason::UserDisabled, "the account is locked"),
            Some("530") => rejected(Reason::OutsideHours, "logon hours do not permit a login"),
            Some("531") => rejected(Reason::SourceNotAllowed, "workstations are restricted"),
            Some("525") => rejected(Reason::UnknownUser, "the directory finds no account"),
            _ => rejected(Reason::BadPassword, "the directory refused the password"),
        },
        CONSTRAINT_VIOLATION | UNWILLING_TO_PERFORM => {
            rejected(Reason::UserDisabled, "the directory refuses logins")
        }
        code => {
            let why = format!("the directory answered the bind with code {code}{}", said(result));
            Err(QueryError::unusable(why))
        }
    }
}

/// The directory's message, for a sentence.
pub(super) fn said(result: &OperationResult) -> String {
    match result.message.as_str() {
        "" => String::new(),
        message => format!(": the directory says `{message}`"),
    }
}

/// The hexadecimal code in a message of Active Directory, such as `52e` in
/// `80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 52e, v4563`.
fn active_directory_code(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("AcceptSecurityContext error, data ")?;
    rest.split(',').next().map(str::trim)
}

/// Directories let users with an expired password in, so that they can change it.
fn must_change_password(result: &OperationResult) -> bool {
    result.controls.iter().any(|(oid, value)| match oid.as_str() {
        PASSWORD_EXPIRED => true,
        PASSWORD_POLICY => policy_requires_change(value),
        _ => false,
    })
}

/// Reads the `PasswordPolicyResponseValue` of draft-behera-ldap-password-policy section 6.2.
///
/// A malformed value counts as a required change: it must not admit a user by accident.
fn policy_requires_change(value: &[u8]) -> bool {
    const WARNING: u8 = 0xa0;
    const GRACE_LOGINS: u8 = 0x81;
    const ERROR: u8 = 0x81;
    let Some(content) = Reader(value).expect(SEQUENCE) else { return true };
    let mut response = Reader(content);
    while !response.is_empty() {
        match response.next() {
            // The password has expired, and a last login is tolerated.
            Some((WARNING, warning)) if warning.first() == Some(&GRACE_LOGINS) => return true,
            Some((WARNING, _)) => {}
            // 0: the password has expired. 2: it must be changed after a reset.
            Some((ERROR, error)) => return matches!(error, [0 | 2]),
            Some(_) | None => return true,
        }
    }
    false
}
