//! The members that every line begins with, read without parsing the rest.

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use super::chain::{Hash, NO_HASH};

/// The first members of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) prev: Hash,
    pub(crate) time: Timestamp,
    pub(crate) boot: String,
    pub(crate) kind: String,
}

/// The same, borrowed from the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawHead<'a> {
    pub(crate) seq: u64,
    pub(crate) prev: &'a [u8],
    pub(crate) time: &'a [u8],
    /// The member `replica` as JSON.
    pub(crate) replica: &'a [u8],
    pub(crate) boot: &'a [u8],
    pub(crate) kind: &'a [u8],
}

impl<'a> RawHead<'a> {
    /// `None` if the line does not begin with the members of a record, in their order.
    pub(crate) fn of(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"v\":1,\"seq\":")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (seq, rest) = rest.split_at_checked(digits)?;
        let seq = std::str::from_utf8(seq).ok()?.parse().ok()?;
        let (prev, rest) = rest.strip_prefix(b",\"prev\":\"")?.split_at_checked(64)?;
        let rest = rest.strip_prefix(b"\",\"time\":\"")?;
        let (time, rest) = until(rest, b'"')?;
        let rest = rest.strip_prefix(b",\"replica\":\"")?;
        let (replica, rest) = until_quote(rest)?;
        let rest = rest.strip_prefix(b",\"boot\":\"")?;
        let (boot, rest) = until(rest, b'"')?;
        let rest = rest.strip_prefix(b",\"type\":\"")?;
        let (kind, _) = until(rest, b'"')?;
        line.last().filter(|last| **last == b'}')?;
        Some(Self { seq, prev, time, replica, boot, kind })
    }

    pub(crate) fn prev_hash(&self) -> Option<Hash> {
        let mut hash = NO_HASH;
        HEXLOWER.decode_mut(self.prev, &mut hash).ok()?;
        Some(hash)
    }
}

/// The first members of a line; `None` if it is not a record.
pub(crate) fn head(line: &[u8]) -> Option<Head> {
    let raw = RawHead::of(line)?;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some(Head {
        seq: raw.seq,
        prev: raw.prev_hash()?,
        time: text(raw.time)?.parse().ok()?,
        boot: text(raw.boot)?,
        kind: text(raw.kind)?,
    })
}

/// What is before and after the first `end`.
fn until(bytes: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == end)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// What is before and after the quote that ends a JSON string.
fn until_quote(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let at = bytes.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::{Chain, Lines, Process, body};
    use crate::audit::event::{Event, Stop};

    #[test]
    fn head_of_a_line_is_read_back() {
        let mut chain = Chain::new(Process::new("gate \"0\\", "00ff"), None);
        let mut lines = Lines::default();
        let time: Timestamp = "2026-11-29T10:02:11.000001Z".parse().unwrap();
        chain.append(time, &body(&Event::Stop(Stop {})), &mut lines);
        let head = head(lines.iter().next().unwrap().bytes).unwrap();
        assert_eq!((head.seq, head.prev, head.time), (0, NO_HASH, time));
        assert_eq!((head.boot.as_str(), head.kind.as_str()), ("00ff", "stop"));
    }

    #[test]
    fn other_lines_have_no_head() {
        for line in ["", "{}", "{\"v\":2,\"seq\":0}", "{\"v\":1,\"seq\":0,\"prev\":\"x\"}"] {
            assert_eq!(head(line.as_bytes()), None, "{line}");
        }
    }
}
