//! Warns where nats-server interprets a wildcard in an unexpected way (measured, 2.10.26 to 2.15.1).

use std::collections::{BTreeMap, BTreeSet};

use super::{findings::Findings, role::Role};

pub(super) fn warn_about_role(path: &str, role: &Role, findings: &mut Findings) {
    warn_trailing_wildcard(path, role, findings);
    warn_hidden_wildcard(path, role, findings);
}

/// nats-server matches the wildcards of a subscription as tokens, so a final `*` of an allow also
/// accepts `>`.
fn warn_trailing_wildcard(path: &str, role: &Role, findings: &mut Findings) {
    for (index, allow) in role.subscribe.allow.iter().enumerate() {
        let Some(widest) = allow.widest() else { continue };
        if let Some(prefix) = widest.subject().as_str().strip_suffix(".*") {
            let message = format!(
                "nats-server accepts a subscription to `{prefix}.>` if an allow ends in `*`, and \
                 delivers all of it"
            );
            findings.warn(format!("{path}.subscribe.allow[{index}]"), message);
        }
    }
}

/// nats-server before 2.12 ignores a `*` if another allow has a literal token in its place and
/// continues: `x.*` and `x.b.c` do not allow `x.b`.
fn warn_hidden_wildcard(path: &str, role: &Role, findings: &mut Findings) {
    let samples: Vec<_> = role.publish.allow.iter().map(|allow| allow.sample()).collect();
    let texts: BTreeSet<&str> = samples.iter().flatten().map(|subject| subject.as_str()).collect();
    // By the text before a literal token that is not the last one.
    let mut by_prefix: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, subject) in samples.iter().enumerate() {
        let Some(subject) = subject else { continue };
        let mut start = 0;
        for token in subject.tokens() {
            let end = start + token.len();
            let (prefix, through) = (subject.as_str().get(..start), subject.as_str().get(..end));
            let is_last = end == subject.as_str().len();
            let literal = token != "*" && !is_last;
            if let (true, Some(prefix), Some(through)) = (literal, prefix, through)
                && !texts.contains(through)
            {
                by_prefix.entry(prefix).or_insert(index);
            }
            start = end + 1;
        }
    }
    for (index, subject) in samples.iter().enumerate() {
        let prefix = subject.as_ref().and_then(|subject| subject.as_str().strip_suffix('*'));
        let Some(other) = prefix.and_then(|prefix| by_prefix.get(prefix)) else { continue };
        let Some(other) = role.publish.allow.get(*other) else { continue };
        let message = format!(
            "nats-server 2.10 and 2.11 refuse subjects of this allow that are also a prefix of `{}`: \
             allow that prefix separately",
            other.text()
        );
        findings.warn(format!("{path}.publish.allow[{index}]"), message);
    }
}
