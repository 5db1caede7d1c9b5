use std::sync::Arc;

use callgate::keys::KeyPair;
use jiff::Timestamp;

use super::{
    super::{
        chain::{Chain, Lines, Process, body},
        event::{Event, LoadResult, Start, Stop, UsersLoad},
    },
    *,
};

/// A whole chain with this many records between start and stop.
fn chain(
    boot: &str,
    records: usize,
    key: Option<&Arc<KeyPair>>,
    after: Option<&[u8]>,
) -> Vec<Vec<u8>> {
    let mut chain = Chain::new(Process::new("gate", boot), key.map(Arc::clone));
    let mut lines = Lines::default();
    let now = Timestamp::UNIX_EPOCH;
    let after = after.map(|line| HEXLOWER.encode(&hash(line)));
    chain.append(now, &body(&Event::Start(Start { version: String::new(), after })), &mut lines);
    for index in 0..records {
        let users = UsersLoad { authenticator: index.to_string(), result: LoadResult::Loaded };
        chain.append(now, &body(&Event::Users(users)), &mut lines);
    }
    chain.append(now, &body(&Event::Stop(Stop {})), &mut lines);
    chain.seal(now, &mut lines);
    lines.iter().map(|line| line.bytes.to_vec()).collect()
}

fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate(KeyKind::User).unwrap())
}

fn text(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
}

fn verdict(key: Option<&Arc<KeyPair>>, files: &[(&str, Vec<u8>)]) -> Verdict {
    let mut verifier = Verifier::new(key.map(|key| key.public_key()));
    for (name, text) in files {
        verifier.read(name, text.as_slice()).unwrap();
    }
    verifier.finish()
}

#[track_caller]
fn assert_broken(key: Option<&Arc<KeyPair>>, lines: &[Vec<u8>], at: u64, what: &str) {
    let found = verdict(key, &[("audit.jsonl", text(lines))]).broken;
    let is_it = |broken: &Broken| broken.line == at && broken.what.contains(what);
    assert!(found.iter().any(is_it), "line {at}: {what}: {found:?}");
}

#[test]
fn whole_chain_is_proved_to_its_last_seal() {
    let key = key();
    let lines = chain("aa", 2500, Some(&key), None);
    let found = verdict(Some(&key), &[("audit.jsonl", text(&lines))]);
    assert_eq!(found.broken, []);
    let [chain] = found.chains.as_slice() else { panic!("{found:?}") };
    assert_eq!((chain.first, chain.last), (0, 2504));
    assert_eq!(chain.sealed, Some((2503, key.public_key())));
    assert!(chain.notes.is_empty(), "{chain:?}");
}

#[test]
fn every_kind_of_tampering_is_found_at_its_line() {
    let key = key();
    let lines = chain("aa", 20, Some(&key), None);
    let here = "a record was changed, removed or inserted here";

    let mut changed = lines.clone();
    let position = changed[6].len() - 3;
    changed[6][position] ^= 1;
    assert_broken(Some(&key), &changed, 8, here);

    let mut removed = lines.clone();
    removed.remove(6);
    assert_broken(Some(&key), &removed, 7, here);

    let mut inserted = lines.clone();
    inserted.insert(6, lines[5].clone());
    assert_broken(Some(&key), &inserted, 7, here);

    let mut swapped = lines.clone();
    swapped.swap(6, 7);
    assert_broken(Some(&key), &swapped, 7, here);

    let cut = &lines[..lines.len() - 1];
    assert_broken(Some(&key), cut, 22, "the seal after `stop` is missing");

    let mut garbage = lines.clone();
    garbage[3] = b"nonsense".to_vec();
    assert_broken(Some(&key), &garbage, 4, "not a record");
}

#[test]
fn rewritten_file_needs_the_key() {
    let key = key();
    let other = self::key();
    let forged = chain("aa", 20, Some(&other), None);
    assert_broken(Some(&key), &forged, 23, "sealed by another key");
    let unsealed = chain("aa", 20, None, None);
    assert_broken(Some(&key), &unsealed, 22, "the seal after `stop` is missing");
    let long = chain("aa", 3000, None, None);
    assert_broken(Some(&key), &long[..2000], 2000, "a seal is missing");
    // The seals of the original no longer match.
    let mut rewritten = chain("aa", 20, None, None);
    let original = chain("aa", 21, Some(&key), None);
    rewritten.push(original.last().unwrap().clone());
    assert!(!verdict(Some(&key), &[("a", text(&rewritten))]).broken.is_empty());
}

#[test]
fn cut_end_is_found_where_the_next_chain_joins() {
    let key = key();
    let first = chain("aa", 5, Some(&key), None);
    let second = chain("bb", 5, Some(&key), first.last().map(Vec::as_slice));
    let whole = [first.clone(), second.clone()].concat();
    assert_eq!(verdict(Some(&key), &[("a", text(&whole))]).broken, []);
    let cut = [first[..4].to_vec(), second.clone()].concat();
    assert_broken(Some(&key), &cut, 5, "`after` does not match line 4");
    // The same in two files.
    let apart = verdict(Some(&key), &[("a", text(&first)), ("b", text(&second))]);
    assert_eq!(apart.broken, []);
    assert!(apart.chains.iter().all(|chain| chain.notes.is_empty()), "{apart:?}");
}

#[test]
fn files_of_one_process_are_joined_in_any_order() {
    let key = key();
    let lines = chain("aa", 30, Some(&key), None);
    let part = |range: std::ops::Range<usize>| text(&lines[range]);
    let end = lines.len();
    let files = [("c", part(20..end)), ("a", part(0..10)), ("b", part(10..20))];
    let found = verdict(Some(&key), &files);
    assert_eq!((found.broken.as_slice(), found.chains.len()), (&[][..], 1));
    let missing = verdict(Some(&key), &[files[0].clone(), files[1].clone()]).broken;
    assert!(missing[0].what.contains("records 10 to 19 are missing"), "{missing:?}");
    let later = verdict(Some(&key), &[files[0].clone(), files[2].clone()]);
    assert!(later.chains[0].notes[0].contains("earlier records"), "{later:?}");
    assert_eq!(later.broken, [], "old files may be deleted");
}

#[test]
fn incomplete_last_line_is_reported() {
    let mut torn = text(&chain("aa", 3, None, None));
    torn.truncate(torn.len() - 5);
    let found = verdict(None, &[("a", torn)]).broken;
    assert!(found[0].what.contains("the last line is incomplete"), "{found:?}");
}

#[test]
fn large_numbers_have_commas() {
    for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (184_220, "184,220")] {
        assert_eq!(grouped(number), text);
    }
}
