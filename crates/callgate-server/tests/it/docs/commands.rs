//! Every `callgate` command on the pages exists, with all its flags.

use std::collections::BTreeSet;

use super::{assert_none, pages, quotes::blocks};

/// Commands with verbs of their own.
const GROUPS: [&str; 1] = ["users"];
const COMMON: [&str; 3] = ["--help", "-h", "--version"];

/// The names and flags of each command, such as `explain --user` or `users set --role`.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for row in include_str!("../frozen/commands.txt").lines() {
        let words: Vec<_> = row.split_whitespace().collect();
        let names = words.iter().take_while(|word| !word.starts_with('-') && **word != "value");
        let length = names.count().min(if GROUPS.contains(&words[0]) { 2 } else { 1 });
        let command = words[..length].join(" ");
        for flag in words.iter().filter(|word| word.starts_with('-')) {
            known.insert(format!("{command} {flag}"));
            // Flags of a group work in each of its verbs.
            known.insert(format!("{} {flag}", words[0]));
        }
        known.insert(command);
    }
    known
}

/// The commands in a block, each on one line.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.strip_prefix("$ ").unwrap_or(line));
    let parts = lines.flat_map(|line| line.split(['|', ';', '(', '`'])).map(str::trim);
    parts.filter(|part| part.starts_with("callgate ")).map(str::to_owned).collect()
}

fn unknown_words(command: &str, known: &BTreeSet<String>) -> Vec<String> {
    let code = command.split(" #").next().unwrap();
    let words: Vec<_> = code.split_whitespace().skip(1).collect();
    let Some(&name) = words.first().filter(|word| !word.starts_with('-')) else {
        return words
            .into_iter()
            .filter(|word| !COMMON.contains(word))
            .map(str::to_owned)
            .collect();
    };
    if name == "help" {
        return Vec::new();
    }
    let verb = words.get(1).filter(|_| GROUPS.contains(&name));
    let full = verb.map_or_else(|| name.to_owned(), |verb| format!("{name} {verb}"));
    let flags = words.iter().filter(|word| word.starts_with('-') && word.len() > 1);
    let flags =
        flags.map(|flag| flag.split('=').next().unwrap().trim_end_matches([')', '\'', '"']));
    let exists = |flag: &str| {
        COMMON.contains(&flag)
            || known.contains(&format!("{full} {flag}"))
            || known.contains(&format!("{name} {flag}"))
    };
    let mut unknown: Vec<_> = flags.filter(|flag| !exists(flag)).map(str::to_owned).collect();
    if !known.iter().any(|one| one.split(' ').next() == Some(name)) {
        unknown.insert(0, name.to_owned());
    }
    unknown
}

#[test]
fn every_command_on_the_pages_exists() {
    let known = known();
    let mut checked = 0;
    let mut errors = Vec::new();
    for page in pages() {
        for language in ["sh", "console", "bash"] {
            for (line, block) in blocks(&page.text, language) {
                for command in commands(block) {
                    checked += 1;
                    for word in unknown_words(&command, &known) {
                        errors.push(format!("{:?}:{line}: `{word}` in `{command}`", page.path));
                    }
                }
            }
        }
    }
    assert!(checked > 50, "{checked} commands were found");
    assert_none(errors);
}
