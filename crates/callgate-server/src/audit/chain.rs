//! The lines of one sink: each contains the hash of the previous one, and seals sign these hashes.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use callgate::{keys::KeyPair, sanitize::visible};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;

use super::event::{Event, Seal};

/// The version of the records.
pub(crate) const VERSION: u64 = 1;
/// A seal follows after this many records.
pub(crate) const MAX_UNSEALED: u64 = 1_000;

/// SHA-256 of a line without its newline.
pub(crate) type Hash = [u8; SHA256_OUTPUT_LEN];

/// The `prev` of the first line.
pub(crate) const NO_HASH: Hash = [0; SHA256_OUTPUT_LEN];

pub(crate) fn hash(line: &[u8]) -> Hash {
    let mut hash = NO_HASH;
    let digest = digest(&SHA256, line);
    digest.as_ref().iter().zip(&mut hash).for_each(|(from, to)| *to = *from);
    hash
}

/// The members that all records of a process share.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// The members `replica` and `boot`, as JSON.
    members: Arc<str>,
}

impl Process {
    /// `boot` is a random number in hex.
    pub(crate) fn new(replica: &str, boot: &str) -> Self {
        let replica = serde_json::Value::from(replica);
        let members = format!("\"replica\":{replica},\"boot\":\"{boot}\",");
        Self { members: visible(&members, &[]).into() }
    }
}

/// A line without its newline.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Builds the lines of a sink.
#[derive(Debug)]
pub(crate) struct Chain {
    process: Process,
    key: Option<Arc<KeyPair>>,
    seq: u64,
    prev: Hash,
    /// Records since the last seal.
    unsealed: u64,
}

impl Chain {
    pub(crate) fn new(process: Process, key: Option<Arc<KeyPair>>) -> Self {
        Self { process, key, seq: 0, prev: NO_HASH, unsealed: 0 }
    }

    /// Appends a record; `body` is a JSON object that begins with `type`.
    pub(crate) fn append(&mut self, time: Timestamp, body: &[u8], lines: &mut Vec<Line>) {
        lines.push(self.line(time, body));
        self.unsealed += 1;
        if self.unsealed >= MAX_UNSEALED {
            self.seal(time, lines);
        }
    }

    /// Signs the hash of the last line, unless it is a seal, or there is no key.
    pub(crate) fn seal(&mut self, time: Timestamp, lines: &mut Vec<Line>) {
        let Some(key) = self.key.as_ref().filter(|_| self.unsealed > 0) else { return };
        // Signing fails only if the cryptographic library does; the next record tries again.
        let Ok(signature) = key.sign(&self.prev) else { return };
        let seal = Seal { sig: BASE64URL_NOPAD.encode(&signature), key: key.public_key() };
        let body = body(&Event::Seal(seal));
        lines.push(self.line(time, &body));
        self.unsealed = 0;
    }

    /// True if there are records since the last seal, and a key to sign them.
    pub(crate) fn needs_seal(&self) -> bool {
        self.unsealed > 0 && self.key.is_some()
    }

    fn line(&mut self, time: Timestamp, body: &[u8]) -> Line {
        let head = format!(
            "{{\"v\":{VERSION},\"seq\":{},\"prev\":\"{}\",\"time\":\"{time:.6}\",{}",
            self.seq,
            HEXLOWER.encode(&self.prev),
            self.process.members
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.strip_prefix(b"{").unwrap_or(body));
        let line = Line { seq: self.seq, bytes };
        self.prev = hash(&line.bytes);
        self.seq += 1;
        line
    }
}

/// A record as JSON on one line. Characters that are not shown are escaped, so that a terminal shows all
/// of them.
pub(crate) fn body(record: &impl serde::Serialize) -> Vec<u8> {
    // Serializing these types to memory cannot fail.
    let json = serde_json::to_string(record).unwrap_or_default();
    match visible(&json, &[]) {
        std::borrow::Cow::Borrowed(_) => json.into_bytes(),
        std::borrow::Cow::Owned(escaped) => escaped.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use callgate::keys::{KeyKind, parse_public};
    use serde_json::Value;

    use super::{super::event::Stop, *};

    fn chain(key: Option<Arc<KeyPair>>) -> Chain {
        Chain::new(Process::new("gate-0", "00ff"), key)
    }

    fn parse(line: &Line) -> Value {
        serde_json::from_slice(&line.bytes).unwrap()
    }

    #[test]
    fn members_have_their_order_and_lines_their_chain() {
        let mut chain = chain(None);
        let mut lines = Vec::new();
        let time = Timestamp::from_microsecond(1_796_000_000_123_456).unwrap();
        for _ in 0..2 {
            chain.append(time, &body(&Event::Stop(Stop {})), &mut lines);
        }
        let zeros = "0".repeat(64);
        let first = format!(
            "{{\"v\":1,\"seq\":0,\"prev\":\"{zeros}\",\"time\":\"2026-11-30T00:53:20.123456Z\",\
             \"replica\":\"gate-0\",\"boot\":\"00ff\",\"type\":\"stop\"}}"
        );
        assert_eq!(String::from_utf8_lossy(&lines[0].bytes), first);
        assert_eq!(parse(&lines[1])["prev"], HEXLOWER.encode(&hash(first.as_bytes())));
        assert_eq!(parse(&lines[1])["seq"], 1);
    }

    #[test]
    fn seal_signs_the_hash_of_the_line_above() {
        let key = Arc::new(KeyPair::generate(KeyKind::User).unwrap());
        let mut chain = chain(Some(Arc::clone(&key)));
        let mut lines = Vec::new();
        let time = Timestamp::UNIX_EPOCH;
        for _ in 0..MAX_UNSEALED {
            chain.append(time, &body(&Event::Stop(Stop {})), &mut lines);
        }
        assert_eq!(lines.len(), 1001, "one seal");
        let seal = parse(&lines[1000]);
        assert_eq!(seal["type"], "seal");
        let public = parse_public(seal["key"].as_str().unwrap(), &[KeyKind::User]).unwrap();
        let signature = BASE64URL_NOPAD.decode(seal["sig"].as_str().unwrap().as_bytes()).unwrap();
        assert!(public.verifies(&hash(&lines[999].bytes), &signature));
        chain.seal(time, &mut lines);
        assert_eq!(lines.len(), 1001, "a seal is not sealed");
    }

    #[test]
    fn line_breaks_and_hidden_characters_stay_in_their_record() {
        let name = "a\n{\"v\":1}\u{202e}\u{0}";
        let event = Event::Unlock(super::super::event::Unlock {
            lock: name.to_owned(),
            order: super::super::event::Order {
                actor: String::new(),
                via: super::super::event::Via::Socket,
                reason: None,
            },
        });
        let body = body(&event);
        assert!(body.iter().all(|byte| (b' '..=b'~').contains(byte)), "{body:?}");
        let parsed: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(parsed["lock"], name);
    }
}
