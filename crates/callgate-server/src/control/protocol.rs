//! Orders and replies on the control socket: one JSON object per line.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    revocation::{HeldRow, Ruling, RulingDone},
    sessions::Filter,
    state::Target,
};

/// The first line of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    pub(crate) order: Order,
    /// The name that the user of the command gives for themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claimed_actor: Option<String>,
}

/// What a command asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Order {
    Sessions { filter: Filter },
    Kick(KickOrder),
    Lock(LockOrder),
    Unlock { ids: Vec<String>, all: bool },
    Locks,
    Revocations,
    RuleRevocation { id: String, ruling: Ruling },
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KickOrder {
    pub(crate) filter: Filter,
    pub(crate) dry_run: bool,
    pub(crate) reason: Option<String>,
    /// How long the kicks may take.
    pub(crate) wait_ms: u64,
    /// Kick any number without asking.
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockOrder {
    pub(crate) target: Target,
    /// How many seconds the lock lasts, by the clock of the service.
    pub(crate) lasts: Option<u64>,
    /// When it ends, in seconds since 1970.
    pub(crate) ends: Option<i64>,
    pub(crate) reason: Option<String>,
    pub(crate) no_kick: bool,
    pub(crate) dry_run: bool,
    pub(crate) yes: bool,
}

/// A line of the answer. The last one is [`Reply::Done`] or [`Reply::Failed`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// A lock is stored.
    Stored {
        id: String,
        target: Target,
        until: Option<String>,
    },
    /// Which replicas have the lock in force.
    InForce {
        confirmed: Vec<String>,
        unconfirmed: Vec<String>,
        seconds: f64,
    },
    /// More sessions match than are kicked without asking. The client answers with [`Answer`].
    Confirm {
        matching: usize,
        total: usize,
    },
    Done(Box<Done>),
    Failed {
        message: String,
        failure: Failure,
    },
}

/// The client's line after [`Reply::Confirm`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) go: bool,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// The order, or something that it names, does not exist.
    Refused,
    /// Wrong usage, a missing section of the configuration, or nothing was stored.
    Unusable,
}

/// The result of an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Done {
    Sessions(SessionsDone),
    Kick(KickDone),
    Lock(Box<LockDone>),
    Unlock { unlocked: Vec<String>, unknown: Vec<String>, failed: Vec<String> },
    Locks { locks: Vec<Value> },
    Revocations { held: Vec<HeldRow> },
    RevocationRuled(RulingDone),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct SessionsDone {
    pub(crate) sessions: Vec<Row>,
    pub(crate) servers: Servers,
    pub(crate) complete: bool,
    /// Connections that are not attributed, for which the filter cannot be answered.
    pub(crate) left_out: usize,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct KickDone {
    pub(crate) sessions: Vec<KickedRow>,
    pub(crate) kicked: usize,
    pub(crate) already_gone: usize,
    pub(crate) failed: usize,
    pub(crate) dry_run: bool,
    /// Connections that match and are not sessions, because no replica has their decision.
    pub(crate) not_attributed: usize,
    pub(crate) servers: Servers,
    pub(crate) complete: bool,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LockDone {
    /// `None` after a dry run.
    pub(crate) id: Option<String>,
    pub(crate) target: Target,
    pub(crate) until: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) actor: String,
    pub(crate) confirmed: Vec<String>,
    pub(crate) unconfirmed: Vec<String>,
    pub(crate) sessions: Vec<KickedRow>,
    pub(crate) kicked: usize,
    pub(crate) failed: usize,
    /// Sessions that match and were not to be kicked.
    pub(crate) spared: usize,
    pub(crate) dry_run: bool,
    /// Why live sessions could not be searched.
    pub(crate) not_searched: Option<String>,
    pub(crate) servers: Servers,
    pub(crate) notes: Vec<String>,
}

/// Which servers answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Servers {
    pub(crate) expected: usize,
    pub(crate) answered: usize,
    pub(crate) missing: Vec<String>,
}

/// One connection. What only a decision knows is `None` if the connection is not attributed. Texts from
/// clients are escaped as in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) server: String,
    pub(crate) server_id: String,
    pub(crate) client_id: u64,
    pub(crate) user: String,
    pub(crate) authenticator: Option<String>,
    pub(crate) account: String,
    pub(crate) groups: Option<Vec<String>>,
    pub(crate) roles: Option<Vec<String>>,
    pub(crate) kind: String,
    pub(crate) source: Option<IpAddr>,
    pub(crate) client_name: String,
    pub(crate) mqtt_id: Option<String>,
    pub(crate) since: String,
    pub(crate) ends: Option<String>,
    pub(crate) decision: Option<String>,
    pub(crate) attributed: bool,
}

/// One connection, and what became of its kick.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KickedRow {
    #[serde(flatten)]
    pub(crate) row: Row,
    /// `kicked`, `already gone`, or why the kick failed; `None` if it was not kicked.
    pub(crate) result: Option<String>,
}
