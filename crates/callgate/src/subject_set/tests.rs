//! Sets of subjects against brute force.

use proptest::prelude::*;

use super::*;

fn patterns(list: &[&str]) -> Vec<SubjectPattern> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn set(allow: &[&str], deny: &[&str]) -> SubjectSet {
    SubjectSet::allowing(&patterns(allow), &patterns(deny))
}

#[test]
fn union_can_cover_what_no_single_pattern_covers() {
    let table = [
        (set(&["a.>"], &[]), set(&["a.*", "a.*.>"], &[]), true),
        (set(&[">"], &[]), set(&["*", "*.>"], &[]), true),
        (set(&["a.*"], &[]), set(&["a.b", "a.c"], &[]), false),
        (set(&["a.>"], &["a.b"]), set(&["a.>"], &["a.*"]), false),
        (set(&["a.>"], &["a.*"]), set(&["a.>"], &["a.b"]), true),
        (set(&["a.*"], &["a.*"]), set(&[], &[]), true),
        (set(&["a.b", "a.c"], &["a.b"]), set(&["a.c"], &[]), true),
        (set(&["a"], &[]), set(&["a"], &["b"]), true),
        (set(&[">"], &[]), set(&[">"], &["$SYS.>"]), false),
    ];
    for (inner, outer, expected) in table {
        assert_eq!(inner.is_within(&outer), expected, "{inner:?} within {outer:?}");
    }
}

#[test]
fn difference_is_as_narrow_as_patterns_can_say() {
    let table: &[(SubjectSet, SubjectSet, &[&str])] = &[
        (set(&["foo.>"], &[]), set(&["foo.*"], &[]), &["foo.*.>"]),
        (set(&["foo.>"], &[]), set(&["foo.*.>"], &[]), &["foo.*"]),
        (set(&[">"], &[]), set(&["*", "*.*"], &[]), &["*.*.>"]),
        (set(&["foo.>"], &[]), set(&["foo.*.*"], &[]), &["foo.*", "foo.*.*.>"]),
        (set(&["foo.>"], &[]), set(&["foo.>"], &["foo.audit.>"]), &["foo.audit.>"]),
        (set(&["foo.*"], &[]), set(&["foo.a", "foo.b"], &[]), &["foo.* except foo.a, foo.b"]),
        (set(&["foo.>", "foo.*"], &[]), set(&[], &[]), &["foo.>"]),
        (set(&["foo.>"], &["foo.a"]), set(&[], &[]), &["foo.> except foo.a"]),
        (set(&["foo.>"], &["foo.a"]), set(&["foo.>"], &["foo.a"]), &[]),
        (set(&["a", "b"], &[]), set(&["b"], &[]), &["a"]),
        (set(&["a.*"], &[]), set(&["a.>"], &["*.x"]), &["a.x"]),
    ];
    for (left, right, expected) in table {
        let texts: Vec<String> = left.minus(right).iter().map(ToString::to_string).collect();
        assert_eq!(texts, *expected, "{left:?} minus {right:?}");
    }
}

#[test]
fn thousands_of_subjects_are_compared_exactly() {
    let many: Vec<SubjectPattern> = (0..3000)
        .map(|number| format!("team{}.*.{number}.>", number % 7).parse().unwrap())
        .collect();
    let all = SubjectSet::allowing(&many, &[]);
    let fewer = SubjectSet::allowing(&many[1..], &patterns(&["team3.secret.>"]));
    let lost: Vec<String> = all.minus(&fewer).iter().map(ToString::to_string).collect();
    assert!(lost.contains(&"team0.*.0.>".to_owned()), "{lost:?}");
    assert!(lost.contains(&"team3.secret.3.>".to_owned()), "{lost:?}");
    assert!(fewer.is_within(&all));
}

#[test]
fn entangled_patterns_count_as_different() {
    // Whether a union of such patterns covers another is as hard as any problem of logic.
    let entangled = |seed: u64| -> Vec<SubjectPattern> {
        let mut state = seed;
        let mut token = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ["*", "*", "a", "b"][(state >> 60) as usize % 4]
        };
        (0..400)
            .map(|_| (0..60).map(|_| token()).collect::<Vec<_>>().join(".").parse().unwrap())
            .collect()
    };
    let left = SubjectSet::allowing(&patterns(&[&vec!["*"; 60].join(".")]), &entangled(1));
    let right = SubjectSet::allowing(&entangled(2), &[]);
    // Either answer is safe; the point is that there is one, in bounded time.
    assert!(left.find_outside(&right) != Ok(None));
}

fn pattern() -> impl Strategy<Value = SubjectPattern> {
    let token = prop_oneof![Just("a"), Just("b"), Just("*")];
    (prop::collection::vec(token, 0..4), any::<bool>()).prop_map(|(mut tokens, is_open)| {
        if is_open || tokens.is_empty() {
            tokens.push(">");
        }
        tokens.join(".").parse().unwrap()
    })
}

fn any_set() -> impl Strategy<Value = SubjectSet> {
    let list = || prop::collection::vec(pattern(), 0..4);
    let part = (list(), list()).prop_map(|(allow, deny)| SubjectSet::allowing(&allow, &deny));
    prop::collection::vec(part, 1..3)
        .prop_map(|parts| parts.into_iter().fold(SubjectSet::default(), SubjectSet::or))
}

/// Every subject of one to five tokens over the letters of the patterns and one more. Longer ones are
/// matched like those of five, since no pattern has more than four tokens.
fn all_subjects() -> Vec<Subject> {
    let mut all: Vec<String> = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..5 {
        let longer = |text: &String| ["a", "b", "c"].map(|letter| format!("{text}.{letter}"));
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().map(|text| text[1..].to_owned()));
    }
    all.iter().map(|text| text.parse().unwrap()).collect()
}

proptest! {
    #[test]
    fn containment_agrees_with_brute_force(left in any_set(), right in any_set()) {
        let all = all_subjects();
        let outside = |one: &&Subject| left.contains(one) && !right.contains(one);
        let common = |one: &&Subject| left.contains(one) && right.contains(one);
        let expected = all.iter().find(outside).is_some();
        let found = left.find_outside(&right).unwrap();
        prop_assert_eq!(found.is_some(), expected, "{:?}", found);
        if let Some(found) = &found {
            prop_assert!(left.contains(found) && !right.contains(found), "{found:?}");
        }
        let found = left.find_common(&right).unwrap();
        prop_assert_eq!(found.is_some(), all.iter().find(common).is_some(), "{:?}", found);
        if let Some(found) = &found {
            prop_assert!(left.contains(found) && right.contains(found), "{found:?}");
        }
    }

    #[test]
    fn difference_misses_no_subject(left in any_set(), right in any_set()) {
        let ranges = left.minus(&right);
        let described = |subject: &Subject| {
            ranges.iter().any(|range| range.subject.covers(subject.as_pattern()))
        };
        let mut differs = false;
        for subject in all_subjects() {
            if left.contains(&subject) && !right.contains(&subject) {
                differs = true;
                prop_assert!(described(&subject), "{} is missing in {:?}", subject, ranges);
            }
        }
        prop_assert_eq!(ranges.is_empty(), !differs, "{:?}", ranges);
        for range in &ranges {
            let exact = SubjectSet::allowing(std::slice::from_ref(&range.subject), &range.except);
            let mut members = all_subjects().into_iter().filter(|subject| exact.contains(subject));
            prop_assert!(members.any(|one| left.contains(&one) && !right.contains(&one)), "{:?}", range);
        }
    }
}
