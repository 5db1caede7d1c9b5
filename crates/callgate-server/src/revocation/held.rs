//! Changes that would end too many sessions without the decision of an operator.

use std::collections::{BTreeMap, BTreeSet};

use callgate::clock::UnixTime;
use data_encoding::Encoding;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Cause, Ending};
use crate::system::SessionKey;

/// This number of sessions may always end at once.
const NEVER_HELD: usize = 10;
const ID_LENGTH: usize = 10;

/// The sessions that a change would end for one reason.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) cause: Cause,
    pub(super) sessions: BTreeSet<SessionKey>,
    /// Of all sessions.
    pub(super) share: f64,
    pub(super) since: UnixTime,
}

/// A held change as `callgate revocations` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldRow {
    pub(crate) id: String,
    pub(crate) cause: String,
    pub(crate) sessions: usize,
    pub(crate) share: f64,
    pub(crate) since: String,
}

impl Held {
    pub(super) fn row(&self) -> HeldRow {
        HeldRow {
            id: self.id.clone(),
            cause: self.cause.to_string(),
            sessions: self.sessions.len(),
            share: self.share,
            since: self.since.to_string(),
        }
    }
}

/// Whether ending `ending` of `all` sessions needs the decision of an operator.
pub(super) fn is_held(ending: usize, all: usize, hold_above: f64) -> bool {
    ending > NEVER_HELD && share(ending, all) > hold_above
}

/// `ending` as a fraction of `all`.
#[expect(clippy::cast_precision_loss, reason = "numbers of sessions")]
pub(super) fn share(ending: usize, all: usize) -> f64 {
    ending as f64 / all.max(1) as f64
}

/// The ID of the change for each cause.
pub(super) fn ids(ending: &[Ending]) -> BTreeMap<Cause, String> {
    by_cause(ending).into_iter().map(|(cause, ending)| (cause, id(cause, &ending))).collect()
}

fn by_cause(ending: &[Ending]) -> BTreeMap<Cause, Vec<&Ending>> {
    let mut by_cause: BTreeMap<Cause, Vec<&Ending>> = BTreeMap::new();
    for one in ending {
        by_cause.entry(one.cause).or_default().push(one);
    }
    by_cause
}

/// One held change for each cause, in the order of the causes.
pub(super) fn hold(ending: &[Ending], all: usize, since: UnixTime) -> Vec<Held> {
    by_cause(ending)
        .into_iter()
        .map(|(cause, ending)| Held {
            id: id(cause, &ending),
            cause,
            sessions: ending.iter().map(|one| one.session.key()).collect(),
            share: share(ending.len(), all),
            since,
        })
        .collect()
}

/// Derived from the users whose sessions would end, so that replicas name the same change alike.
fn id(cause: Cause, ending: &[&Ending]) -> String {
    let users: BTreeSet<(&str, &str)> = ending
        .iter()
        .map(|one| (&*one.session.common().authenticator, one.session.user()))
        .collect();
    let mut hash = Sha256::new();
    hash.update(cause.as_str());
    for text in users.iter().flat_map(|(authenticator, user)| [authenticator, user]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let mut text = alphabet().encode(&hash.finalize());
    text.truncate(ID_LENGTH);
    text
}

/// The alphabet of the IDs of locks: without letters that look alike.
fn alphabet() -> Encoding {
    data_encoding::BASE32HEX_NOPAD
}
