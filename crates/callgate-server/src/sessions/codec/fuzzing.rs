//! What the fuzz target compares.

use std::sync::Arc;

use super::*;

/// What a message says: as it is decoded, and after encoding and decoding that again. `None` if it is not a
/// message.
pub(crate) fn decoded_twice(message: &[u8]) -> Option<[Vec<String>; 2]> {
    let items = decode(message)?;
    let once = values(&items);
    let mut entered = Vec::new();
    let mut ended = Vec::new();
    for item in items {
        match item {
            Item::Entered(session) => entered.push(Arc::new(session)),
            Item::Ended(key) => ended.push(key),
        }
    }
    let again: Vec<Item> = encode(&entered, &ended)
        .iter()
        .flat_map(|message| decode(message).unwrap_or_default())
        .collect();
    Some([once, values(&again)])
}

/// Every value of each item, sessions first.
fn values(items: &[Item]) -> Vec<String> {
    let mut sessions = Vec::new();
    let mut ended = Vec::new();
    for item in items {
        match item {
            Item::Entered(session) => sessions.push(every_value(session)),
            Item::Ended(key) => ended.push(format!("{key:?}")),
        }
    }
    sessions.extend(ended);
    sessions
}

/// Every value of a session, in a form to compare.
pub(super) fn every_value(session: &Session) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        session.key(),
        session.common(),
        session.user(),
        session.source_user(),
        session.client_name(),
        session.mqtt_id(),
        session.decision(),
        session.kind(),
        session.source(),
        session.since(),
        session.ends(),
        session.issued_at(),
        session.judged(),
    )
}
