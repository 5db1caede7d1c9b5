//! Our own answer to "may it publish or subscribe to this?", as nats-server would answer.
//!
//! Follows `client.go` (`pubAllowedFullCheck`, `canSubscribe`) of nats-server 2.10 to 2.15.

use super::{
    permission_warnings::overlap,
    permissions::{Access, Permissions},
};
use crate::subject::{Subject, SubjectPattern, SubscribePattern};

/// An answer, with the rule that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessVerdict {
    /// Yes or no.
    pub allowed: bool,
    /// The rule that decides, in words.
    pub rule: String,
}

impl AccessVerdict {
    fn yes(rule: impl Into<String>) -> Self {
        Self { allowed: true, rule: rule.into() }
    }

    fn no(rule: impl Into<String>) -> Self {
        Self { allowed: false, rule: rule.into() }
    }
}

impl Access {
    /// May it publish to `subject`?
    pub fn can_publish(&self, subject: &Subject) -> AccessVerdict {
        match self {
            Self::Unrestricted => AccessVerdict::yes("everything inside the account is open"),
            Self::Limited(permissions) => publish(permissions, subject),
            Self::Scoped(scope) => undecided(scope),
        }
    }

    /// May it publish to everything that `wanted` matches? Nobody publishes to a wildcard itself.
    pub fn can_publish_all(&self, wanted: &SubjectPattern) -> AccessVerdict {
        match self {
            Self::Unrestricted => AccessVerdict::yes("everything inside the account is open"),
            Self::Limited(permissions) => publish_all(permissions, wanted),
            Self::Scoped(scope) => undecided(scope),
        }
    }

    /// May it subscribe to `wanted`, a subject with or without a queue group? A yes to a wildcard
    /// that a deny overlaps says so: the server then withholds the messages denied.
    pub fn can_subscribe(&self, wanted: &SubscribePattern) -> AccessVerdict {
        match self {
            Self::Unrestricted => AccessVerdict::yes("everything inside the account is open"),
            Self::Limited(permissions) => subscribe(permissions, wanted),
            Self::Scoped(scope) => undecided(scope),
        }
    }
}

fn undecided(scope: &str) -> AccessVerdict {
    AccessVerdict::no(format!(
        "not known here: the template of the scoped signing key `{scope}` decides in the server"
    ))
}

fn publish(permissions: &Permissions, subject: &Subject) -> AccessVerdict {
    let Permissions { publish: rules, subscribe: _, responses } = permissions;
    let covers = |rule: &&SubjectPattern| rule.covers(subject.as_pattern());
    let denied = rules.deny.iter().find(covers);
    let allowed = rules.allow.iter().find(covers);
    match (allowed, denied, responses) {
        (Some(allow), None, _) => AccessVerdict::yes(format!("publish allow `{allow}`")),
        // A reply subject that arrived is open even against a deny.
        (_, _, Some(_)) => AccessVerdict::yes("by responses: when it arrives as a reply subject"),
        (_, Some(deny), None) => AccessVerdict::no(format!("publish deny `{deny}`")),
        (None, None, None) => AccessVerdict::no("no publish allow covers it"),
    }
}

fn publish_all(permissions: &Permissions, wanted: &SubjectPattern) -> AccessVerdict {
    let Permissions { publish: rules, subscribe: _, responses: _ } = permissions;
    if let Some(deny) = rules.deny.iter().find(|deny| deny.overlaps(wanted)) {
        return AccessVerdict::no(format!("publish deny `{deny}` closes some of it"));
    }
    match rules.allow.iter().find(|allow| allow.covers(wanted)) {
        Some(allow) => AccessVerdict::yes(format!("publish allow `{allow}` covers all of it")),
        None => AccessVerdict::no("no publish allow covers all of it"),
    }
}

fn subscribe(permissions: &Permissions, wanted: &SubscribePattern) -> AccessVerdict {
    let rules = &permissions.subscribe;
    let allow = match allowing(&rules.allow, wanted) {
        Ok(allow) => allow,
        Err(why) => return AccessVerdict::no(why),
    };
    if let Some(deny) = rules.deny.iter().find(|deny| denies(deny, wanted)) {
        return AccessVerdict::no(format!("subscribe deny `{deny}`"));
    }
    let mut rule = format!("subscribe allow `{allow}`");
    if !allow.subject().covers(wanted.subject()) {
        // `*` at the end takes the `>` of a subscription for a token (sublist.go, matchLevel).
        rule.push_str(", which nats-server lets stand for more than it says");
    }
    let filters = |deny: &&SubscribePattern| {
        speaks_of_group(deny, wanted) && deny.subject().overlaps(wanted.subject())
    };
    if let Some(deny) = rules.deny.iter().find(filters) {
        rule.push_str(&format!("; messages that the deny `{deny}` covers are withheld"));
    }
    AccessVerdict::yes(rule)
}

/// The allow that opens a subscription. Rules with a queue group speak last: where one covers the
/// subject, a subscription in a group that none of them names is closed, also against a rule
/// without a group.
fn allowing<'a>(
    allows: &'a [SubscribePattern],
    wanted: &SubscribePattern,
) -> Result<&'a SubscribePattern, String> {
    let matching = || allows.iter().filter(|allow| matched(allow.subject(), wanted.subject()));
    let with_group = || matching().filter(|allow| allow.queue().is_some());
    if let Some(queue) = wanted.queue()
        && let Some(first) = with_group().next()
    {
        let named = with_group().find(|allow| allow.queue().is_some_and(|own| own.covers(queue)));
        return named
            .ok_or_else(|| format!("subscribe allow `{first}` is for another queue group"));
    }
    let without_group = matching().find(|allow| allow.queue().is_none());
    without_group.ok_or_else(|| match with_group().next() {
        Some(allow) => format!("subscribe allow `{allow}` is only for a queue group"),
        None => "no subscribe allow covers it".to_owned(),
    })
}

fn denies(deny: &SubscribePattern, wanted: &SubscribePattern) -> bool {
    speaks_of_group(deny, wanted) && matched(deny.subject(), wanted.subject())
}

fn speaks_of_group(deny: &SubscribePattern, wanted: &SubscribePattern) -> bool {
    match (deny.queue(), wanted.queue()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(denied), Some(queue)) => denied.covers(queue),
    }
}

/// As the server matches a subscription against a rule: wildcards in the subscription are tokens
/// like others, so that a rule's `*` also takes a `>` (measured, 2.10.26 to 2.15.1).
fn matched(rule: &SubjectPattern, wanted: &SubjectPattern) -> bool {
    let (mut rule, mut wanted) = (rule.tokens(), wanted.tokens());
    loop {
        match (rule.next(), wanted.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some("*"), Some(_)) => {}
            (Some(own), Some(token)) if own == token => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// True if the holder may publish to something that it may subscribe to: then it can send itself a
/// message with a reply subject of its choice, which `responses` opens.
pub(super) fn overlaps_itself(permissions: &Permissions) -> bool {
    overlap(&permissions.publish.allow, &permissions.subscribe.allow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::{Responses, Rules};

    fn rules(allow: &[&str], deny: &[&str]) -> Rules<SubscribePattern> {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Rules { allow: parse(allow), deny: parse(deny) }
    }

    #[test]
    fn a_wildcard_is_open_to_publish_if_every_subject_of_it_is() {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let publish = Rules {
            allow: parse(&["foo.>", "bar.*", "one.a", "one.b"]),
            deny: parse(&["foo.secret.>", "foo.*.x"]),
        };
        let responses = Some(Responses::default());
        let permissions = Permissions { publish, responses, ..Permissions::default() };
        let table = [
            ("foo.>", false, "deny `foo.secret.>`"),
            ("foo.*", true, "allow `foo.>`"),
            ("foo.a.*", false, "deny `foo.*.x`"),
            ("foo.a.b.>", true, "allow `foo.>`"),
            ("bar.*", true, "allow `bar.*`"),
            ("bar.>", false, "no publish allow"),
            ("one.*", false, "no publish allow"),
            (">", false, "deny `foo.secret.>`"),
        ];
        let access = Access::Limited(permissions);
        for (wanted, expected, rule) in table {
            let verdict = access.can_publish_all(&wanted.parse().unwrap());
            assert_eq!(verdict.allowed, expected, "{wanted}: {}", verdict.rule);
            assert!(verdict.rule.contains(rule), "{wanted}: {}", verdict.rule);
        }
    }

    /// The answers of nats-server 2.10.26, 2.12.8 and 2.15.1, which agree.
    #[test]
    fn subscriptions_are_answered_as_nats_server_answers() {
        let first = rules(&["foo.*", "q", "q one", "w.> two"], &["foo.secret", "z.>"]);
        let second = rules(&["d.>"], &["d.*.x", "d.y.>", "d.q one"]);
        let table = [
            (&first, "foo.*", true),
            (&first, "foo.>", true),
            (&first, "foo.x", true),
            (&first, "foo.secret", false),
            (&first, "*.x", false),
            (&first, ">", false),
            (&first, "q", true),
            (&first, "q one", true),
            (&first, "q other", false),
            (&first, "w.x", false),
            (&first, "w.x two", true),
            (&first, "w.> two", true),
            (&first, "w.x three", false),
            (&second, "d.>", true),
            (&second, "d.a.x", false),
            (&second, "d.*.x", false),
            (&second, "d.*", true),
            (&second, "d.y.*", false),
            (&second, "d.y.>", false),
            (&second, "d.*.*", true),
            (&second, "d.*.>", true),
            (&second, "d.q one", false),
            (&second, "d.q", true),
            (&second, "d.q two", true),
            (&second, "d.> one", true),
        ];
        for (subscribe, wanted, expected) in table {
            let permissions =
                Permissions { subscribe: subscribe.clone(), ..Permissions::default() };
            let verdict = Access::Limited(permissions).can_subscribe(&wanted.parse().unwrap());
            assert_eq!(verdict.allowed, expected, "{wanted}: {}", verdict.rule);
        }
    }

    #[test]
    fn a_yes_to_an_overlapped_wildcard_says_what_is_withheld() {
        let permissions =
            Permissions { subscribe: rules(&["d.>"], &["d.y.>"]), ..Permissions::default() };
        let verdict = Access::Limited(permissions).can_subscribe(&"d.>".parse().unwrap());
        assert!(verdict.allowed && verdict.rule.contains("`d.y.>`"), "{}", verdict.rule);
        let of_a_group =
            Permissions { subscribe: rules(&["d.>"], &["d.y.> one"]), ..Permissions::default() };
        let withholds = |wanted: &str| {
            let verdict =
                Access::Limited(of_a_group.clone()).can_subscribe(&wanted.parse().unwrap());
            verdict.rule.contains("withheld")
        };
        assert!(withholds("d.> one") && !withholds("d.> two") && !withholds("d.>"));
    }

    #[test]
    fn publishing_needs_an_allow_and_no_deny_unless_it_answers() {
        let publish =
            Rules { allow: vec!["a.>".parse().unwrap()], deny: vec!["a.secret".parse().unwrap()] };
        let permissions = Permissions { publish, ..Permissions::default() };
        let subject = |text: &str| text.parse::<Subject>().unwrap();
        let access = Access::Limited(permissions.clone());
        assert!(access.can_publish(&subject("a.b")).allowed);
        assert!(!access.can_publish(&subject("a.secret")).allowed);
        assert!(!access.can_publish(&subject("b")).allowed);
        let answering = Permissions { responses: Some(Responses::default()), ..permissions };
        let verdict = Access::Limited(answering).can_publish(&subject("b"));
        assert!(verdict.allowed && verdict.rule.starts_with("by responses"));
    }

    #[test]
    fn the_default_may_do_nothing_and_unrestricted_everything() {
        let (subject, wanted) = ("a".parse().unwrap(), ">".parse().unwrap());
        assert!(!Access::default().can_publish(&subject).allowed);
        assert!(!Access::default().can_subscribe(&wanted).allowed);
        assert!(Access::Unrestricted.can_publish(&subject).allowed);
        assert!(Access::Unrestricted.can_subscribe(&wanted).allowed);
        assert!(!Access::Scoped("reader".to_owned()).can_publish(&subject).allowed);
    }
}
