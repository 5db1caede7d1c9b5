//! A compare-and-set change of one entry.

use callgate::policy::encode;
use serde_json::{Map, Value, json};

use super::{
    super::{
        GOOD, Outcome, REFUSED,
        output::{complain, say},
    },
    target::Users,
};
use crate::buckets::{BucketError, Stored, Written};

/// An entry that was read, to be changed and written back.
pub(super) struct Draft {
    pub(super) user: String,
    pub(super) entry: Map<String, Value>,
    pub(super) exists: bool,
    revision: u64,
}

/// Why there is no draft.
#[derive(Debug, thiserror::Error)]
pub(super) enum DraftError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("the entry of `{0}` is not a JSON object: replace it with `callgate users import`")]
    NotAnObject(String),
}

impl Draft {
    /// Reads the entry of a user; an empty one if there is none.
    pub(super) async fn read(users: &Users, user: &str) -> Result<Self, DraftError> {
        let Stored { revision, value, .. } = users.access.read(&encode(user)).await?;
        let exists = value.is_some();
        let entry = match value {
            None => Map::new(),
            Some(value) => serde_json::from_slice(&value)
                .map_err(|_| DraftError::NotAnObject(user.escape_debug().to_string()))?,
        };
        Ok(Self { user: user.to_owned(), entry, exists, revision })
    }

    /// The same, whatever the stored value is.
    pub(super) async fn read_any(users: &Users, user: &str) -> Result<Self, BucketError> {
        let Stored { revision, value, .. } = users.access.read(&encode(user)).await?;
        let exists = value.is_some();
        Ok(Self { user: user.to_owned(), entry: Map::new(), exists, revision })
    }

    /// Writes the entry, unless it is invalid or the stored one has changed. On success, prints `said`,
    /// or the members of `also` as JSON.
    pub(super) async fn write(
        self,
        users: &Users,
        said: impl std::fmt::Display,
        also: Value,
    ) -> Outcome {
        let shown = self.user.escape_debug().to_string();
        let value = Value::Object(self.entry).to_string().into_bytes();
        let checked = users.check(&self.user, &value);
        for warning in &checked.warnings {
            complain(format_args!("warning: {warning}"));
        }
        if !checked.errors.is_empty() {
            for error in &checked.errors {
                complain(format_args!("error: {error}"));
            }
            return users.refuse(
                REFUSED,
                format_args!("the entry of `{shown}` would be invalid: nothing was written"),
            );
        }
        match users.access.write(&encode(&self.user), value, self.revision).await? {
            Written::Conflict => users.refuse(REFUSED, conflict(&shown)),
            Written::Done { revision } => {
                if users.json {
                    let mut result = json!({ "user": self.user, "revision": revision });
                    if let (Some(result), Value::Object(also)) = (result.as_object_mut(), also) {
                        result.extend(also);
                    }
                    say(result);
                } else {
                    say(said);
                }
                Ok(GOOD)
            }
        }
    }

    /// Deletes the entry, unless the stored one has changed.
    pub(super) async fn delete(self, users: &Users) -> Outcome {
        let shown = self.user.escape_debug().to_string();
        match users.access.delete(&encode(&self.user), self.revision).await? {
            Written::Conflict => users.refuse(REFUSED, conflict(&shown)),
            Written::Done { .. } if users.json => {
                say(json!({ "user": self.user, "deleted": true }));
                Ok(GOOD)
            }
            Written::Done { .. } => {
                say(format_args!("deleted `{shown}`"));
                Ok(GOOD)
            }
        }
    }
}

pub(super) fn conflict(user: &str) -> String {
    format!("the entry of `{user}` was changed at the same time: nothing was written; try again")
}

/// The error for a user without an entry.
pub(super) fn unknown(user: &str) -> String {
    format!("there is no user `{}` in the bucket", user.escape_debug())
}
