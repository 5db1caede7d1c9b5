//! Random rules and random questions, the same ones at every run.

use callgate::{
    permissions::{Permissions, Responses, Rules},
    subject::{Subject, SubjectPattern, SubscribePattern},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// A few letters only, so that rules and questions meet.
fn token() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("a"), 3 => Just("b"), 1 => Just("c"), 2 => Just("*")]
}

fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(token(), 1..4), prop::bool::weighted(0.3)).prop_map(
        |(mut tokens, full)| {
            if full {
                *tokens.last_mut().unwrap() = ">";
            }
            tokens.join(".")
        },
    )
}

fn literal() -> impl Strategy<Value = String> {
    let token = prop_oneof![3 => Just("a"), 3 => Just("b"), 1 => Just("c")];
    prop::collection::vec(token, 1..5).prop_map(|tokens| tokens.join("."))
}

/// A subject with or without a queue group, as a rule has it.
fn subscription_rule() -> impl Strategy<Value = String> {
    let queue = prop_oneof![
        6 => Just(""), 2 => Just(" one"), 2 => Just(" two"), 1 => Just(" *"), 1 => Just(" one.>"),
        1 => Just(" >")
    ];
    (pattern(), queue).prop_map(|(subject, queue)| format!("{subject}{queue}"))
}

/// A subject with or without a queue group, as a client asks for it.
fn subscription() -> impl Strategy<Value = String> {
    let queue = prop_oneof![
        3 => Just(""), 1 => Just(" one"), 1 => Just(" two"), 1 => Just(" three"), 1 => Just(" one.x")
    ];
    let subject = prop_oneof![1 => pattern(), 1 => literal()];
    (subject, queue).prop_map(|(subject, queue)| format!("{subject}{queue}"))
}

fn rules<T>(rule: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = Rules<T>>
where
    T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug,
{
    let parse =
        |texts: Vec<String>| -> Vec<T> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let allow = prop::collection::vec(rule.clone(), 0..5);
    let deny = prop::collection::vec(rule, 0..4);
    (allow, deny).prop_map(move |(allow, deny)| Rules { allow: parse(allow), deny: parse(deny) })
}

/// Rules, and what is asked of them.
#[derive(Debug)]
pub(super) struct LoginCase {
    pub(super) permissions: Permissions,
    pub(super) publish: Vec<Subject>,
    pub(super) subscribe: Vec<SubscribePattern>,
}

fn case() -> impl Strategy<Value = LoginCase> {
    // Most sides allow something wide, so that denies have something to take away.
    let wide = |more: BoxedStrategy<String>| prop_oneof![1 => Just(">".to_owned()), 5 => more];
    let publish = rules::<SubjectPattern>(wide(pattern().boxed()).boxed());
    let subscribe = rules::<SubscribePattern>(wide(subscription_rule().boxed()).boxed());
    let responses = prop::option::weighted(0.3, Just(Responses::default()));
    let asked = (prop::collection::vec(literal(), 30), prop::collection::vec(subscription(), 40));
    (publish, subscribe, responses, asked).prop_map(|(publish, subscribe, responses, asked)| {
        LoginCase {
            permissions: Permissions { publish, subscribe, responses },
            publish: asked.0.iter().map(|text| text.parse().unwrap()).collect(),
            subscribe: asked.1.iter().map(|text| text.parse().unwrap()).collect(),
        }
    })
}

/// The same cases at every run.
pub(super) fn cases(count: usize) -> Vec<LoginCase> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"what nats-server really enforces");
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count).map(|_| case().new_tree(&mut runner).unwrap().current()).collect()
}
