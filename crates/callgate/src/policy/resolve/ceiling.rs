//! Enforces the ceiling: requests of outside data beyond it are dropped, counted and reported.

use super::{fill::ValueRule, inputs::Inputs};
use crate::{
    permissions::{Permissions, Responses, Rules},
    policy::{
        compile::ceiling::{Ceiling, CeilingAccount},
        grant::CeilingDrops,
    },
    subject::{SubjectPattern, SubscribePattern, is_reserved_first_token},
    template::Pattern,
};

/// Requested permissions after clipping.
pub(super) struct Clipped {
    pub(super) permissions: Permissions,
    /// True if allows were requested and none is left.
    pub(super) nothing_left: bool,
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
    pub(super) fn clip(
        &self,
        requested: &Permissions,
        inputs: &Inputs<'_>,
        dropped: &mut CeilingDrops,
    ) -> Clipped {
        let Permissions { publish, subscribe, responses } = requested;
        let before = publish.allow.len() + subscribe.allow.len() + usize::from(responses.is_some());
        let permissions = Permissions {
            publish: Rules {
                allow: within(&publish.allow, &self.publish, inputs, "publish", dropped),
                deny: publish.deny.clone(),
            },
            subscribe: Rules {
                allow: within(&subscribe.allow, &self.subscribe, inputs, "subscribe", dropped),
                deny: subscribe.deny.clone(),
            },
            responses: self.clip_responses(*responses, dropped),
        };
        let left = permissions.publish.allow.len()
            + permissions.subscribe.allow.len()
            + usize::from(permissions.responses.is_some());
        Clipped { permissions, nothing_left: before > 0 && left == 0 }
    }

    fn clip_responses(
        &self,
        requested: Option<Responses>,
        dropped: &mut CeilingDrops,
    ) -> Option<Responses> {
        let requested = requested?;
        if self.responses.is_none() {
            dropped.add("responses", &requested.to_string());
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

fn within<T: CeilingRule>(
    requested: &[T],
    entries: &[Pattern<T>],
    inputs: &Inputs<'_>,
    side: &str,
    dropped: &mut CeilingDrops,
) -> Vec<T> {
    if requested.is_empty() {
        return Vec::new();
    }
    // A template without a safe value allows nothing.
    let entries: Vec<T> =
        entries.iter().filter_map(|entry| entry.fill(inputs).ok()).flatten().collect();
    let (kept, beyond): (Vec<&T>, Vec<&T>) =
        requested.iter().partition(|rule| entries.iter().any(|entry| covers(entry, *rule)));
    beyond.iter().for_each(|rule| dropped.add(side, &rule.to_string()));
    kept.into_iter().cloned().collect()
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
