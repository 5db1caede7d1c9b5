//! `may` and `may_not`: whether all or nothing of a set of subjects is allowed.

use callgate::{
    permissions::{Access, Permissions, Rules},
    policy::AccessVerdict,
    subject::{Subject, SubjectPattern, SubscribePattern},
    subject_set::{SubjectSet, TooComplex},
};

use crate::cli::explain::can::AccessQuery;

/// The result of a check that holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// What the author should know although it holds.
    pub(super) warning: Option<String>,
}

/// Whether everything that `query` describes is allowed; otherwise why not.
pub(super) fn may(access: &Access, query: &AccessQuery) -> Result<Held, String> {
    if grants_all(query) && query.is_allowed(access) {
        return Ok(Held::default());
    }
    let AccessVerdict { allowed, as_reply, rule } = query.check(access);
    let permissions = access.as_permissions().ok_or_else(|| rule.clone())?;
    let (wanted, allowed_set) = match query {
        AccessQuery::Publish(_) => return Err(denied(as_reply, &rule)),
        AccessQuery::PublishAll(pattern) => {
            (SubjectSet::from(pattern.clone()), permissions.publish_set())
        }
        AccessQuery::Subscribe(pattern) if !allowed => {
            return Err(format!("a subscription to `{pattern}` is refused: {rule}"));
        }
        AccessQuery::Subscribe(pattern) => (
            SubjectSet::from(pattern.subject().clone()),
            permissions.subscribe.subscribe_set(pattern.queue()),
        ),
    };
    match wanted.find_outside(&allowed_set) {
        Ok(None) => Ok(Held::default()),
        Ok(Some(subject)) => {
            let why = why_not(access, query, &subject);
            Err(format!("`{subject}` is not allowed: {why}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Whether permission for the operation means permission for every subject, so that no comparison of sets is
/// needed. A subscription with a wildcard may be allowed although some messages are withheld.
fn grants_all(query: &AccessQuery) -> bool {
    match query {
        AccessQuery::Publish(_) | AccessQuery::PublishAll(_) => true,
        AccessQuery::Subscribe(pattern) => pattern.subject().is_literal(),
    }
}

fn denied(as_reply: bool, rule: &str) -> String {
    match as_reply {
        true => format!("only as a reply: {rule}"),
        false => rule.to_owned(),
    }
}

/// The rule that keeps a subject out.
fn why_not(access: &Access, query: &AccessQuery, subject: &Subject) -> String {
    match query {
        AccessQuery::Publish(_) | AccessQuery::PublishAll(_) => access.can_publish(subject).rule,
        AccessQuery::Subscribe(pattern) => {
            let queue = pattern.queue().map(|queue| format!(" {queue}")).unwrap_or_default();
            let one = format!("{subject}{queue}").parse::<SubscribePattern>();
            one.map(|one| access.can_subscribe(&one).rule).unwrap_or_default()
        }
    }
}

/// Whether nothing that `query` describes is allowed; otherwise what is, and why.
///
/// A subscription to `>` or to a literal subject means this one subscription. With any other wildcard, it
/// means every subject that it matches, however the client subscribes.
pub(super) fn may_not(access: &Access, query: &AccessQuery) -> Result<Held, String> {
    let one_subscription = match query {
        AccessQuery::Publish(_) | AccessQuery::PublishAll(_) => None,
        AccessQuery::Subscribe(wanted) => {
            let is_one = wanted.subject().as_str() == ">" || wanted.subject().is_literal();
            is_one.then_some(wanted)
        }
    };
    let (Some(wanted), Some(permissions)) = (one_subscription, access.as_permissions()) else {
        return unreachable(access, query);
    };
    if access.allows_subscribe(wanted) {
        let rule = access.can_subscribe(wanted).rule;
        return Err(format!("a subscription to `{wanted}` is allowed: {rule}"));
    }
    match wanted.subject().is_literal() {
        true => Ok(Held { warning: other_ways(&permissions, wanted)? }),
        false => Ok(Held::default()),
    }
}

/// Whether no subject that `query` matches can be reached, in any queue group, and not as a reply.
pub(super) fn unreachable(access: &Access, query: &AccessQuery) -> Result<Held, String> {
    let Some(permissions) = access.as_permissions() else {
        return Err(query.check(access).rule);
    };
    match query {
        AccessQuery::Publish(subject) => publish_none(access, &permissions, subject.as_pattern()),
        AccessQuery::PublishAll(pattern) => publish_none(access, &permissions, pattern),
        AccessQuery::Subscribe(pattern) => subscribe_none(access, &permissions, pattern),
    }
}

fn publish_none(
    access: &Access,
    permissions: &Permissions,
    wanted: &SubjectPattern,
) -> Result<Held, String> {
    // Most subjects that must not be reached are far from every allow.
    if permissions.publish.allow.iter().any(|allow| allow.overlaps(wanted)) {
        let wanted = SubjectSet::from(wanted.clone());
        if let Some(subject) =
            wanted.find_common(&permissions.publish_set()).map_err(too_complex)?
        {
            return Err(format!("`{subject}` is allowed: {}", access.can_publish(&subject).rule));
        }
    }
    match permissions.responses {
        Some(responses) => Err(format!(
            "reachable as a reply: `responses` ({responses}) permits every subject that arrives as a reply \
             subject"
        )),
        None => Ok(Held::default()),
    }
}

fn subscribe_none(
    access: &Access,
    permissions: &Permissions,
    wanted: &SubscribePattern,
) -> Result<Held, String> {
    if !permissions.subscribe.may_reach(wanted.subject()) {
        return Ok(Held::default());
    }
    let subjects = SubjectSet::from(wanted.subject().clone());
    let reachable = receivable(&permissions.subscribe, wanted);
    if let Some(subject) = subjects.find_common(&reachable).map_err(too_complex)? {
        let one = AccessQuery::Subscribe(SubscribePattern::from(subject.as_pattern().clone()));
        let AccessVerdict { allowed, rule, .. } = one.check(access);
        let rule = match allowed {
            true => rule,
            false => "in a queue group that a subscribe allow names".to_owned(),
        };
        return Err(format!("`{subject}` is allowed: {rule}"));
    }
    Ok(Held { warning: other_ways(permissions, wanted)? })
}

/// The subjects that a client can receive: in the group of `wanted`, or in any way without one.
fn receivable(rules: &Rules<SubscribePattern>, wanted: &SubscribePattern) -> SubjectSet {
    match wanted.queue() {
        Some(queue) => rules.subscribe_set(Some(queue)),
        None => rules.reachable_set(),
    }
}

/// How subjects that the rules do not allow as such still reach a client.
fn other_ways(
    permissions: &Permissions,
    wanted: &SubscribePattern,
) -> Result<Option<String>, String> {
    let rules = &permissions.subscribe;
    if !rules.may_reach(wanted.subject()) {
        return Ok(None);
    }
    let subjects = SubjectSet::from(wanted.subject().clone());
    if let Some(subject) = subjects.find_common(&receivable(rules, wanted)).map_err(too_complex)? {
        return Ok(Some(format!("`{subject}` can be received in a queue group that a rule names")));
    }
    let wider = subjects.find_common(&receivable(&rules.widened(), wanted)).map_err(too_complex)?;
    Ok(wider.map(|subject| {
        format!(
            "nats-server matches a final `*` of a subscribe allow with `>`: a wider subscription \
             receives `{subject}`; place what must stay separate in another account"
        )
    }))
}

fn too_complex(error: TooComplex) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use callgate::permissions::Responses;

    use super::*;

    fn access(publish: (&[&str], &[&str]), subscribe: (&[&str], &[&str])) -> Access {
        let patterns = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let rules = |list: &[&str]| -> Vec<SubscribePattern> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        Access::Limited(Permissions {
            publish: Rules { allow: patterns(publish.0), deny: patterns(publish.1) },
            subscribe: Rules { allow: rules(subscribe.0), deny: rules(subscribe.1) },
            responses: None,
        })
    }

    fn query(text: &str) -> AccessQuery {
        text.parse().unwrap()
    }

    #[test]
    fn wildcard_means_all_or_nothing() {
        let access = access(
            (&["a.>", "b.*", "b.*.>"], &["a.secret"]),
            (&["jobs.* workers", "news.*", "d.>"], &["d.private.>"]),
        );
        let table = [
            ("pub:a.x", true, false),
            ("pub:a.secret", false, true),
            ("pub:a.*", false, false),
            ("pub:b.>", true, false),
            ("pub:c.>", false, true),
            ("pub:>", false, false),
            ("sub:jobs.1 workers", true, false),
            ("sub:jobs.1", false, true),
            ("sub:jobs.>", false, false),
            ("sub:jobs.1 others", false, true),
            ("sub:news.*", true, false),
            ("sub:news.a.b", false, true),
            ("sub:d.>", false, false),
            ("sub:d.private.*", false, true),
            ("sub:d.x.>", true, false),
            ("sub:>", false, true),
        ];
        for (text, all, none) in table {
            let all_found = may(&access, &query(text));
            assert_eq!(all_found.is_ok(), all, "may {text}: {all_found:?}");
            let none_found = may_not(&access, &query(text));
            assert_eq!(none_found.is_ok(), none, "may_not {text}: {none_found:?}");
        }
    }

    #[test]
    fn final_star_of_an_allow_is_a_warning() {
        let access = access((&[], &[]), (&["news.*"], &["news.secret.>"]));
        let warns = |text: &str| may_not(&access, &query(text)).unwrap().warning.is_some();
        assert!(warns("sub:news.a.b") && warns("sub:news.*.b"));
        assert!(!warns("sub:other.>") && !warns("sub:news.secret.x"));
    }

    #[test]
    fn may_not_wildcard_fails_if_responses_reach_one_subject() {
        let mut replies = Permissions::default();
        let without = Access::Limited(replies.clone());
        replies.responses = Some(Responses::default());
        let with = Access::Limited(replies);
        for text in ["pub:$SYS.>", "pub:a.b", "pub:a.*.c"] {
            assert_eq!(may_not(&without, &query(text)), Ok(Held::default()));
            let why = may_not(&with, &query(text)).unwrap_err();
            assert!(why.contains("reachable as a reply: `responses`"), "{why}");
        }
    }

    #[test]
    fn scoped_key_proves_neither() {
        let scoped = Access::Scoped("reader".to_owned());
        for text in ["pub:a", "pub:a.>", "sub:a", "sub:>"] {
            assert!(may(&scoped, &query(text)).unwrap_err().contains("`reader`"));
            assert!(may_not(&scoped, &query(text)).unwrap_err().contains("`reader`"));
        }
    }
}
