//! The documentation agrees with the product: links, names, configurations, quoted output, attacks.
//!
//! `CALLGATE_BLESS=1 cargo test -p callgate-server --test it docs` rewrites quoted output in place.

mod attacks;
mod authenticators;
mod clients;
mod commands;
mod configuration_mode;
mod ledger;
mod migrate;
mod migration;
#[cfg(feature = "go-tools")]
mod quick_start;
mod quotes;
mod transcript;

use std::{collections::BTreeSet, fs, path::PathBuf};

use callgate_testkit::pages::checkout;

/// A Markdown page of this checkout.
struct Page {
    path: PathBuf,
    text: String,
}

fn page(path: PathBuf) -> Page {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    Page { path, text }
}

fn pages() -> Vec<Page> {
    let files = ["", "docs"].into_iter().flat_map(|folder| fs::read_dir(checkout(folder)).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    paths.sort();
    paths.into_iter().map(page).collect()
}

#[track_caller]
fn assert_none(errors: Vec<String>) {
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn every_link_leads_to_a_file_and_heading() {
    let mut errors = Vec::new();
    for page in pages() {
        for target in links(&prose(&page.text)) {
            let (name, anchor) = target.split_once('#').unwrap_or((&target, ""));
            if name.contains(':') {
                continue;
            }
            let file = match name {
                "" => page.path.clone(),
                name => page.path.parent().unwrap().join(name),
            };
            if !file.exists() {
                errors.push(format!("{:?}: no file for the link `{target}`", page.path));
            } else if !anchor.is_empty() && !anchors(&file).contains(anchor) {
                errors.push(format!("{:?}: no heading for the link `{target}`", page.path));
            }
        }
    }
    assert_none(errors);
}

/// The site shows what the contents list.
#[test]
fn every_page_is_in_the_contents() {
    let contents = page(checkout("docs/SUMMARY.md")).text;
    let listed: BTreeSet<_> = links(&contents).into_iter().collect();
    let names = pages().into_iter().filter(|page| page.path.parent() == Some(&checkout("docs")));
    let names = names.map(|page| page.path.file_name().unwrap().to_str().unwrap().to_owned());
    let missing = names.filter(|name| name != "SUMMARY.md" && !listed.contains(name));
    assert_none(missing.map(|name| format!("docs/SUMMARY.md does not list {name}")).collect());
}

/// nats-server before 2.15 misreads some passwords that begin with a digit (see `Secret::random`).
#[test]
fn every_generated_password_is_letters_only() {
    let mut recipes = 0;
    let mut errors = Vec::new();
    for page in pages() {
        for line in page.text.lines().filter(|line| line.contains("openssl rand")) {
            recipes += 1;
            if !line.contains("openssl rand -hex 24 | tr 0-9 g-p") {
                errors.push(format!("{:?}: `{line}` may print digits", page.path));
            }
        }
    }
    assert!(recipes > 0, "no page generates a password");
    assert_none(errors);
}

/// The text without fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        let fence = line.starts_with("```");
        fenced ^= fence;
        if !fenced && !fence {
            prose += line;
            prose.push('\n');
        }
    }
    prose
}

fn links(text: &str) -> Vec<String> {
    let ends = text.split("](").skip(1);
    let targets = ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains(char::is_whitespace)).map(str::to_owned).collect()
}

fn anchors(file: &std::path::Path) -> BTreeSet<String> {
    let text = prose(&page(file.to_owned()).text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || "_- ".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The first word of every row of a frozen list, which other tests compare with the product.
fn names(list: &str) -> BTreeSet<String> {
    list.lines().filter_map(|row| row.split_whitespace().next()).map(str::to_owned).collect()
}

/// The first cell of every table row that begins with a name in backticks.
fn rows(text: &str) -> BTreeSet<String> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let name = |cell: &str| {
        let end = cell.find(|c: char| !c.is_ascii_lowercase() && c != '_' && !c.is_ascii_digit());
        cell[..end.unwrap_or(cell.len())].to_owned()
    };
    cells.map(name).collect()
}

#[track_caller]
fn assert_documented(names: &BTreeSet<String>, documented: &BTreeSet<String>, page: &str) {
    let missing: Vec<_> = names.difference(documented).collect();
    let unknown: Vec<_> = documented.difference(names).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{page}: missing {missing:?}, unknown {unknown:?}"
    );
}

#[test]
fn every_reason_is_documented() {
    let text = page(checkout("docs/troubleshooting.md")).text;
    let (_, section) = text.split_once("\n## Reasons\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut documented = rows(section);
    if section.contains("`admitted`") {
        documented.insert("admitted".to_owned());
    }
    let reasons = names(include_str!("frozen/reasons.txt"));
    assert_documented(&reasons, &documented, "docs/troubleshooting.md");
}

#[test]
fn every_metric_is_documented() {
    let documented = rows(&page(checkout("docs/operations.md")).text);
    let metrics = documented.into_iter().filter(|name| name.starts_with("callgate_")).collect();
    assert_documented(&names(include_str!("frozen/metrics.txt")), &metrics, "docs/operations.md");
}

#[test]
fn every_command_is_documented() {
    let text = page(checkout("docs/commands.md")).text;
    let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    let is_command = |heading: &&str| heading.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let documented = headings.filter(is_command).map(str::to_owned).collect();
    assert_documented(&names(include_str!("frozen/commands.txt")), &documented, "docs/commands.md");
}
