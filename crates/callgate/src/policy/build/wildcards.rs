//! Warns where nats-server does not take a wildcard as it is written (measured, 2.10.26 to 2.15.1).

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::{fault::Findings, role::Role};

pub(super) fn warn_about(path: &str, role: &Role, found: &mut Findings) {
    warn_of_subscriptions(path, role, found);
    warn_of_neighbours(path, role, found);
}

/// A subscription's own wildcards are tokens like others, so that `*` at the end takes a `>`.
fn warn_of_subscriptions(path: &str, role: &Role, found: &mut Findings) {
    for (index, allow) in role.subscribe.allow.iter().enumerate() {
        let Some(widest) = allow.widest() else { continue };
        if let Some(prefix) = widest.subject().as_str().strip_suffix(".*") {
            let message = format!(
                "nats-server lets a subscription to `{prefix}.>` pass an allow that ends in `*`, \
                 and delivers all of it"
            );
            found.warn(format!("{path}.subscribe.allow[{index}]"), message);
        }
    }
}

/// Before 2.12 nats-server, having found the beginning of another allow in its tree, forgets the
/// `*` beside it: `x.*` and `x.b.c` do not open `x.b`.
fn warn_of_neighbours(path: &str, role: &Role, found: &mut Findings) {
    let samples: Vec<_> = role.publish.allow.iter().map(|allow| allow.sample()).collect();
    let texts: BTreeSet<&str> = samples.iter().flatten().map(|subject| subject.as_str()).collect();
    // By what stands before a literal token that is not the last one.
    let mut before: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, subject) in samples.iter().enumerate() {
        let Some(subject) = subject else { continue };
        let mut start = 0;
        for token in subject.tokens() {
            let end = start + token.len();
            let (prefix, upto) = (subject.as_str().get(..start), subject.as_str().get(..end));
            let is_last = end == subject.as_str().len();
            let literal = token != "*" && !is_last;
            if let (true, Some(prefix), Some(upto)) = (literal, prefix, upto)
                && !texts.contains(upto)
            {
                before.entry(prefix).or_insert(index);
            }
            start = end + 1;
        }
    }
    for (index, subject) in samples.iter().enumerate() {
        let prefix = subject.as_ref().and_then(|subject| subject.as_str().strip_suffix('*'));
        let Some(other) = prefix.and_then(|prefix| before.get(prefix)) else { continue };
        let Some(other) = role.publish.allow.get(*other) else { continue };
        let message = format!(
            "nats-server 2.10 and 2.11 refuse what is covered here and also begins `{}`: allow \
             that beginning by itself, too",
            other.text()
        );
        found.warn(format!("{path}.publish.allow[{index}]"), message);
    }
}
