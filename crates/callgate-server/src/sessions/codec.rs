//! The binary form in which replicas send each other sessions. Values that many sessions share are sent once
//! in each message.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use callgate::{clock::UnixTime, connection::ConnectionKind};

use super::session::{Common, Session, Values};
use crate::system::{ServerId, SessionKey};

/// The form that this version writes. A message in another form is ignored: `reconcile` finds its sessions.
const VERSION: u8 = 1;
/// A message is sent when it is this large, in bytes: well below the smallest usual `max_payload`.
const MAX_MESSAGE: usize = 256 * 1024;

const COMMON: u8 = 1;
const SESSION: u8 = 2;
const ENDED: u8 = 3;

/// What a message says.
#[derive(Debug)]
pub(super) enum Item {
    Entered(Session),
    /// The session is no longer there.
    Ended(SessionKey),
}

/// Encodes sessions into as many messages as needed.
pub(super) fn encode(entered: &[Arc<Session>], ended: &[SessionKey]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut message = Message::new();
    for session in entered {
        message.push_session(session);
        messages.extend(message.take_if_full());
    }
    for key in ended {
        message.bytes.push(ENDED);
        message.push_key(*key);
        messages.extend(message.take_if_full());
    }
    if !message.is_empty() {
        messages.push(message.bytes);
    }
    messages
}

/// Decodes a message; `None` if it is not one of this version.
pub(super) fn decode(message: &[u8]) -> Option<Vec<Item>> {
    let mut reader = Reader(message);
    if reader.byte()? != VERSION {
        return None;
    }
    let mut common = Vec::new();
    let mut items = Vec::new();
    while !reader.0.is_empty() {
        match reader.byte()? {
            COMMON => common.push(Arc::new(reader.common()?)),
            SESSION => items.push(Item::Entered(reader.session(&common)?)),
            ENDED => items.push(Item::Ended(reader.key()?)),
            _ => return None,
        }
    }
    Some(items)
}

struct Message {
    bytes: Vec<u8>,
    /// The numbers of the shared values, by their address.
    common: HashMap<*const Common, u32>,
}

impl Message {
    fn new() -> Self {
        Self { bytes: vec![VERSION], common: HashMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.bytes.len() == 1
    }

    fn take_if_full(&mut self) -> Option<Vec<u8>> {
        let is_full = self.bytes.len() >= MAX_MESSAGE;
        is_full.then(|| std::mem::replace(self, Self::new()).bytes)
    }

    fn push_session(&mut self, session: &Session) {
        let common = self.push_common(&session.common);
        self.bytes.push(SESSION);
        self.push_key(session.key());
        self.push_number(u64::from(common));
        self.push_text(session.user());
        self.push_number(
            u64::try_from(session.user().len() - session.source_user().len()).unwrap_or(0),
        );
        self.push_text(session.client_name());
        self.push_text(session.mqtt_id());
        self.push_text(session.decision());
        self.bytes.push(kind_number(session.kind()));
        self.push_text(&session.source().map(|ip| ip.to_string()).unwrap_or_default());
        self.push_time(Some(session.since()));
        self.push_time(session.ends());
        self.push_time(session.issued_at());
        self.bytes.push(session.judged().is_some().into());
        self.push_bytes(session.judged().unwrap_or_default());
    }

    /// Adds shared values unless the message has them; returns their number.
    fn push_common(&mut self, common: &Arc<Common>) -> u32 {
        let next = u32::try_from(self.common.len()).unwrap_or(u32::MAX);
        let number = *self.common.entry(Arc::as_ptr(common)).or_insert(next);
        if number == next {
            let Common { authenticator, account, groups, roles, replica } = &**common;
            self.bytes.push(COMMON);
            [authenticator, account, replica].into_iter().for_each(|text| self.push_text(text));
            for list in [groups, roles] {
                self.push_number(u64::try_from(list.len()).unwrap_or(u64::MAX));
                list.iter().for_each(|text| self.push_text(text));
            }
        }
        number
    }

    fn push_key(&mut self, key: SessionKey) {
        self.bytes.extend_from_slice(key.server.as_bytes());
        self.push_number(key.client_id);
    }

    fn push_time(&mut self, time: Option<UnixTime>) {
        let seconds = time.map_or(i64::MIN, UnixTime::seconds);
        self.bytes.extend_from_slice(&seconds.to_le_bytes());
    }

    fn push_text(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_number(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.bytes.extend_from_slice(bytes);
    }

    /// Seven bits in each byte, the lowest first; the highest bit says that more follow.
    fn push_number(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).unwrap_or(0);
            number >>= 7;
            if number == 0 {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.0.split_off_first().copied()
    }

    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        self.0.split_off(..LENGTH)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.0.split_off(..length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn time(&mut self) -> Option<Option<UnixTime>> {
        let seconds = i64::from_le_bytes(self.array()?);
        Some((seconds != i64::MIN).then(|| UnixTime::from_seconds(seconds)))
    }

    fn list(&mut self) -> Option<Box<[Box<str>]>> {
        let length = self.number()?;
        (0..length).map(|_| Some(self.text()?.into())).collect()
    }

    fn common(&mut self) -> Option<Common> {
        Some(Common {
            authenticator: self.text()?.into(),
            account: self.text()?.into(),
            replica: self.text()?.into(),
            groups: self.list()?,
            roles: self.list()?,
        })
    }

    fn key(&mut self) -> Option<SessionKey> {
        let server = ServerId::from(self.array::<32>()?);
        Some(SessionKey { server, client_id: self.number()? })
    }

    fn session(&mut self, common: &[Arc<Common>]) -> Option<Session> {
        let key = self.key()?;
        let common = common.get(usize::try_from(self.number()?).ok()?)?;
        let user = self.text()?;
        let prefix = u32::try_from(self.number()?).ok()?;
        let client_name = self.text()?;
        let mqtt_id = self.text()?;
        let decision = self.text()?;
        let kind = kind_of(self.byte()?);
        let source = self.text()?;
        let since = self.time()??;
        let ends = self.time()?;
        let issued_at = self.time()?;
        let has_judged = self.byte()? == 1;
        let judged = self.bytes()?;
        Some(Session::new(Values {
            key,
            common: Arc::clone(common),
            user,
            prefix,
            client_name,
            mqtt_id,
            decision,
            kind,
            source: source.parse::<IpAddr>().ok(),
            since,
            ends,
            issued_at,
            judged: has_judged.then(|| judged.into()),
        }))
    }
}

const fn kind_number(kind: ConnectionKind) -> u8 {
    match kind {
        ConnectionKind::Nats => 1,
        ConnectionKind::WebSocket => 2,
        ConnectionKind::Mqtt => 3,
        ConnectionKind::LeafNode => 4,
        ConnectionKind::Unknown => 0,
    }
}

const fn kind_of(number: u8) -> ConnectionKind {
    match number {
        1 => ConnectionKind::Nats,
        2 => ConnectionKind::WebSocket,
        3 => ConnectionKind::Mqtt,
        4 => ConnectionKind::LeafNode,
        _ => ConnectionKind::Unknown,
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
