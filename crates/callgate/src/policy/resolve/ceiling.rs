//! Enforces the ceiling: requests of outside data beyond it are dropped, counted and reported.

use super::{
    budget::OverBudget,
    fill::ValueRule,
    inputs::Inputs,
    trace::{Step, Trace},
};
use crate::{
    permissions::{Permissions, Responses, Rules},
    policy::{
        compile::ceiling::{Ceiling, CeilingAccount},
        grant::CeilingDrops,
    },
    subject::{SubjectPattern, SubscribePattern, is_reserved_first_token},
    template::Pattern,
};

/// Comparing two subjects token by token, in units of the budget.
const UNITS_PER_COMPARISON: u64 = 8;

/// Requested permissions after clipping.
pub(super) struct Clipped {
    pub(super) permissions: Permissions,
    /// True if allows were requested and none is left.
    pub(super) nothing_left: bool,
}

/// Counts what the ceiling drops, and traces it.
pub(super) struct DropRecorder<'a, T> {
    pub(super) drops: &'a mut CeilingDrops,
    pub(super) trace: &'a mut T,
}

/// What would have to change so that a request is not dropped.
pub(super) struct Missing {
    pub(super) key: &'static str,
    /// `None` if no entry can allow it.
    pub(super) entry: Option<String>,
    pub(super) because: &'static str,
}

impl<T: Trace> DropRecorder<'_, T> {
    pub(super) fn add(
        &mut self,
        kind: &'static str,
        requested: &str,
        missing: impl FnOnce() -> Missing,
    ) {
        self.drops.add(kind, requested);
        self.trace.record(|| {
            let Missing { key, entry, because } = missing();
            let requested = requested.to_owned();
            Step::Dropped { kind, requested, key, missing: entry, because }
        });
    }
}

impl Ceiling {
    pub(super) fn allows_role(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role == name)
    }

    pub(super) fn allows_account(&self, name: &str, inputs: &Inputs<'_>) -> bool {
        self.accounts.iter().any(|account| match account {
            CeilingAccount::Pattern(pattern) => pattern.matches(name),
            // A template without a safe value allows nothing.
            CeilingAccount::Template(template) => template
                .fill(inputs, ValueRule::Token)
                .is_ok_and(|names| names.iter().any(|allowed| allowed == name)),
        })
    }

    /// Keeps the part of `requested` that is within the ceiling. Denies are never dropped.
    ///
    /// # Errors
    /// If there are too many rules to compare.
    pub(super) fn clip<T: Trace>(
        &self,
        requested: &Permissions,
        inputs: &Inputs<'_>,
        mut dropped: DropRecorder<'_, T>,
    ) -> Result<Clipped, OverBudget> {
        let Permissions { publish, subscribe, responses } = requested;
        let before = publish.allow.len() + subscribe.allow.len() + usize::from(responses.is_some());
        let permissions = Permissions {
            publish: Rules {
                allow: within(&publish.allow, &self.publish, inputs, PUBLISH, &mut dropped)?,
                deny: publish.deny.clone(),
            },
            subscribe: Rules {
                allow: within(&subscribe.allow, &self.subscribe, inputs, SUBSCRIBE, &mut dropped)?,
                deny: subscribe.deny.clone(),
            },
            responses: self.clip_responses(*responses, &mut dropped),
        };
        let left = permissions.publish.allow.len()
            + permissions.subscribe.allow.len()
            + usize::from(permissions.responses.is_some());
        Ok(Clipped { permissions, nothing_left: before > 0 && left == 0 })
    }

    fn clip_responses<T: Trace>(
        &self,
        requested: Option<Responses>,
        dropped: &mut DropRecorder<'_, T>,
    ) -> Option<Responses> {
        let requested = requested?;
        if self.responses.is_none() {
            dropped.add("responses", &requested.to_string(), || Missing {
                key: "ceiling.responses",
                entry: Some("true".to_owned()),
                because: "the ceiling has no responses",
            });
        }
        self.responses.map(|ceiling| ceiling.narrowest(requested))
    }
}

/// A rule that a ceiling entry may or may not cover.
trait CeilingRule:
    Clone + std::fmt::Display + std::str::FromStr<Err = crate::subject::SubjectError>
{
    fn subject(&self) -> &SubjectPattern;
    fn covered_by(&self, entry: &Self) -> bool;
}

impl CeilingRule for SubjectPattern {
    fn subject(&self) -> &SubjectPattern {
        self
    }

    fn covered_by(&self, entry: &Self) -> bool {
        entry.covers(self)
    }
}

impl CeilingRule for SubscribePattern {
    fn subject(&self) -> &SubjectPattern {
        SubscribePattern::subject(self)
    }

    fn covered_by(&self, entry: &Self) -> bool {
        entry.covers(self)
    }
}

/// One direction, and the list of the ceiling that bounds it.
type Side = (&'static str, &'static str);
const PUBLISH: Side = ("publish", "ceiling.publish");
const SUBSCRIBE: Side = ("subscribe", "ceiling.subscribe");

fn within<T: Trace, P: CeilingRule>(
    requested: &[P],
    entries: &[Pattern<P>],
    inputs: &Inputs<'_>,
    (side, key): Side,
    dropped: &mut DropRecorder<'_, T>,
) -> Result<Vec<P>, OverBudget> {
    if requested.is_empty() {
        return Ok(Vec::new());
    }
    // A template without a safe value allows nothing.
    let entries: Vec<P> =
        entries.iter().filter_map(|entry| entry.fill(inputs).ok()).flatten().collect();
    let pairs = requested.len().saturating_mul(entries.len());
    inputs.budget.spend((pairs as u64).saturating_mul(UNITS_PER_COMPARISON))?;
    let (kept, beyond): (Vec<&P>, Vec<&P>) =
        requested.iter().partition(|rule| entries.iter().any(|entry| covers(entry, *rule)));
    for rule in beyond {
        let text = rule.to_string();
        dropped.add(side, &text, || missing(key, &entries, rule));
    }
    Ok(kept.into_iter().cloned().collect())
}

fn missing<P: CeilingRule>(key: &'static str, entries: &[P], rule: &P) -> Missing {
    let subject = rule.subject();
    let entry = Some(rule.to_string());
    if !subject.reaches_reserved_space() {
        return Missing { key, entry, because: "no single entry covers it" };
    }
    match is_reserved_first_token(subject.first_token()) {
        true if entries.iter().any(|entry| rule.covered_by(entry)) => Missing {
            key,
            entry,
            because: "only an entry with the same literal first token covers it",
        },
        true => Missing { key, entry, because: "no single entry covers it" },
        false => Missing {
            key,
            entry: None,
            because: "it also matches subjects that begin with `$`, `_INBOX` or `_REPLY`: request \
                      narrower subjects",
        },
    }
}

/// True if every subject of `rule` is covered by `entry`. Subjects of nats-server and replies
/// (`$…`, `_INBOX…`, `_REPLY…`) are covered only by an entry with the same literal first token.
fn covers<T: CeilingRule>(entry: &T, rule: &T) -> bool {
    let first = rule.subject().first_token();
    let same_reserved_token =
        is_reserved_first_token(first) && entry.subject().first_token() == first;
    rule.covered_by(entry) && (!rule.subject().reaches_reserved_space() || same_reserved_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_covers_only_rules_within_one_entry() {
        let table = [
            ("a.>", "a.b", true),
            ("a.>", "a.*", true),
            ("a.b", "a.*", false),
            ("a.>", "a", false),
            (">", "a.b", true),
            (">", ">", false),
            (">", "*.x", false),
            (">", "_INBOX.>", false),
            (">", "$SYS.>", false),
            ("*.x", "*.x", false),
            ("_INBOX.>", "_INBOX.a", true),
            ("_INBOX.>", "_INBOX_a.b", false),
            ("$JS.API.>", "$JS.API.INFO", true),
            ("foo", "foo queue", true),
            ("foo queue", "foo", false),
        ];
        for (entry, rule, expected) in table {
            let (entry, rule): (SubscribePattern, SubscribePattern) =
                (entry.parse().unwrap(), rule.parse().unwrap());
            assert_eq!(covers(&entry, &rule), expected, "{entry} covers {rule}");
        }
    }
}
