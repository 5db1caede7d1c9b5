//! Who may do what: an immutable snapshot that turns an identity into a grant.

pub mod grant;
pub mod permissions;
