//! Closes connections.

/// Which kicks come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Priority {
    Lock,
    Revocation,
    Kick,
}

/// What became of a kick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KickResult {
    /// The server has closed the connection.
    Kicked,
    /// The server has no such connection.
    AlreadyGone,
    /// The connection may still be there.
    Failed(String),
}
