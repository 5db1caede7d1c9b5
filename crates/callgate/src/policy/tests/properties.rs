//! Properties that hold for all inputs.

use proptest::prelude::*;

use super::*;
use crate::subject::{Subject, SubjectPattern, SubscribePattern};

fn token() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]", Just("*".to_owned())]
}

fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(token(), 1..4), any::<bool>()).prop_map(|(mut tokens, full)| {
        if full {
            tokens.push(">".to_owned());
        }
        tokens.join(".")
    })
}

fn subject() -> impl Strategy<Value = Subject> {
    prop::collection::vec("[ab]", 1..5).prop_map(|tokens| tokens.join(".").parse().unwrap())
}

fn parsed(list: &[String]) -> Vec<SubjectPattern> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn asking(publish: &[String], subscribe: &[String]) -> Identity {
    let mut identity = user("u");
    let publish: Vec<&str> = publish.iter().map(String::as_str).collect();
    let subscribe: Vec<&str> = subscribe.iter().map(String::as_str).collect();
    identity.proposal.permissions = Some(permissions(&publish, &subscribe));
    identity
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "'g[0-3]' in groups",
        "user == 'u[0-3]'",
        "'u[0-3]' == user",
        "user in \\['u[0-3]', 'u[0-3]'\\]",
        "claims\\.[ab] == '[xy]'",
        "claims\\['[ab]'\\] == '[xy]'",
        "claims\\.a in \\['x', 'y'\\]",
        "'[xy]' in claims\\.[ab]",
        "claims\\.[ab]\\.c == '[xy]'",
        "'[xy]' in claims\\.[ab]\\['c'\\]",
        "has\\(claims\\.[ab]\\) && claims\\.[ab] == '[xy]'",
        "has\\(claims\\.[ab]\\.c\\)",
        "claims\\.[ab] > [0-9]",
        "has\\(claims\\.[ab]\\)",
        "size\\(groups\\) == [0-3]",
        "true|false",
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), "&&|\\|\\|", inner, any::<bool>()).prop_map(|(left, both, right, not)| {
            format!("{}({left} {both} {right})", if not { "!" } else { "" })
        })
    })
}

fn claimed() -> impl Strategy<Value = Json> {
    prop_oneof![
        "[xyz]".prop_map(Json::from),
        (0..9).prop_map(Json::from),
        Just(Json::Null),
        Just(json!(["x"])),
        Just(json!(["x", 1])),
        Just(json!({ "c": "x" })),
        Just(json!({ "c": ["x", "y"] })),
        Just(json!({ "x": 1 })),
    ]
}

fn member() -> impl Strategy<Value = Identity> {
    let groups = prop_oneof![
        9 => prop::collection::vec("g[0-4]", 0..3),
        // More than the limit for expressions.
        1 => Just(vec!["g1".to_owned(); 1001]),
    ];
    ("u[0-4]", groups, prop::collection::btree_map("[abc]", claimed(), 0..3)).prop_map(
        |(name, groups, claims)| Identity {
            groups,
            claims: claims.into_iter().collect(),
            ..user(&name)
        },
    )
}

proptest! {
    #[test]
    fn deny_never_widens(
        allows in prop::collection::vec(pattern(), 0..4),
        denies in prop::collection::vec(pattern(), 0..3),
        more in pattern(),
        asked in subject(),
        wanted in pattern(),
    ) {
        let identity = |denies: &[String]| entry("u", |p| {
            let mut own = permissions(&[], &[]);
            own.publish = Rules { allow: parsed(&allows), deny: parsed(denies) };
            own.subscribe = Rules {
                allow: parsed(&allows).into_iter().map(SubscribePattern::from).collect(),
                deny: parsed(denies).into_iter().map(SubscribePattern::from).collect(),
            };
            p.permissions = Some(own);
        });
        let policy = policy(|_| {});
        let before = Scene::new().resolve(&policy, &identity(&denies)).unwrap();
        let with_more: Vec<String> = denies.iter().cloned().chain([more]).collect();
        let after = Scene::new().resolve(&policy, &identity(&with_more)).unwrap();
        prop_assert!(!after.access().can_publish(&asked).allowed || before.access().can_publish(&asked).allowed);
        let wanted: SubscribePattern = wanted.parse().unwrap();
        prop_assert!(!after.access().can_subscribe(&wanted).allowed || before.access().can_subscribe(&wanted).allowed);
    }

    #[test]
    fn template_fills_one_literal_token_or_refuses(value in any::<String>(), encoded: bool) {
        let template = if encoded { "x.{{ encode(user) }}.y" } else { "x.{{ user }}.y" };
        let policy = policy(|p| {
            p.roles.insert("one".into(), publisher(&[template]));
            p.bindings.push(bind(&["one"]));
        });
        match Scene::new().resolve(&policy, &user(&value)) {
            Err(denial) => prop_assert_eq!(denial.reason, Reason::UnsafeTemplateValue),
            Ok(grant) => {
                let granted = publishes(&grant);
                prop_assert_eq!(granted.len(), 1);
                let tokens: Vec<&str> = granted[0].split('.').collect();
                prop_assert_eq!(tokens.len(), 3);
                prop_assert!(granted[0].parse::<Subject>().is_ok());
            }
        }
    }

    #[test]
    fn different_texts_are_encoded_differently(left in any::<String>(), right in any::<String>()) {
        prop_assert_eq!(left == right, crate::policy::encode(&left) == crate::policy::encode(&right));
    }

    #[test]
    fn grant_never_exceeds_its_ceiling(
        ceiling in prop::collection::vec(pattern(), 0..4),
        asked in prop::collection::vec(pattern(), 0..5),
        subject in subject(),
    ) {
        let policy = policy(|p| {
            p.authenticators[0].ceiling.publish = ceiling.clone();
            p.authenticators[0].ceiling.subscribe = ceiling.clone();
        });
        let Ok(grant) = Scene::new().resolve(&policy, &asking(&asked, &asked)) else { return Ok(()) };
        let entries = parsed(&ceiling);
        for rule in limited(&grant).publish.allow.iter() {
            prop_assert!(entries.iter().any(|entry| entry.covers(rule)), "{} {:?}", rule, ceiling);
            prop_assert!(!rule.reaches_reserved_space());
        }
        if grant.access().can_publish(&subject).allowed {
            prop_assert!(entries.iter().any(|entry| entry.covers(subject.as_pattern())));
        }
        let kept = limited(&grant).publish.allow.len() + limited(&grant).subscribe.allow.len();
        prop_assert!(kept + grant.ceiling_dropped() as usize <= 2 * asked.len());
    }

    #[test]
    fn equal_requests_have_equal_grants(
        mut asked in prop::collection::vec(pattern(), 0..6),
        key in any::<[u8; 32]>(),
    ) {
        let policy = policy(|p| {
            p.session = SessionSettings { max_lifetime: minutes(60), jitter: 0.5 };
        });
        let identity = |list: &[String]| entry("u", |p| p.permissions = asking(list, list).proposal.permissions);
        let mut scene = Scene::new();
        scene.user_nkey = key;
        let first = scene.resolve(&policy, &identity(&asked)).unwrap();
        asked.reverse();
        asked.extend(asked.clone());
        let second = scene.resolve(&policy, &identity(&asked)).unwrap();
        let end = ends_in(&first).unwrap();
        prop_assert!((1800..=3600).contains(&end));
        prop_assert_eq!(first, second);
    }

    /// A decision evaluates only the bindings that the index selects; an explanation evaluates all.
    #[test]
    fn bindings_skipped_by_the_index_never_match(
        conditions in prop::collection::vec((condition(), any::<bool>(), any::<bool>()), 1..6),
        identity in member(),
    ) {
        let policy = policy(|p| {
            for (index, (condition, otherwise, every)) in conditions.iter().enumerate() {
                let name = format!("r{index}");
                p.roles.insert(name.clone(), publisher(&[&name]));
                let mut binding = BindingSettings { otherwise: *otherwise, ..when(condition, &[&name]) };
                if *every {
                    binding.authenticator = AuthenticatorSelector::Every;
                }
                p.bindings.push(binding);
            }
        });
        let scene = Scene::new();
        let request = scene.request("idp", &identity);
        let outcome = |result: Result<Grant, Denial>| {
            result.map(|grant| (grant.roles().to_vec(), grant.bindings.clone())).map_err(|denial| denial.to_string())
        };
        prop_assert_eq!(outcome(policy.resolve(&request)), outcome(policy.explain(&request).0));
    }
}
