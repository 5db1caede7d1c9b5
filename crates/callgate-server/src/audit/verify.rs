//! Verifies chains, seals and joins, without trusting anything but the keys.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, BufRead},
};

use callgate::keys::{KeyKind, VerifyingKey, parse_public};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::Deserialize;

use super::{
    chain::{Hash, MAX_UNSEALED, NO_HASH, hash},
    lines::RawHead,
};

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) what: String,
    /// The process; `None` if the line does not say.
    boot: Option<String>,
}

/// What is proved about one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proved {
    pub(crate) boot: String,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The last record that a seal covers, and the key of the seal.
    pub(crate) sealed: Option<(u64, String)>,
    /// What cannot be proved, in words.
    pub(crate) notes: Vec<String>,
    /// Nothing of it is broken.
    pub(crate) is_intact: bool,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// In the order of their first records.
    pub(crate) chains: Vec<Proved>,
    pub(crate) broken: Vec<Broken>,
}

/// Consecutive records of one process in one file.
#[derive(Debug)]
struct Segment {
    file: String,
    boot: String,
    first: Place,
    first_prev: Hash,
    last: Place,
    last_hash: Hash,
    /// The `after` of its start.
    after: Option<Hash>,
    /// A chain of another process ends right above it in the same file.
    is_joined: bool,
    /// Each seal, with its key.
    seals: Vec<(Place, String)>,
    stop: Option<Place>,
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    seq: u64,
    line: u64,
}

/// The members of a start or a seal.
#[derive(Debug, Deserialize)]
struct Details {
    after: Option<String>,
    sig: Option<String>,
    key: Option<String>,
}

/// Reads files, and then joins what it read.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    /// The only keys that may seal; any key if empty.
    expected: BTreeSet<String>,
    keys: HashMap<String, VerifyingKey>,
    segments: Vec<Segment>,
    broken: Vec<Broken>,
}

impl Verifier {
    /// With these public keys, only their seals count, and they must be there.
    pub(crate) fn new(expected: impl IntoIterator<Item = String>) -> Self {
        Self { expected: expected.into_iter().collect(), ..Self::default() }
    }

    /// Reads the lines of a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(&mut self, name: &str, source: impl BufRead) -> io::Result<()> {
        self.read_each(name, source, |_number, _line| {})
    }

    /// The same, and shows each line with its number. Whether the chain is intact is known only at the end.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read_each(
        &mut self,
        name: &str,
        mut source: impl BufRead,
        mut each: impl FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        let mut reading = Reading { name, line: 0, above: None, open: HashMap::new() };
        let mut line = Vec::with_capacity(4096);
        loop {
            line.clear();
            if source.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            reading.line += 1;
            match line.strip_suffix(b"\n") {
                Some(line) => self.check(line, &mut reading),
                None => self.report(
                    name,
                    None,
                    reading.line,
                    "the last line is incomplete: the process died while it wrote it, or the end was cut off",
                ),
            }
            each(reading.line, &line);
        }
        self.segments.extend(reading.open.into_values());
        Ok(())
    }

    fn report(&mut self, file: &str, boot: Option<&str>, line: u64, what: impl Into<String>) {
        let boot = boot.map(str::to_owned);
        self.broken.push(Broken { file: file.to_owned(), line, what: what.into(), boot });
    }

    fn check(&mut self, line: &[u8], reading: &mut Reading<'_>) {
        let number = reading.line;
        let name = reading.name;
        let Some((head, prev)) = RawHead::of(line).and_then(|it| Some((it, it.prev_hash()?)))
        else {
            self.report(name, None, number, "not a record: it was changed or inserted");
            reading.above = None;
            return;
        };
        let own = hash(line);
        let place = Place { seq: head.seq, line: number };
        let above = reading.above.replace(own);
        let boot = String::from_utf8_lossy(head.boot).into_owned();
        if let Some(segment) = reading.open.get_mut(&boot) {
            let expected = Place { seq: segment.last.seq + 1, line: number };
            if prev != segment.last_hash {
                let last = segment.last.line;
                let what = format!(
                    "`prev` does not match line {last}: a record was changed, removed or inserted here"
                );
                self.report(name, Some(&boot), number, what);
            } else if place != expected {
                let what = format!("`seq` is not {}", expected.seq);
                self.report(name, Some(&boot), number, what);
            }
            segment.last = place;
            segment.last_hash = own;
        } else {
            if head.seq == 0 && prev != NO_HASH {
                self.report(
                    name,
                    Some(&boot),
                    number,
                    "`prev` of the first record of a chain is not zero",
                );
            }
            reading.open.insert(
                boot.clone(),
                Segment {
                    file: name.to_owned(),
                    boot: boot.clone(),
                    first: place,
                    first_prev: prev,
                    last: place,
                    last_hash: own,
                    after: None,
                    is_joined: false,
                    seals: Vec::new(),
                    stop: None,
                },
            );
        }
        let Some(segment) = reading.open.get_mut(&boot) else { return };
        match head.kind {
            b"start" => self.check_start(line, place, above, segment),
            b"seal" => self.check_seal(line, place, &prev, segment),
            b"stop" => segment.stop = Some(place),
            _ => {}
        }
    }

    /// A start names the last line of the process before it in the same file.
    fn check_start(
        &mut self,
        line: &[u8],
        place: Place,
        above: Option<Hash>,
        segment: &mut Segment,
    ) {
        let details: Option<Details> = serde_json::from_slice(line).ok();
        let after = details.and_then(|details| parse_hash(&details.after?));
        segment.after = after;
        let Some((above, after)) = above.zip(after) else { return };
        segment.is_joined = true;
        if above != after {
            let what = format!(
                "`after` does not match line {}: the end of the previous chain was cut off or changed",
                place.line - 1
            );
            self.report(&segment.file, None, place.line, what);
        }
    }

    fn check_seal(&mut self, line: &[u8], place: Place, signed: &Hash, segment: &mut Segment) {
        let file = segment.file.clone();
        let boot = segment.boot.clone();
        let boot = Some(boot.as_str());
        let details: Option<Details> = serde_json::from_slice(line).ok();
        let parts = details.and_then(|details| Some((details.sig?, details.key?)));
        let Some((sig, key)) = parts else {
            return self.report(&file, boot, place.line, "the seal has no `sig` or `key`");
        };
        if !self.expected.is_empty() && !self.expected.contains(&key) {
            let key = key.escape_debug();
            return self.report(&file, boot, place.line, format!("sealed by another key: {key}"));
        }
        match self.is_signed_by(&key, signed, &sig) {
            true => segment.seals.push((place, key)),
            false => self.report(
                &file,
                boot,
                place.line,
                "the seal does not match: records above it were rewritten",
            ),
        }
    }

    fn is_signed_by(&mut self, key: &str, signed: &Hash, sig: &str) -> bool {
        if !self.keys.contains_key(key) {
            let Ok(parsed) = parse_public(key, &[KeyKind::User]) else { return false };
            self.keys.insert(key.to_owned(), parsed);
        }
        let signature = BASE64URL_NOPAD.decode(sig.as_bytes());
        let key = self.keys.get(key);
        key.zip(signature.ok()).is_some_and(|(key, signature)| key.verifies(signed, &signature))
    }

    /// Joins the files, and checks that every chain is whole.
    pub(crate) fn finish(mut self) -> Verdict {
        let mut chains: BTreeMap<String, Vec<Segment>> = BTreeMap::new();
        for segment in std::mem::take(&mut self.segments) {
            chains.entry(segment.boot.clone()).or_default().push(segment);
        }
        let ends: BTreeSet<Hash> = chains.values().flatten().map(|it| it.last_hash).collect();
        let mut proved = Vec::new();
        for (boot, mut segments) in chains {
            segments.sort_by_key(|segment| (segment.first.seq, segment.last.seq));
            self.join(&segments);
            proved.extend(self.prove(boot, &segments, &ends));
        }
        self.broken.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        Verdict { chains: proved, broken: self.broken }
    }

    /// Checks that each file continues where the one before it ends.
    fn join(&mut self, segments: &[Segment]) {
        for (before, segment) in segments.iter().zip(segments.iter().skip(1)) {
            let next = before.last.seq + 1;
            let first = segment.first;
            let what = if first.seq == next && segment.first_prev != before.last_hash {
                format!("`prev` does not match the last line of {}", before.file)
            } else if first.seq > next {
                format!("records {next} to {} are missing before this line", first.seq - 1)
            } else if first.seq < next && segment.last_hash != before.last_hash {
                format!("{} has other records with the same numbers", before.file)
            } else {
                continue;
            };
            self.report(&segment.file, Some(&segment.boot), first.line, what);
        }
    }

    fn prove(
        &mut self,
        boot: String,
        segments: &[Segment],
        ends: &BTreeSet<Hash>,
    ) -> Option<Proved> {
        let first = segments.first()?;
        let last = segments.iter().max_by_key(|segment| segment.last.seq)?;
        let mut notes = Vec::new();
        if first.first.seq > 0 {
            notes.push("earlier records are not among these files".to_owned());
        }
        if first.after.is_some_and(|after| !first.is_joined && !ends.contains(&after)) {
            notes.push("the chain before it is not among these files".to_owned());
        }
        let seals: Vec<(&Segment, Place)> = segments
            .iter()
            .flat_map(|segment| segment.seals.iter().map(move |(place, _)| (segment, *place)))
            .collect();
        let sealing = segments.iter().flat_map(|segment| &segment.seals);
        let sealed = sealing.max_by_key(|(place, _)| *place);
        if !self.expected.is_empty() || sealed.is_some() {
            self.require_seals(first, last, segments, &seals);
        }
        let sealed_to = sealed.map_or(0, |(place, _)| place.seq);
        let sealed = sealed.map(|(place, key)| (place.seq.saturating_sub(1), key.clone()));
        let open = last.last.seq.saturating_sub(sealed_to);
        match sealed {
            None => notes.push("not sealed: only chained".to_owned()),
            Some(_) if open > 0 => {
                let records = if open == 1 { "record" } else { "records" };
                let are = if open == 1 { "is" } else { "are" };
                let open = grouped(open);
                notes.push(format!("{open} {records} after the last seal {are} only chained"));
            }
            Some(_) => {}
        }
        let is_of = |broken: &Broken| match &broken.boot {
            Some(of) => *of == boot,
            None => segments.iter().any(|segment| segment.file == broken.file),
        };
        let is_intact = !self.broken.iter().any(is_of);
        let first = first.first.seq;
        let last = last.last.seq;
        Some(Proved { boot, first, last, sealed, notes, is_intact })
    }

    /// A process with a key seals at least every thousand records, and at its stop.
    fn require_seals(
        &mut self,
        first: &Segment,
        last: &Segment,
        segments: &[Segment],
        seals: &[(&Segment, Place)],
    ) {
        let mut unsealed_from = first.first.seq;
        let ends = seals.iter().map(|(segment, place)| (*segment, *place));
        for (segment, place) in ends.chain([(last, last.last)]) {
            if place.seq.saturating_sub(unsealed_from) > MAX_UNSEALED + 1 {
                let what = format!("a seal is missing between {unsealed_from} and {}", place.seq);
                self.report(&segment.file, Some(&segment.boot), place.line, what);
            }
            unsealed_from = place.seq;
        }
        for segment in segments {
            let Some(stop) = segment.stop else { continue };
            if !seals.iter().any(|(_, place)| place.seq == stop.seq + 1) {
                self.report(
                    &segment.file,
                    Some(&segment.boot),
                    stop.line,
                    "the seal after `stop` is missing: the end was cut off, or the file was rewritten",
                );
            }
        }
    }
}

/// The state of reading one file.
struct Reading<'a> {
    name: &'a str,
    line: u64,
    /// The hash of the line above, of whatever process.
    above: Option<Hash>,
    open: HashMap<String, Segment>,
}

fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = NO_HASH;
    let length = HEXLOWER.decode_len(text.len()).ok().filter(|length| *length == hash.len())?;
    HEXLOWER.decode_mut(text.as_bytes(), hash.get_mut(..length)?).ok()?;
    Some(hash)
}

/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
