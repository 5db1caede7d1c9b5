//! Why a query has no answer that identifies a user.

use std::sync::Arc;

use callgate::{
    authn::{Decline, Rejection},
    record::Reason,
};

/// The result of a query other than an answer. All logins that wait for one query share it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// The backend does not know the credential, and the next authenticator may.
    #[error("the credential is unknown")]
    NotMine,
    /// The backend answered completely that the credential is bad.
    #[error("the credential is refused: {}", .0.detail)]
    Rejected(Rejection),
    /// No connection, or no answer in time. Several in a row count as an outage.
    #[error("{0}")]
    Unreachable(Arc<str>),
    /// An answer that decides nothing: malformed, too large, or an error of the backend.
    #[error("{0}")]
    Unusable(Arc<str>),
}

impl QueryError {
    /// A bad credential.
    pub(crate) fn rejected(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Rejected(Rejection::new(reason, detail))
    }

    /// The backend was not reached. The text is for the log, without secrets.
    pub(crate) fn unreachable(error: impl ToString) -> Self {
        Self::Unreachable(error.to_string().into())
    }

    /// The backend answered, but not usably. The text is for the log, without secrets.
    pub(crate) fn unusable(error: impl ToString) -> Self {
        Self::Unusable(error.to_string().into())
    }
}

impl From<QueryError> for Decline {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NotMine => Self::NotMine,
            QueryError::Rejected(rejection) => Self::Rejected(rejection),
            QueryError::Unreachable(error) | QueryError::Unusable(error) => {
                Self::Unavailable(error.to_string().into())
            }
        }
    }
}
