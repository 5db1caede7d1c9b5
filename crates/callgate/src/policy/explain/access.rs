//! Predicts whether nats-server allows a client to publish or subscribe to a subject.
//!
//! Follows `client.go` (`pubAllowedFullCheck`, `canSubscribe`) of nats-server 2.10 to 2.15.

use std::fmt;

use crate::{
    permissions::{Access, Permissions, Responses},
    subject::{Subject, SubjectPattern, SubscribePattern},
};

/// Whether an operation is allowed, and the rule that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessVerdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Not allowed in general, but `responses` permits it once the subject arrives as a reply subject.
    pub as_reply: bool,
    /// The rule that decides.
    pub rule: String,
}

impl Access {
    /// Whether the client may publish to `subject`.
    pub fn can_publish(&self, subject: &Subject) -> AccessVerdict {
        self.publishes(subject).verdict(self.responses())
    }

    /// Whether the client may publish to every subject that `wanted` matches.
    pub fn can_publish_all(&self, wanted: &SubjectPattern) -> AccessVerdict {
        self.publishes_all(wanted).verdict(self.responses())
    }

    /// Whether the client may subscribe to `wanted`, with or without a queue group. If a deny
    /// overlaps an allowed wildcard, the verdict says that the server withholds these messages.
    pub fn can_subscribe(&self, wanted: &SubscribePattern) -> AccessVerdict {
        self.subscribes(wanted).verdict(None)
    }

    /// [`AccessVerdict::allowed`] of [`Access::can_publish`], without the cost of naming the rule.
    pub fn allows_publish(&self, subject: &Subject) -> bool {
        self.publishes(subject).is_allowed()
    }

    /// [`AccessVerdict::allowed`] of [`Access::can_publish_all`], without the cost of naming the rule.
    pub fn allows_publish_all(&self, wanted: &SubjectPattern) -> bool {
        self.publishes_all(wanted).is_allowed()
    }

    /// [`AccessVerdict::allowed`] of [`Access::can_subscribe`], without the cost of naming the rule.
    pub fn allows_subscribe(&self, wanted: &SubscribePattern) -> bool {
        self.subscribes(wanted).is_allowed()
    }

    fn publishes(&self, subject: &Subject) -> Rule<'_> {
        match self {
            Self::Unrestricted => Rule::Open,
            Self::Limited(permissions) => publish(permissions, subject),
            Self::Scoped(scope) => Rule::Scope(scope),
        }
    }

    fn publishes_all(&self, wanted: &SubjectPattern) -> Rule<'_> {
        match self {
            Self::Unrestricted => Rule::Open,
            Self::Limited(permissions) => publish_all(permissions, wanted),
            Self::Scoped(scope) => Rule::Scope(scope),
        }
    }

    fn subscribes(&self, wanted: &SubscribePattern) -> Rule<'_> {
        match self {
            Self::Unrestricted => Rule::Open,
            Self::Limited(permissions) => subscribe(permissions, wanted),
            Self::Scoped(scope) => Rule::Scope(scope),
        }
    }

    fn responses(&self) -> Option<Responses> {
        match self {
            Self::Limited(permissions) => permissions.responses,
            Self::Unrestricted | Self::Scoped(_) => None,
        }
    }
}

/// What decides about an operation.
#[derive(Debug, Clone, Copy)]
enum Rule<'a> {
    Open,
    Scope(&'a str),
    PublishAllow(&'a SubjectPattern),
    PublishAllowOfAll(&'a SubjectPattern),
    PublishDeny(&'a SubjectPattern),
    PublishDenyOfSome(&'a SubjectPattern),
    NoPublishAllow,
    NoPublishAllowOfAll,
    SubscribeAllow {
        allow: &'a SubscribePattern,
        /// nats-server matches it more broadly than it is written.
        broadly: bool,
        /// A deny that withholds messages.
        withheld: Option<&'a SubscribePattern>,
    },
    SubscribeDeny(&'a SubscribePattern),
    OtherGroup(&'a SubscribePattern),
    OnlyGroup(&'a SubscribePattern),
    NoSubscribeAllow,
}

impl Rule<'_> {
    const fn is_allowed(&self) -> bool {
        match self {
            Self::Open
            | Self::PublishAllow(_)
            | Self::PublishAllowOfAll(_)
            | Self::SubscribeAllow { .. } => true,
            Self::Scope(_)
            | Self::PublishDeny(_)
            | Self::PublishDenyOfSome(_)
            | Self::NoPublishAllow
            | Self::NoPublishAllowOfAll
            | Self::SubscribeDeny(_)
            | Self::OtherGroup(_)
            | Self::OnlyGroup(_)
            | Self::NoSubscribeAllow => false,
        }
    }

    /// The verdict; `responses` permits replies to what is denied, also against a deny.
    fn verdict(self, responses: Option<Responses>) -> AccessVerdict {
        let allowed = self.is_allowed();
        match responses {
            Some(responses) if !allowed => AccessVerdict {
                allowed,
                as_reply: true,
                rule: format!(
                    "{self}; `responses` ({responses}) permits it after it arrives as a reply subject"
                ),
            },
            Some(_) | None => AccessVerdict { allowed, as_reply: false, rule: self.to_string() },
        }
    }
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("everything inside the account is open"),
            Self::Scope(scope) => write!(
                f,
                "unknown: nats-server decides by the template of the scoped signing key `{scope}`"
            ),
            Self::PublishAllow(allow) => write!(f, "publish allow `{allow}`"),
            Self::PublishAllowOfAll(allow) => {
                write!(f, "publish allow `{allow}` covers all of it")
            }
            Self::PublishDeny(deny) => write!(f, "publish deny `{deny}`"),
            Self::PublishDenyOfSome(deny) => {
                write!(f, "publish deny `{deny}` covers some of it")
            }
            Self::NoPublishAllow => f.write_str("no publish allow covers it"),
            Self::NoPublishAllowOfAll => f.write_str("no publish allow covers all of it"),
            Self::SubscribeAllow { allow, broadly, withheld } => {
                write!(f, "subscribe allow `{allow}`")?;
                if *broadly {
                    f.write_str(", which nats-server matches more broadly than written")?;
                }
                match withheld {
                    Some(deny) => {
                        write!(f, "; messages that the deny `{deny}` covers are withheld")
                    }
                    None => Ok(()),
                }
            }
            Self::SubscribeDeny(deny) => write!(f, "subscribe deny `{deny}`"),
            Self::OtherGroup(allow) => {
                write!(f, "subscribe allow `{allow}` is for another queue group")
            }
            Self::OnlyGroup(allow) => {
                write!(f, "subscribe allow `{allow}` is only for a queue group")
            }
            Self::NoSubscribeAllow => f.write_str("no subscribe allow covers it"),
        }
    }
}

fn publish<'a>(permissions: &'a Permissions, subject: &Subject) -> Rule<'a> {
    let rules = &permissions.publish;
    let covers = |rule: &&SubjectPattern| rule.covers(subject.as_pattern());
    if let Some(deny) = rules.deny.iter().find(covers) {
        return Rule::PublishDeny(deny);
    }
    rules.allow.iter().find(covers).map_or(Rule::NoPublishAllow, Rule::PublishAllow)
}

fn publish_all<'a>(permissions: &'a Permissions, wanted: &SubjectPattern) -> Rule<'a> {
    let rules = &permissions.publish;
    if let Some(deny) = rules.deny.iter().find(|deny| deny.overlaps(wanted)) {
        return Rule::PublishDenyOfSome(deny);
    }
    let allow = rules.allow.iter().find(|allow| allow.covers(wanted));
    allow.map_or(Rule::NoPublishAllowOfAll, Rule::PublishAllowOfAll)
}

fn subscribe<'a>(permissions: &'a Permissions, wanted: &SubscribePattern) -> Rule<'a> {
    let rules = &permissions.subscribe;
    let allow = match allowing(&rules.allow, wanted) {
        Ok(allow) => allow,
        Err(refusing) => return refusing,
    };
    if let Some(deny) = rules.deny.iter().find(|deny| denies(deny, wanted)) {
        return Rule::SubscribeDeny(deny);
    }
    let withholds = |deny: &&SubscribePattern| {
        applies_to_group(deny, wanted) && deny.subject().overlaps(wanted.subject())
    };
    Rule::SubscribeAllow {
        allow,
        // A final `*` also matches the `>` of a subscription (sublist.go, matchLevel).
        broadly: !allow.subject().covers(wanted.subject()),
        withheld: rules.deny.iter().find(withholds),
    }
}

/// The allow that permits a subscription. Rules with a queue group take precedence: if one covers the
/// subject, a subscription in a group that none of them names is denied, even if a rule without a
/// group covers it.
fn allowing<'a>(
    allows: &'a [SubscribePattern],
    wanted: &SubscribePattern,
) -> Result<&'a SubscribePattern, Rule<'a>> {
    let matching = || allows.iter().filter(|allow| matched(allow.subject(), wanted.subject()));
    let with_group = || matching().filter(|allow| allow.queue().is_some());
    if let Some(queue) = wanted.queue()
        && let Some(first) = with_group().next()
    {
        let named = with_group().find(|allow| allow.queue().is_some_and(|own| own.covers(queue)));
        return named.ok_or(Rule::OtherGroup(first));
    }
    let without_group = matching().find(|allow| allow.queue().is_none());
    without_group.ok_or_else(|| with_group().next().map_or(Rule::NoSubscribeAllow, Rule::OnlyGroup))
}

fn denies(deny: &SubscribePattern, wanted: &SubscribePattern) -> bool {
    applies_to_group(deny, wanted) && matched(deny.subject(), wanted.subject())
}

fn applies_to_group(deny: &SubscribePattern, wanted: &SubscribePattern) -> bool {
    match (deny.queue(), wanted.queue()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(denied), Some(queue)) => denied.covers(queue),
    }
}

/// Matches a subscription against a rule like nats-server: the wildcards of the subscription are
/// ordinary tokens, so a rule's `*` also matches `>` (measured, 2.10.26 to 2.15.1).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::Rules;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules<SubscribePattern> {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Rules { allow: parse(allow), deny: parse(deny) }
    }

    #[test]
    fn wildcard_publish_needs_every_subject_allowed() {
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
            assert_eq!(verdict.as_reply, !expected, "{wanted}: {}", verdict.rule);
        }
    }

    #[test]
    fn responses_alone_allow_only_replies() {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let publish = Rules { allow: parse(&["a.>"]), deny: parse(&["a.secret"]) };
        let with = Permissions {
            publish: publish.clone(),
            responses: Some(Responses::default()),
            ..Permissions::default()
        };
        let without = Permissions { publish, ..Permissions::default() };
        for (subject, allowed) in [("a.b", true), ("a.secret", false), ("other", false)] {
            let subject = subject.parse().unwrap();
            let verdict = Access::Limited(with.clone()).can_publish(&subject);
            assert_eq!((verdict.allowed, verdict.as_reply), (allowed, !allowed), "{verdict:?}");
            let verdict = Access::Limited(without.clone()).can_publish(&subject);
            assert_eq!((verdict.allowed, verdict.as_reply), (allowed, false), "{verdict:?}");
        }
    }

    /// The results of nats-server 2.10.26, 2.12.8 and 2.15.1, which agree.
    #[test]
    fn subscription_verdicts_match_nats_server() {
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
    fn allowed_wildcard_names_the_withheld_messages() {
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
    fn default_denies_all_and_unrestricted_allows_all() {
        let (subject, wanted) = ("a".parse().unwrap(), ">".parse().unwrap());
        assert!(!Access::default().can_publish(&subject).allowed);
        assert!(!Access::default().can_subscribe(&wanted).allowed);
        assert!(Access::Unrestricted.can_publish(&subject).allowed);
        assert!(Access::Unrestricted.can_subscribe(&wanted).allowed);
        assert!(!Access::Scoped("reader".to_owned()).can_publish(&subject).allowed);
    }
}
