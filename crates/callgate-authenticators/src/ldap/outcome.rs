//! What the result of a user's bind means.

use callgate::record::Reason;

use crate::{backend::QueryError, ldap_client::OperationResult};

const SUCCESS: i32 = 0;
const CONSTRAINT_VIOLATION: i32 = 19;
pub(super) const INVALID_CREDENTIALS: i32 = 49;
const UNWILLING_TO_PERFORM: i32 = 53;

/// Checks the result of a bind as the user `user`, which must have been shortened and escaped.
pub(super) fn check_bind(result: &OperationResult, user: &str) -> Result<(), QueryError> {
    let rejected = |reason, what: &str| {
        Err(QueryError::rejected(reason, format!("{what} for `{user}`{}", result.said())))
    };
    match result.code {
        SUCCESS if result.must_change_password() => {
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
            let why = format!("the directory answered the bind with code {code}{}", result.said());
            Err(QueryError::unusable(why))
        }
    }
}

/// The hexadecimal code in a message of Active Directory, such as `52e` in
/// `80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 52e, v4563`.
fn active_directory_code(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("AcceptSecurityContext error, data ")?;
    rest.split(',').next().map(str::trim)
}
