//! Compares permissions to subscribe, for every queue group.

use std::collections::BTreeSet;

use super::{Reached, SideDifference, SubjectReach};
use crate::{
    permissions::{Permissions, Rules},
    subject::{SubjectPattern, SubscribePattern},
    subject_set::{SubjectRange, SubjectSet},
};

/// More queue groups than any ordinary policy names.
const MAX_GROUPS: usize = 256;

pub(super) fn difference(
    old: &Rules<SubscribePattern>,
    new: &Rules<SubscribePattern>,
) -> SideDifference {
    let between = |queue: Option<&SubjectPattern>| {
        let old = old.subscribe_set(queue);
        let new = new.subscribe_set(queue);
        (new.minus(&old), old.minus(&new))
    };
    let (gained, lost) = between(None);
    let mut difference =
        SideDifference { gained: gained.clone().reached(), lost: lost.clone().reached() };
    for group in groups(&[old, new]) {
        let (more, less) = between(Some(&group.sample));
        let add =
            |into: &mut Vec<SubjectReach>, ranges: Vec<SubjectRange>, known: &[SubjectRange]| {
                // What differs without a group, too, is already said.
                let ranges = ranges.into_iter().filter(|range| !known.contains(range));
                into.extend(
                    ranges.map(|range| SubjectReach { range, queue: Some(group.name.clone()) }),
                );
            };
        add(&mut difference.gained, more, &gained);
        add(&mut difference.lost, less, &lost);
    }
    difference
}

/// A queue group that rules treat in its own way.
struct Group {
    /// For people; `*` for a group that no rule names.
    name: SubjectPattern,
    /// A group of this kind.
    sample: SubjectPattern,
}

/// A group for each way in which the rules can treat one, if they name any.
fn groups(rules: &[&Rules<SubscribePattern>]) -> Vec<Group> {
    let all = rules.iter().flat_map(|rules| rules.allow.iter().chain(&rules.deny));
    let named: BTreeSet<&SubjectPattern> = all.filter_map(SubscribePattern::queue).collect();
    if named.is_empty() {
        return Vec::new();
    }
    let named: Vec<SubjectPattern> = named.into_iter().take(MAX_GROUPS).cloned().collect();
    let mut groups: Vec<Group> = Vec::new();
    for name in &named {
        // A member that no other rule names, if there is one.
        let others: Vec<_> = named.iter().filter(|other| !other.covers(name)).cloned().collect();
        let own = SubjectSet::from(name.clone());
        let alone = own.find_outside(&SubjectSet::allowing(&others, &[])).ok().flatten();
        let member = alone.or_else(|| own.find_common(&own).ok().flatten());
        groups.extend(
            member.map(|member| Group { name: name.clone(), sample: member.as_pattern().clone() }),
        );
    }
    let unnamed = SubjectSet::everything().find_outside(&SubjectSet::allowing(&named, &[]));
    let has_star = named.iter().any(|name| name.as_str() == "*");
    if let (Ok(Some(sample)), Ok(name)) = (unnamed, if has_star { ">" } else { "*" }.parse()) {
        groups.push(Group { name, sample: sample.as_pattern().clone() });
    }
    groups
}

impl Rules<SubscribePattern> {
    /// The subjects whose messages some subscription can receive, in any queue group or without one.
    pub fn reachable_set(&self) -> SubjectSet {
        let with_group =
            groups(&[self]).into_iter().map(|group| self.subscribe_set(Some(&group.sample)));
        with_group.fold(self.subscribe_set(None), SubjectSet::or)
    }

    /// False only if no subscription can receive a message to a subject that `wanted` matches, neither in any
    /// queue group nor because nats-server allows more than is written ([`Rules::widened`]). Costs much less
    /// than a comparison of sets.
    pub fn may_reach(&self, wanted: &SubjectPattern) -> bool {
        self.allow.iter().any(|allow| meets_broadly(allow.subject(), wanted))
    }

    /// The rules with what nats-server allows beyond them: a final `*` of an allow also permits a
    /// subscription that ends in `>` (nats-server `sublist.go`, `matchLevel`).
    #[must_use]
    pub fn widened(&self) -> Self {
        let wider = self.allow.iter().filter_map(|allow| {
            let start = allow.subject().as_str().strip_suffix('*')?;
            let queue = allow.queue().map(|queue| format!(" {queue}")).unwrap_or_default();
            format!("{start}>{queue}").parse().ok()
        });
        let allow = wider.chain(self.allow.iter().cloned()).collect();
        Self { allow, deny: self.deny.clone() }
    }

    /// The subjects whose messages a subscription in `queue`, or without a group, can receive.
    ///
    /// Allows with a group take precedence for the subjects that they match (nats-server `client.go`,
    /// `canSubscribe`).
    pub fn subscribe_set(&self, queue: Option<&SubjectPattern>) -> SubjectSet {
        let subjects = |list: &[SubscribePattern], wanted: &dyn Fn(&SubscribePattern) -> bool| {
            list.iter().filter(|rule| wanted(rule)).map(|rule| rule.subject().clone()).collect()
        };
        let applies = |rule: &SubscribePattern| match (rule.queue(), queue) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(group), Some(queue)) => group.covers(queue),
        };
        let deny: Vec<SubjectPattern> = subjects(&self.deny, &applies);
        let grouped: Vec<SubjectPattern> = subjects(&self.allow, &|rule| rule.queue().is_some());
        let open: Vec<SubjectPattern> = subjects(&self.allow, &|rule| rule.queue().is_none());
        if queue.is_none() {
            return SubjectSet::allowing(&open, &deny);
        }
        let own = subjects(&self.allow, &|rule| rule.queue().is_some() && applies(rule));
        let beside = [&*deny, &*grouped].concat();
        SubjectSet::allowing(&own, &deny).or(SubjectSet::allowing(&open, &beside))
    }
}

/// Whether a subject exists that both match, where a final `*` of the allow counts like `>`.
fn meets_broadly(allow: &SubjectPattern, wanted: &SubjectPattern) -> bool {
    let Some(start) = allow.as_str().strip_suffix('*') else { return allow.overlaps(wanted) };
    let mut tokens = wanted.tokens();
    for own in start.split_terminator('.') {
        match (own, tokens.next()) {
            (_, Some(">")) => return true,
            ("*", Some(_)) | (_, Some("*")) => {}
            (own, Some(token)) if own == token => {}
            (_, Some(_) | None) => return false,
        }
    }
    tokens.next().is_some()
}

impl Permissions {
    /// Every permission inside an account.
    pub fn everything() -> Self {
        Self {
            publish: Rules { allow: vec![SubjectPattern::everything()], deny: Vec::new() },
            subscribe: Rules { allow: vec![SubscribePattern::everything()], deny: Vec::new() },
            responses: None,
        }
    }
}
