//! Searches on one connection, within the deadline of a login.

use ldap3::asn1::Tag;
use tokio::time::Instant;

use super::{
    connection::{Connection, ConnectionError},
    message::{Entry, Scope, Search},
};
use crate::backend::QueryError;

/// The result code of a search that found more entries than it may return.
const SIZE_LIMIT_EXCEEDED: i32 = 4;

/// Searches on one connection.
pub(crate) struct Searcher<'c> {
    connection: &'c mut Connection,
    deadline: Instant,
    /// How many references to other servers were ignored.
    references: usize,
}

impl<'c> Searcher<'c> {
    pub(crate) fn new(connection: &'c mut Connection, deadline: Instant) -> Self {
        Self { connection, deadline, references: 0 }
    }

    /// How many references to other servers the directory has returned. They are never followed: that
    /// would carry a password to a host that the directory names.
    pub(crate) fn references(&self) -> usize {
        self.references
    }

    /// Every matching entry.
    ///
    /// # Errors
    /// If there are more than `limit`, or the directory does not answer with success.
    pub(crate) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: Tag,
        attributes: &[&str],
        limit: u16,
    ) -> Result<Vec<Entry>, QueryError> {
        let (entries, is_complete) = self.first(base, scope, filter, attributes, limit).await?;
        match is_complete {
            true => Ok(entries),
            false => Err(QueryError::unusable(format!("a search found more than {limit} entries"))),
        }
    }

    /// The first `limit` matching entries, and whether these are all.
    pub(crate) async fn first(
        &mut self,
        base: &str,
        scope: Scope,
        filter: Tag,
        attributes: &[&str],
        limit: u16,
    ) -> Result<(Vec<Entry>, bool), QueryError> {
        let seconds = self.deadline.saturating_duration_since(Instant::now()).as_secs() + 1;
        let time_limit = u16::try_from(seconds).unwrap_or(u16::MAX);
        let search = Search { base, scope, filter, attributes, size_limit: limit, time_limit };
        let found = self.connection.search(search).await?;
        self.references += found.references;
        match found.result.code {
            0 => Ok((found.entries, true)),
            SIZE_LIMIT_EXCEEDED if !found.entries.is_empty() => Ok((found.entries, false)),
            code => Err(QueryError::unusable(format!(
                "the directory answered a search with code {code}{}",
                found.result.said()
            ))),
        }
    }
}

impl From<ConnectionError> for QueryError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Malformed | ConnectionError::TooLong => Self::unusable(error),
            ConnectionError::Connect(_)
            | ConnectionError::StartTls(_)
            | ConnectionError::Failed(_)
            | ConnectionError::Closed => Self::unreachable(error),
        }
    }
}
