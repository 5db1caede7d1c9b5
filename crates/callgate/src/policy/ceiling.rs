//! How far outside data may go: what is not within the ceiling is dropped, counted and told.

use super::{
    accounts::AccountPattern,
    grant::Dropped,
    inputs::Inputs,
    permissions::{Permissions, Responses, Rules},
    template::{Pattern, Rule, Template},
};
use crate::subject::{SubjectPattern, SubscribePattern, is_reserved_first_token};

/// One authenticator's ceiling. The default allows nothing.
#[derive(Debug, Default)]
pub(super) struct Ceiling {
    pub(super) accounts: Vec<CeilingAccount>,
    pub(super) roles: Vec<String>,
    pub(super) publish: Vec<Pattern<SubjectPattern>>,
    pub(super) subscribe: Vec<Pattern<SubscribePattern>>,
    pub(super) responses: Option<Responses>,
}

/// An account that outside data may name.
#[derive(Debug)]
pub(super) enum CeilingAccount {
    /// A name or a pattern.
    Pattern(AccountPattern),
    /// A name with values in it.
    Template(Template),
}

/// What was left of proposed permissions.
pub(super) struct Clipped {
    pub(super) permissions: Permissions,
    /// True if allows were asked for and none was left: nothing was granted by it.
    pub(super) nothing_left: bool,
}

impl Ceiling {
    /// True if nothing from outside comes of it.
    pub(super) fn allows_nothing(&self) -> bool {
        let Self { accounts, roles, publish, subscribe, responses } = self;
        accounts.is_empty()
            && roles.is_empty()
            && publish.is_empty()
            && subscribe.is_empty()
            && responses.is_none()
    }

    pub(super) fn allows_role(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role == name)
    }

    pub(super) fn allows_account(&self, name: &str, inputs: &Inputs<'_>) -> bool {
        self.accounts.iter().any(|account| match account {
            CeilingAccount::Pattern(pattern) => pattern.matches(name),
            // An entry without a safe value allows nothing.
            CeilingAccount::Template(template) => template
                .fill(inputs, Rule::Token)
                .is_ok_and(|names| names.iter().any(|allowed| allowed == name)),
        })
    }

    /// Keeps of `asked` what lies within the ceiling. Denies are never dropped.
    pub(super) fn clip(
        &self,
        asked: &Permissions,
        inputs: &Inputs<'_>,
        dropped: &mut Dropped,
    ) -> Clipped {
        let Permissions { publish, subscribe, responses } = asked;
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

    fn clip_responses(&self, asked: Option<Responses>, dropped: &mut Dropped) -> Option<Responses> {
        let asked = asked?;
        if self.responses.is_none() {
            dropped.note("responses", &asked.to_string());
        }
        self.responses.map(|ceiling| ceiling.narrowest(asked))
    }
}

/// A rule that a ceiling entry may or may not contain.
trait Bounded:
    Clone + std::fmt::Display + std::str::FromStr<Err = crate::subject::SubjectError>
{
    fn subject(&self) -> &SubjectPattern;
    fn covered_by(&self, entry: &Self) -> bool;
}

impl Bounded for SubjectPattern {
    fn subject(&self) -> &SubjectPattern {
        self
    }

    fn covered_by(&self, entry: &Self) -> bool {
        entry.covers(self)
    }
}

impl Bounded for SubscribePattern {
    fn subject(&self) -> &SubjectPattern {
        SubscribePattern::subject(self)
    }

    fn covered_by(&self, entry: &Self) -> bool {
        entry.covers(self)
    }
}

fn within<T: Bounded>(
    asked: &[T],
    entries: &[Pattern<T>],
    inputs: &Inputs<'_>,
    side: &str,
    dropped: &mut Dropped,
) -> Vec<T> {
    if asked.is_empty() {
        return Vec::new();
    }
    // An entry whose template has no safe value is skipped: it allows nothing.
    let entries: Vec<T> =
        entries.iter().filter_map(|entry| entry.fill(inputs).ok()).flatten().collect();
    let (kept, over): (Vec<&T>, Vec<&T>) =
        asked.iter().partition(|rule| entries.iter().any(|entry| contains(entry, *rule)));
    over.iter().for_each(|rule| dropped.note(side, &rule.to_string()));
    kept.into_iter().cloned().collect()
}

/// Every subject of `rule` is one of `entry`. Into the server's own space and everybody's replies
/// only an entry leads that begins with that literal token.
fn contains<T: Bounded>(entry: &T, rule: &T) -> bool {
    let first = rule.subject().first_token();
    let same_reserved_token =
        is_reserved_first_token(first) && entry.subject().first_token() == first;
    rule.covered_by(entry) && (!rule.subject().reaches_reserved_space() || same_reserved_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_contains_only_what_lies_wholly_within_one_entry() {
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
            assert_eq!(contains(&entry, &rule), expected, "{entry} contains {rule}");
        }
    }
}
