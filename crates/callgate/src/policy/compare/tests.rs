//! Differences between grants.

use std::time::Duration;

use super::*;
use crate::{authn::Origin, permissions::Rules, subject::SubscribePattern};

fn limited(publish: (&[&str], &[&str]), subscribe: (&[&str], &[&str])) -> Permissions {
    let patterns = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let rules = |list: &[&str]| -> Vec<SubscribePattern> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    };
    Permissions {
        publish: Rules { allow: patterns(publish.0), deny: patterns(publish.1) },
        subscribe: Rules { allow: rules(subscribe.0), deny: rules(subscribe.1) },
        responses: None,
    }
}

fn grant(access: Access) -> Grant {
    Grant {
        account: "APP".to_owned(),
        account_origin: Origin::Operator,
        user: "bob".to_owned(),
        access,
        expires_at: Some(UnixTime::from_seconds(1000)),
        tags: Vec::new(),
        roles: Vec::new(),
        bindings: Vec::new(),
        dropped: Default::default(),
        notes: Vec::new(),
    }
}

fn subscribing(allow: &[&str], deny: &[&str]) -> Grant {
    grant(Access::Limited(limited((&[], &[]), (allow, deny))))
}

fn texts(list: &[SubjectReach]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn same_subjects_in_other_words_are_no_difference() {
    let old = grant(Access::Limited(limited((&["foo.>", "foo.*"], &[]), (&["a.>"], &["a.b"]))));
    let new = grant(Access::Limited(limited(
        (&["foo.*", "foo.*.>"], &["bar"]),
        (&["a.>", "a.c"], &["a.b"]),
    )));
    let difference = old.difference(&new);
    assert!(difference.is_empty(), "{difference:?}");
    assert!(!difference.loses() && !difference.gains());
}

#[test]
fn new_deny_loses_exactly_what_it_denies() {
    let old = grant(Access::Limited(limited((&["bob.>"], &[]), (&[], &[]))));
    let new =
        grant(Access::Limited(limited((&["bob.>"], &["bob.audit.>"]), (&["reports.>"], &[]))));
    let difference = old.difference(&new);
    assert_eq!(texts(&difference.publish.lost), ["bob.audit.>"]);
    assert_eq!(texts(&difference.subscribe.gained), ["reports.>"]);
    assert!(difference.loses() && difference.gains());
    assert!(difference.publish.gained.is_empty() && difference.subscribe.lost.is_empty());
}

#[test]
fn every_kind_of_loss_is_a_loss() {
    let open = grant(Access::Unrestricted);
    let replies = |responses| {
        grant(Access::Limited(Permissions { responses, ..limited((&["a"], &[]), (&["b"], &[])) }))
    };
    let short = Some(Responses { max: Some(1), ttl: Some(Duration::from_secs(1)) });
    let long = Some(Responses { max: Some(1), ttl: None });
    let table = [
        (open.clone(), Grant { account: "OTHER".to_owned(), ..open.clone() }),
        (open.clone(), Grant { expires_at: Some(UnixTime::from_seconds(999)), ..open.clone() }),
        (Grant { expires_at: None, ..open.clone() }, open.clone()),
        (open.clone(), grant(Access::Scoped("reader".to_owned()))),
        (open.clone(), grant(Access::Limited(limited((&[">"], &["x"]), (&[">"], &[]))))),
        (replies(long), replies(short)),
        (replies(short), replies(None)),
    ];
    for (old, new) in table {
        assert!(old.difference(&new).loses(), "{old:?} to {new:?}");
        assert!(new.difference(&old).gains(), "{new:?} to {old:?}");
    }
}

#[test]
fn unrestricted_equals_permission_for_everything() {
    let open = grant(Access::Unrestricted);
    let all = Permissions {
        responses: Some(Responses::default()),
        ..limited((&[">"], &[]), (&["*", "*.>"], &[]))
    };
    let difference = open.difference(&grant(Access::Limited(all)));
    assert!(difference.is_empty(), "{difference:?}");
}

#[test]
fn queue_groups_are_compared_one_by_one() {
    let table: &[(Grant, Grant, &[&str], &[&str])] = &[
        (subscribing(&["q"], &[]), subscribing(&["q one"], &[]), &[], &["q"]),
        (subscribing(&["q one"], &[]), subscribing(&["q two"], &[]), &["q two"], &["q one"]),
        (subscribing(&["q one"], &[]), subscribing(&["q *"], &[]), &["q *"], &[]),
        (subscribing(&["q"], &[]), subscribing(&["q", "q one"], &[]), &[], &["q *"]),
        (subscribing(&["d.>"], &["d.x one"]), subscribing(&["d.>"], &[]), &["d.x one"], &[]),
        (
            subscribing(&["d.>"], &[]),
            subscribing(&["d.>", "d.> w"], &["d.y"]),
            &[],
            &["d.y", "d.> *"],
        ),
    ];
    for (old, new, gained, lost) in table {
        let SideDifference { gained: more, lost: less } = old.difference(new).subscribe;
        assert_eq!(texts(&more), *gained, "{old:?} to {new:?}");
        assert_eq!(texts(&less), *lost, "{old:?} to {new:?}");
    }
}

#[test]
fn what_may_not_be_reached_is_in_no_set() {
    let patterns = ["a", "b", "*", ">", "a.*", "a.>", "*.b", "a.b", "a.b.*", "*.*", "a.*.c", "*.>"];
    let mut out_of_reach = 0;
    for allow in patterns {
        for queue in ["", " workers"] {
            let rules = limited((&[], &[]), (&[&format!("{allow}{queue}")], &[])).subscribe;
            for wanted in patterns {
                let wanted: SubjectPattern = wanted.parse().unwrap();
                if rules.may_reach(&wanted) {
                    continue;
                }
                out_of_reach += 1;
                for reachable in [rules.reachable_set(), rules.widened().reachable_set()] {
                    let common = SubjectSet::from(wanted.clone()).find_common(&reachable);
                    assert_eq!(common, Ok(None), "{allow}{queue} {wanted}");
                }
            }
        }
    }
    assert!(out_of_reach > 20, "{out_of_reach}");
}
