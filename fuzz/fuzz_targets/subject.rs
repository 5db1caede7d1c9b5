//! Subjects and patterns: two lines, each a subject with or without a queue group.

#![no_main]

use callgate::subject::{Subject, SubjectPattern, SubjectToken, SubscribePattern};
use callgate_fuzz::{
    first_line,
    nats::{matches, samples},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (left, right) = first_line(data);
    let (Ok(left), Ok(right)) = (std::str::from_utf8(left), std::str::from_utf8(right)) else {
        return;
    };
    for text in [left, right] {
        one(text);
    }
    if let (Ok(left), Ok(right)) = (left.parse(), right.parse()) {
        two(&left, &right);
    }
    if let (Ok(left), Ok(right)) =
        (left.parse::<SubscribePattern>(), right.parse::<SubscribePattern>())
    {
        if left.covers(&right) {
            assert!(left.subject().covers(right.subject()));
            assert!(left.queue().is_none() || right.queue().is_some());
        }
    }
});

fn one(text: &str) {
    if let Ok(pattern) = text.parse::<SubjectPattern>() {
        assert_eq!(pattern.to_string(), text);
        assert_eq!(text.parse(), Ok(pattern.clone()));
        assert!(pattern.covers(&pattern) && pattern.overlaps(&pattern));
        assert!(SubjectPattern::everything().covers(&pattern));
        for token in pattern.tokens() {
            assert!(!token.is_empty() && !token.contains(char::is_whitespace));
            assert!(token == "*" || token == ">" || !token.contains(['*', '>']), "{text}");
        }
        assert!(!text.chars().any(char::is_control));
    }
    if let Ok(rule) = text.parse::<SubscribePattern>() {
        assert_eq!(rule.to_string().parse(), Ok(rule.clone()));
        assert!(SubscribePattern::everything().covers(&rule));
    }
    if let Ok(subject) = text.parse::<Subject>() {
        assert!(!text.split('.').any(|token| token == "*" || token == ">"));
        assert!(matches(text, text) && subject.as_pattern().is_literal());
    }
    if let Ok(token) = text.parse::<SubjectToken>() {
        assert!(text.parse::<Subject>().is_ok() && !token.as_str().contains('.'));
    }
}

fn two(left: &SubjectPattern, right: &SubjectPattern) {
    let covered = samples(right.as_str());
    if left.covers(right) {
        assert!(left.overlaps(right));
        for subject in &covered {
            assert!(matches(left.as_str(), subject), "{left:?} {right:?} {subject}");
        }
    }
    assert_eq!(left.overlaps(right), right.overlaps(left));
    for subject in covered {
        let Ok(parsed) = subject.parse::<Subject>() else { continue };
        // What is written twice must agree.
        assert_eq!(left.covers(parsed.as_pattern()), matches(left.as_str(), &subject), "{subject}");
        assert!(!matches(left.as_str(), &subject) || left.overlaps(right));
    }
}
