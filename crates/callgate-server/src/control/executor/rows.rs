//! Sessions as the commands show them.

use std::collections::HashMap;

use callgate::{connection::ConnectionKind, sanitize::log_field};

use super::super::protocol::{KickedRow, Row, Servers};
use crate::{
    sessions::{Found, Session},
    system::{KickResult, ServersAnswered, SessionKey},
};

/// What became of all kicks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) kicked: usize,
    pub(super) already_gone: usize,
    pub(super) failed: usize,
}

/// A connection, with its session if there is one. Text from clients is escaped as in the log.
pub(super) fn row(found: &Found) -> Row {
    let Found { connection, session } = found;
    let mut row = match session {
        Some(session) => session_row(session),
        None => Row {
            server: String::new(),
            server_id: connection.key.server.to_string(),
            client_id: connection.key.client_id,
            user: log_field(&connection.user),
            authenticator: None,
            account: log_field(&connection.account),
            groups: None,
            roles: None,
            kind: connection.kind.as_str().to_owned(),
            source: connection.source,
            client_name: log_field(&connection.client_name),
            mqtt_id: mqtt_id(connection.kind, &connection.mqtt_id),
            since: String::new(),
            ends: None,
            decision: None,
            attributed: false,
        },
    };
    row.server = log_field(&connection.server);
    row.since = connection.since.to_string();
    row
}

/// A session whose server did not answer; only its ID is known.
pub(super) fn session_row(session: &Session) -> Row {
    let common = session.common();
    let list = |names: &[Box<str>]| Some(names.iter().map(|name| log_field(name)).collect());
    Row {
        server: session.key().server.to_string(),
        server_id: session.key().server.to_string(),
        client_id: session.key().client_id,
        user: log_field(session.user()),
        authenticator: Some(common.authenticator.to_string()),
        account: log_field(&common.account),
        groups: list(&common.groups),
        roles: list(&common.roles),
        kind: session.kind().as_str().to_owned(),
        source: session.source(),
        client_name: log_field(session.client_name()),
        mqtt_id: mqtt_id(session.kind(), session.mqtt_id()),
        since: session.since().to_string(),
        ends: session.ends().map(|ends| ends.to_string()),
        decision: Some(log_field(session.decision())),
        attributed: true,
    }
}

fn mqtt_id(kind: ConnectionKind, id: &str) -> Option<String> {
    match kind {
        ConnectionKind::Mqtt => Some(log_field(id)),
        ConnectionKind::Nats
        | ConnectionKind::WebSocket
        | ConnectionKind::LeafNode
        | ConnectionKind::Unknown => None,
    }
}

pub(super) fn servers(answered: &ServersAnswered) -> Servers {
    let missing = answered.missing.iter().map(|name| log_field(name)).collect();
    Servers { expected: answered.expected, answered: answered.answered, missing }
}

/// Each row with the result of its kick.
pub(super) fn with_results(
    rows: Vec<(SessionKey, Row)>,
    results: &HashMap<SessionKey, KickResult>,
) -> (Vec<KickedRow>, Counts) {
    let mut counts = Counts::default();
    let rows = rows.into_iter().map(|(key, row)| {
        let result = results.get(&key).map(|result| match result {
            KickResult::Kicked => {
                counts.kicked += 1;
                "kicked".to_owned()
            }
            KickResult::AlreadyGone => {
                counts.already_gone += 1;
                "already gone".to_owned()
            }
            KickResult::Failed(why) => {
                counts.failed += 1;
                format!("failed: {why}")
            }
        });
        KickedRow { row, result }
    });
    (rows.collect(), counts)
}
