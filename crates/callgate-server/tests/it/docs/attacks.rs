//! The ledger of attacks names tests that exist.
//!
//! - Every attack has a test, except for those that are listed as not built.
//! - Every test that the ledger or the threat model names exists in the file that its prefix stands for.
//! - Every attack is listed once, and the numbers of each letter have no gap, except for `B`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use callgate_testkit::pages::checkout;

use super::{assert_none, page};

const LEDGER: &str = "docs/known-attacks.md";
const PAGES: [&str; 2] = [LEDGER, "docs/threat-model.md"];

#[test]
fn every_attack_has_existing_tests() {
    let ledger = page(checkout(LEDGER)).text;
    let mut errors = Vec::new();
    let mut attacks: BTreeMap<(char, u32), usize> = BTreeMap::new();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut heading = "";
    for line in ledger.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text.trim();
        }
        let Some(cells) = line.strip_prefix("| ") else { continue };
        let Some((first, rest)) = cells.split_once('|') else { continue };
        let first = first.trim();
        if let Some(attack) = attack(first) {
            *attacks.entry(attack).or_default() += 1;
            match (heading == "Not built yet", tests(rest).is_empty()) {
                (true, false) => {
                    errors.push(format!("{first} is listed as not built, and has a test"))
                }
                (false, true) => errors.push(format!("{first} has no test")),
                (true, true) | (false, false) => (),
            }
        } else if heading == "Where the tests are" && rest.contains(".rs`") {
            files.insert(first.to_owned(), rest.trim_matches([' ', '`', '|']).to_owned());
        }
    }
    errors.extend(gaps(&attacks));
    let mut used = BTreeSet::new();
    for name in PAGES {
        for (prefix, test) in tests(&page(checkout(name)).text) {
            let exists = files.get(&prefix).map(|file| tests_in(file).contains(&test));
            match exists {
                Some(true) => (),
                Some(false) => {
                    errors.push(format!("{name}: no test `{test}` in {}", files[&prefix]))
                }
                None => errors.push(format!("{name}: no file is listed for `{prefix}::{test}`")),
            }
            used.insert(prefix);
        }
    }
    let unused = files.keys().filter(|prefix| !used.contains(*prefix));
    errors.extend(unused.map(|prefix| format!("the file `{prefix}` is listed and not used")));
    assert!(!attacks.is_empty(), "{LEDGER} has no attacks");
    assert_none(errors);
}

/// The letter and number of an attack, such as `T12`.
fn attack(text: &str) -> Option<(char, u32)> {
    let letter = text.chars().next().filter(char::is_ascii_uppercase)?;
    Some((letter, text[1..].parse().ok()?))
}

fn gaps(attacks: &BTreeMap<(char, u32), usize>) -> Vec<String> {
    let repeated = attacks.iter().filter(|(_, times)| **times > 1);
    let mut errors: Vec<_> = repeated
        .map(|((letter, number), _)| format!("{letter}{number} is listed more than once"))
        .collect();
    for &(letter, number) in attacks.keys() {
        // The attacks on backends (`B`) were numbered before the backends were built.
        if letter != 'B' && number > 1 && !attacks.contains_key(&(letter, number - 1)) {
            errors.push(format!("{letter}{} is missing", number - 1));
        }
    }
    errors
}

/// Every `prefix::test` in backticks.
fn tests(text: &str) -> Vec<(String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    };
    let named = quoted.filter_map(|code| code.split_once("::"));
    let named = named.filter(|(prefix, test)| is_word(prefix) && is_word(test));
    named.map(|(prefix, test)| (prefix.to_owned(), test.to_owned())).collect()
}

/// The functions of a file that have a test attribute.
fn tests_in(file: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(checkout(file)).unwrap_or_default();
    let mut tests = BTreeSet::new();
    let mut pending = false;
    for line in source.lines().map(str::trim_start) {
        let attribute = line.strip_prefix("#[").and_then(|rest| rest.split(['(', ']']).next());
        if attribute.is_some_and(|path| path == "test" || path.ends_with("::test")) {
            pending = true;
        } else if let Some((_, name)) = line.split_once("fn ").filter(|_| pending) {
            tests.insert(name.split('(').next().unwrap().to_owned());
            pending = false;
        }
    }
    tests
}
