//! The differences between roles as configured. A template stands for the same unknown token in both.

use std::collections::{BTreeMap, BTreeSet};

use callgate::{
    permissions::{Permissions, Rules},
    policy::{Policy, RoleView, SubjectReach, SubjectTemplate},
};

use super::difference::{Difference, Effect, Kind};

/// Replaces templates by tokens that no subject contains, and back.
struct Placeholders(Vec<String>);

impl Placeholders {
    fn of(roles: &[&RoleView]) -> Self {
        let mut all = BTreeSet::new();
        for subject in roles.iter().flat_map(|role| subjects(role)) {
            subject.fill(|placeholder| {
                all.insert(placeholder.to_owned());
                String::new()
            });
        }
        Self(all.into_iter().collect())
    }

    /// From the private use area of Unicode.
    fn token(index: usize) -> String {
        format!("\u{e000}{index}\u{e001}")
    }

    fn fill(&self, subject: &SubjectTemplate) -> String {
        subject.fill(|text| {
            let index = self.0.iter().position(|known| known == text);
            Self::token(index.unwrap_or(self.0.len()))
        })
    }

    fn permissions(&self, role: Option<&RoleView>) -> Permissions {
        let Some(role) = role else { return Permissions::default() };
        fn parsed<T: std::str::FromStr>(texts: Vec<String>) -> Vec<T> {
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        }
        let fill = |list: &[SubjectTemplate]| list.iter().map(|one| self.fill(one)).collect();
        Permissions {
            publish: Rules {
                allow: parsed(fill(&role.publish.allow)),
                deny: parsed(fill(&role.publish.deny)),
            },
            subscribe: Rules {
                allow: parsed(fill(&role.subscribe.allow)),
                deny: parsed(fill(&role.subscribe.deny)),
            },
            responses: None,
        }
    }
}

fn subjects(role: &RoleView) -> impl Iterator<Item = &SubjectTemplate> {
    let sides = [&role.publish, &role.subscribe].into_iter();
    sides.flat_map(|rules| rules.allow.iter().chain(&rules.deny))
}

/// What changes for each role: its name, and the differences.
pub(crate) fn differences(old: &Policy, new: &Policy) -> Vec<(String, Difference)> {
    let by_name = |policy: &Policy| -> BTreeMap<String, RoleView> {
        policy.role_views().into_iter().map(|role| (role.name.clone(), role)).collect()
    };
    let old = by_name(old);
    let new = by_name(new);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let of_role = |name: &String| {
        let differences = of_role(old.get(name), new.get(name));
        differences.into_iter().map(|difference| (name.clone(), difference)).collect::<Vec<_>>()
    };
    names.into_iter().flat_map(of_role).collect()
}

fn of_role(old: Option<&RoleView>, new: Option<&RoleView>) -> Vec<Difference> {
    let both: Vec<&RoleView> = old.into_iter().chain(new).collect();
    let placeholders = Placeholders::of(&both);
    let [publish, subscribe] =
        placeholders.permissions(old).subject_difference(&placeholders.permissions(new));
    let mut list = Vec::new();
    for (side, difference, pick) in [
        ("publish", publish, (|role| &role.publish) as fn(&RoleView) -> &Rules<SubjectTemplate>),
        ("subscribe", subscribe, |role| &role.subscribe),
    ] {
        let differs = |list: &[SubjectReach]| !list.is_empty();
        let effect = Effect { gain: differs(&difference.gained), loss: differs(&difference.lost) };
        if effect.gain || effect.loss {
            let subject = changed_rules(old.map(pick), new.map(pick));
            list.push(Difference { kind: Kind::Role, side, subject, effect });
        }
    }
    if let (Some(old), Some(new)) = (old, new) {
        list.extend(conditions(old, new));
    }
    list
}

/// The rules that are only in the new role, and those that were only in the old one.
fn changed_rules(
    old: Option<&Rules<SubjectTemplate>>,
    new: Option<&Rules<SubjectTemplate>>,
) -> String {
    let texts = |rules: Option<&Rules<SubjectTemplate>>| -> Vec<String> {
        let allow = rules.iter().flat_map(|rules| &rules.allow);
        let allow = allow.map(|subject| subject.as_str().to_owned());
        let deny = rules.iter().flat_map(|rules| &rules.deny);
        allow.chain(deny.map(|subject| format!("deny {}", subject.as_str()))).collect()
    };
    let old = texts(old);
    let new = texts(new);
    let only = |list: &[String], other: &[String]| {
        let only: Vec<_> = list.iter().filter(|text| !other.contains(text)).cloned().collect();
        if only.is_empty() { "nothing".to_owned() } else { only.join(", ") }
    };
    format!("{} (was: {})", only(&new, &old), only(&old, &new))
}

/// Other keys of the role that differ.
fn conditions(old: &RoleView, new: &RoleView) -> Vec<Difference> {
    let find = |role: &RoleView, name: &str| {
        let found = role.conditions.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| "none".to_owned(), |(_, value)| value.clone())
    };
    let names: BTreeSet<&'static str> =
        old.conditions.iter().chain(&new.conditions).map(|(name, _)| *name).collect();
    let changed = names.into_iter().filter_map(|name| {
        let before = find(old, name);
        let after = find(new, name);
        (before != after).then(|| Difference {
            kind: Kind::Role,
            side: name,
            subject: format!("{after} (was: {before})"),
            effect: Effect::BOTH,
        })
    });
    changed.collect()
}
