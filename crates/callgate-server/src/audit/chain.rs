//! The lines of one sink: each contains the hash of the previous one, and seals sign these hashes.

use std::{io::Write as _, sync::Arc};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use callgate::{keys::KeyPair, sanitize::visible};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;

use super::event::{Event, Seal};

/// The version of the records.
pub(crate) const VERSION: u64 = 1;
/// A seal follows after this many records.
pub(crate) const MAX_UNSEALED: u64 = 1_000;

/// Most records are smaller, in bytes.
const USUAL_RECORD: usize = 1024;
/// The largest buffer, in bytes, that is kept for the next lines or records.
pub(super) const MAX_KEPT: usize = 1024 * 1024;

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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) seq: u64,
    pub(crate) bytes: &'a [u8],
}

/// Lines in one buffer, which is written at once and used again.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Each line with its newline.
    text: Vec<u8>,
    /// The number of each line, and where it ends.
    ends: Vec<(u64, usize)>,
}

impl Lines {
    /// All lines with their newlines.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |&(seq, end)| {
            let bytes = self.text.get(start..end).unwrap_or_default();
            start = end + 1;
            Line { seq, bytes }
        })
    }

    /// Removes all lines, and keeps a buffer of the usual size.
    pub(crate) fn clear(&mut self) {
        if self.text.capacity() > MAX_KEPT {
            *self = Self::default();
        }
        self.ends.clear();
        self.text.clear();
    }
}

#[cfg(test)]
impl Lines {
    pub(super) fn of(texts: &[&str]) -> Self {
        let mut lines = Self::default();
        for (seq, text) in (0..).zip(texts) {
            lines.text.extend_from_slice(text.as_bytes());
            lines.ends.push((seq, lines.text.len()));
            lines.text.push(b'\n');
        }
        lines
    }
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
    pub(crate) fn append(&mut self, time: Timestamp, body: &[u8], lines: &mut Lines) {
        self.add_line(time, body, lines);
        self.unsealed += 1;
        if self.unsealed >= MAX_UNSEALED {
            self.seal(time, lines);
        }
    }

    /// Signs the hash of the last line, unless it is a seal, or there is no key.
    pub(crate) fn seal(&mut self, time: Timestamp, lines: &mut Lines) {
        let Some(key) = self.key.as_ref().filter(|_| self.unsealed > 0) else { return };
        // Signing fails only if the cryptographic library does; the next record tries again.
        let Ok(signature) = key.sign(&self.prev) else { return };
        let seal = Seal { sig: BASE64URL_NOPAD.encode(&signature), key: key.public_key() };
        self.add_line(time, &body(&Event::Seal(seal)), lines);
        self.unsealed = 0;
    }

    /// True if there are records since the last seal, and a key to sign them.
    pub(crate) fn needs_seal(&self) -> bool {
        self.unsealed > 0 && self.key.is_some()
    }

    fn add_line(&mut self, time: Timestamp, body: &[u8], lines: &mut Lines) {
        let text = &mut lines.text;
        let start = text.len();
        let mut prev = [0; 2 * SHA256_OUTPUT_LEN];
        HEXLOWER.encode_mut(&self.prev, &mut prev);
        // Writing to memory cannot fail.
        let _ = write!(text, "{{\"v\":{VERSION},\"seq\":{},\"prev\":\"", self.seq);
        text.extend_from_slice(&prev);
        let _ = write!(text, "\",\"time\":\"{time:.6}\",");
        text.extend_from_slice(self.process.members.as_bytes());
        text.extend_from_slice(body.strip_prefix(b"{").unwrap_or(body));
        self.prev = hash(text.get(start..).unwrap_or_default());
        lines.ends.push((self.seq, text.len()));
        text.push(b'\n');
        self.seq += 1;
    }
}

/// A record as JSON on one line. Characters that are not shown are escaped, so that a terminal shows all
/// of them.
pub(crate) fn body(record: &impl serde::Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(USUAL_RECORD);
    // Serializing these types to memory cannot fail.
    let _ = serde_json::to_writer(&mut json, record);
    let json = String::from_utf8(json).unwrap_or_default();
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

    fn parse(line: &[u8]) -> Value {
        serde_json::from_slice(line).unwrap()
    }

    fn bytes(lines: &Lines) -> Vec<&[u8]> {
        lines.iter().map(|line| line.bytes).collect()
    }

    #[test]
    fn members_have_their_order_and_lines_their_chain() {
        let mut chain = chain(None);
        let mut lines = Lines::default();
        let time = Timestamp::from_microsecond(1_796_000_000_123_456).unwrap();
        for _ in 0..2 {
            chain.append(time, &body(&Event::Stop(Stop {})), &mut lines);
        }
        let zeros = "0".repeat(64);
        let first = format!(
            "{{\"v\":1,\"seq\":0,\"prev\":\"{zeros}\",\"time\":\"2026-11-30T00:53:20.123456Z\",\
             \"replica\":\"gate-0\",\"boot\":\"00ff\",\"type\":\"stop\"}}"
        );
        assert_eq!(String::from_utf8_lossy(bytes(&lines)[0]), first);
        assert_eq!(parse(bytes(&lines)[1])["prev"], HEXLOWER.encode(&hash(first.as_bytes())));
        assert_eq!(parse(bytes(&lines)[1])["seq"], 1);
    }

    #[test]
    fn seal_signs_the_hash_of_the_line_above() {
        let key = Arc::new(KeyPair::generate(KeyKind::User).unwrap());
        let mut chain = chain(Some(Arc::clone(&key)));
        let mut lines = Lines::default();
        let time = Timestamp::UNIX_EPOCH;
        for _ in 0..MAX_UNSEALED {
            chain.append(time, &body(&Event::Stop(Stop {})), &mut lines);
        }
        assert_eq!(lines.len(), 1001, "one seal");
        let seal = parse(bytes(&lines)[1000]);
        assert_eq!(seal["type"], "seal");
        let public = parse_public(seal["key"].as_str().unwrap(), &[KeyKind::User]).unwrap();
        let signature = BASE64URL_NOPAD.decode(seal["sig"].as_str().unwrap().as_bytes()).unwrap();
        assert!(public.verifies(&hash(bytes(&lines)[999]), &signature));
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
