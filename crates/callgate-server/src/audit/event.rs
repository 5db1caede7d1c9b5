//! The records of an audit other than decisions. Member names and their order are fixed (`docs/audit.md`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::privacy::{Hider, field};

/// Something that happened, as a record without the members that every record has.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    /// An admission was recorded, but its answer was not sent.
    AnswerDropped(AnswerDropped),
    /// A server reported the connection of an admitted client.
    SessionStart(Session),
    /// A server reported its end.
    SessionEnd(SessionEnd),
    /// Callgate asked a server to close a connection.
    Kick(Kick),
    /// A lock was stored.
    Lock(Lock),
    /// A lock was removed.
    Unlock(Unlock),
    /// Failed logins reached a limit.
    #[allow(dead_code, reason = "the schema has the record; lockouts do not exist yet")]
    Lockout(Lockout),
    /// A change ends sessions, or is held, or an operator has decided about it.
    Revocation(Revocation),
    /// The configuration was loaded or rejected.
    Config(ConfigLoad),
    /// A users file was loaded or rejected.
    Users(UsersLoad),
    /// A login, a logout or an action in the console.
    #[allow(dead_code, reason = "the schema has the record; the console does not exist yet")]
    Console(Console),
    /// A server's log reports a permission violation.
    Violation(Violation),
    /// Records are missing here.
    Gap(Gap),
    /// The first record of a process.
    Start(Start),
    /// The last record of a process, apart from its seal.
    Stop(Stop),
    /// Signs the records above it.
    Seal(Seal),
}

/// Who ordered something.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Order {
    /// The user at the other end of the socket, or of the console.
    pub(crate) actor: String,
    pub(crate) via: Via,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// How an order arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Via {
    #[default]
    Socket,
    Console,
    Direct,
}

/// A connection, with the same member names as in a decision.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Session {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authenticator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_id: Option<String>,
    /// The request of its decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
}

/// See [`Event::AnswerDropped`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AnswerDropped {
    #[serde(flatten)]
    pub(crate) session: Session,
    /// The reason code of why nothing was sent.
    pub(crate) reason: String,
}

/// See [`Event::SessionEnd`].
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct SessionEnd {
    #[serde(flatten)]
    pub(crate) session: Session,
    /// Why Callgate ended it, if it did; by whichever replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// The server's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) out_bytes: Option<u64>,
}

/// See [`Event::Kick`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Kick {
    #[serde(flatten)]
    pub(crate) session: Session,
    /// Such as `lock`, `kick`, or the cause of a revocation.
    pub(crate) cause: String,
    /// `kicked`, `gone` or `failed`.
    pub(crate) result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<String>,
    #[serde(flatten)]
    pub(crate) order: Option<Order>,
}

/// See [`Event::Lock`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lock {
    pub(crate) lock: String,
    /// What it matches, by filter.
    pub(crate) target: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    #[serde(flatten)]
    pub(crate) order: Order,
}

/// See [`Event::Unlock`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Unlock {
    pub(crate) lock: String,
    #[serde(flatten)]
    pub(crate) order: Order,
}

/// See [`Event::Lockout`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lockout {
    /// `pair`, `source` or `identity`.
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_host: Option<String>,
    pub(crate) until: String,
}

/// See [`Event::Revocation`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Revocation {
    pub(crate) id: String,
    pub(crate) cause: String,
    pub(crate) sessions: u64,
    pub(crate) result: RevocationResult,
    #[serde(flatten)]
    pub(crate) order: Option<Order>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RevocationResult {
    /// Its sessions are ended at once.
    Ended,
    /// It waits for an operator.
    Held,
    /// An operator applied it.
    Applied,
    /// An operator dropped it.
    Dropped,
    /// A later change made it unnecessary.
    Withdrawn,
}

/// See [`Event::Config`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConfigLoad {
    pub(crate) result: LoadResult,
    /// SHA-256 of the configuration file, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hash: Option<String>,
    /// The first error of a rejected configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// See [`Event::Users`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct UsersLoad {
    pub(crate) authenticator: String,
    pub(crate) result: LoadResult,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoadResult {
    Loaded,
    Rejected,
}

/// See [`Event::Console`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Console {
    /// `login`, `logout`, or the action.
    pub(crate) action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    #[serde(flatten)]
    pub(crate) order: Order,
}

/// See [`Event::Violation`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Violation {
    #[serde(flatten)]
    pub(crate) session: Session,
    /// `publish` or `subscribe`.
    pub(crate) operation: String,
    pub(crate) subject: String,
}

/// See [`Event::Gap`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Gap {
    /// How many records.
    pub(crate) records: u64,
    pub(crate) why: GapCause,
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GapCause {
    /// The sink was slower than the records, or failed for too long.
    QueueFull,
    /// The file was removed.
    FileRemoved,
    /// Another file took the place of the file.
    FileReplaced,
    /// The file was cut off while it was written.
    FileTruncated,
    /// The last line of an earlier process was incomplete, and was cut off.
    IncompleteLine,
}

/// See [`Event::Start`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Start {
    pub(crate) version: String,
    /// The hash of the last line of the previous process in the same file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
}

/// See [`Event::Stop`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stop {}

/// See [`Event::Seal`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seal {
    /// The signature of the 32 bytes of `prev`, in base64url without padding.
    pub(crate) sig: String,
    /// The public nkey that made it.
    pub(crate) key: String,
}

impl Event {
    /// Cuts text from outside, and replaces hidden fields.
    pub(super) fn protect(&mut self, hider: &Hider) {
        match self {
            Self::AnswerDropped(AnswerDropped { session, .. })
            | Self::SessionStart(session)
            | Self::SessionEnd(SessionEnd { session, .. })
            | Self::Kick(Kick { session, .. }) => session.protect(hider),
            Self::Violation(Violation { session, subject, .. }) => {
                session.protect(hider);
                *subject = field(subject).into_owned();
            }
            Self::Lock(Lock { target, .. }) => hider.protect_target(target),
            Self::Lockout(Lockout { user, client_host, .. }) => {
                // Names of failed logins may be passwords.
                protect(user, |text| hider.typed_user(text));
                protect(client_host, |text| hider.source(text));
            }
            Self::Unlock(_)
            | Self::Revocation(_)
            | Self::Config(_)
            | Self::Users(_)
            | Self::Console(_)
            | Self::Gap(_)
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Seal(_) => {}
        }
    }
}

impl Session {
    fn protect(&mut self, hider: &Hider) {
        protect(&mut self.user, |text| hider.user(text));
        protect(&mut self.client_host, |text| hider.source(text));
        protect(&mut self.client_name, |text| hider.client_name(text));
    }
}

fn protect(text: &mut Option<String>, with: impl Fn(&str) -> Cow<'_, str>) {
    if let Some(present) = text {
        *present = with(present).into_owned();
    }
}
