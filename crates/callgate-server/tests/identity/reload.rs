//! Reloads of policies and issuers while clients connect.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use callgate_testkit::{OidcProvider, eventually, oidc_provider::KEYS, wait::PATIENCE};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{World, has};

with_each_provider![a_policy_is_swapped_whole_while_clients_connect];

fn sso(provider: &OidcProvider, policy: &str) -> String {
    let issuer = provider.issuer();
    format!(
        "[[authenticators]]\nname = \"sso\"\n[authenticators.oidc]\nissuer = \"{issuer}\"\n\
         insecure_http = true\naudience = [\"nats\"]\n{policy}"
    )
}

/// A policy in which every name is the same word.
fn policy(word: &str) -> String {
    format!(
        "[[bindings]]\nroles = [\"one\", \"two\"]\n\
         [roles.one]\ninbox = \"shared\"\npublish = [\"{word}.one\", \"$SYS.REQ.USER.INFO\"]\n\
         [roles.two]\npublish = [\"{word}.two\"]\nsubscribe = [\"{word}.sub\"]\n"
    )
}

async fn a_policy_is_swapped_whole_while_clients_connect(provider: OidcProvider) {
    let world = World::of(&sso(&provider, &policy("red"))).start().await;
    let token = provider.mint("ES256", json!({})).await;
    let (over, seen) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 2]);
    let clients = join_all((0..4).map(async |_| {
        while !over.load(Ordering::SeqCst) {
            let (session, _) = world.admits(&token).await;
            let permissions = session.user_info().await["permissions"].to_string();
            let has = |word: &str| {
                ["one", "two", "sub"]
                    .map(|part| permissions.contains(&format!("\"{word}.{part}\"")))
            };
            match (has("red"), has("blue")) {
                ([true, true, true], [false, false, false]) => &seen[0],
                ([false, false, false], [true, true, true]) => &seen[1],
                _ => panic!("half of this and half of that: {permissions}"),
            }
            .fetch_add(1, Ordering::SeqCst);
        }
    }));
    let changes = async {
        for word in ["blue", "red", "blue"] {
            world.reload(&sso(&provider, &policy(word))).await;
            let counter = &seen[usize::from(word == "blue")];
            let before = counter.load(Ordering::SeqCst);
            eventually(&format!("{word} sessions"), PATIENCE, async || {
                (counter.load(Ordering::SeqCst) > before + 4).then_some(())
            })
            .await;
        }
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(clients, changes);
    // The keys were not fetched again, because their settings are unchanged.
    assert_eq!(provider.front().asked(KEYS), 1);
}

#[tokio::test]
async fn invalid_policy_is_not_applied_and_errors_have_locations() {
    let provider = OidcProvider::stand_in().await;
    let world = World::of(&sso(&provider, &policy("red"))).start().await;
    let token = provider.mint("ES256", json!({})).await;
    let when = |condition: &str| {
        policy("blue") + &format!("[[bindings]]\nwhen = '{condition}'\nroles = [\"one\"]\n")
    };
    let cases: [(String, &[&str]); 9] = [
        (when("claims.a == && true"), &["bindings[1].when", "line 1, column 13"]),
        (when("1 +"), &["bindings[1].when"]),
        (when("user.matches(\"[\")"), &["bindings[1].when"]),
        (
            policy("blue") + "[[bindings]]\nroles = [\"absent\"]\n",
            &["bindings[1].roles", "`absent`"],
        ),
        (
            policy("blue") + "[[bindings]]\nauthenticator = \"ssso\"\nroles = [\"one\"]\n",
            &["bindings[1].authenticator", "`ssso`", "`sso`"],
        ),
        (
            policy("blue") + "[roles.three]\npublish = [\"x.{{ claims. }}\"]\n",
            &["roles.three.publish"],
        ),
        (
            policy("blue") + "[roles.three]\npublsh = [\"x\"]\n",
            &["roles.three.publsh", "`publish`"],
        ),
        (policy("blue") + "[roles.three]\npublish = [\"a..b\"]\n", &["roles.three.publish"]),
        (policy("blue") + "[roles", &["unclosed `[`", "name of the table"]),
    ];
    for (bad, words) in cases {
        world.reload_fails(&sso(&provider, &bad)).await;
        let (code, text) = world.check();
        assert_eq!(code, 2, "{text}");
        has(&text, words);
        // The service logs the same errors as `check` prints.
        for word in words {
            world.gate.line(0, &["\"level\":\"ERROR\"", word]).await;
        }
        let (session, _) = world.admits(&token).await;
        let permissions = session.user_info().await["permissions"].to_string();
        has(&permissions, &["red.one", "red.two"]);
        assert!(!permissions.contains("blue"), "{permissions}");
    }
    world.reload(&sso(&provider, &policy("blue"))).await;
    let (session, _) = world.admits(&token).await;
    has(&session.user_info().await["permissions"].to_string(), &["blue.one"]);
}

#[tokio::test]
async fn new_issuer_applies_once_its_keys_are_loaded() {
    let old = OidcProvider::stand_in().await;
    let mut new = OidcProvider::stand_in().await;
    let world = World::of(&sso(&old, &policy("red"))).start().await;
    let (by_old, by_new) = (old.mint("ES256", json!({})).await, new.mint("ES256", json!({})).await);
    world.admits(&by_old).await;
    new.front_mut().go_down().await;
    let config = sso(&new, &policy("blue"));
    let reload = world.reload(&config);
    let come_up = async {
        world.gate.line(0, &["is waiting for its source", new.issuer()]).await;
        world.admits(&by_old).await;
        assert_eq!(world.gate.get("/readyz").await.0, 200);
        new.front_mut().come_up().await;
    };
    tokio::join!(reload, come_up);
    let (session, _) = world.admits(&by_new).await;
    has(&session.user_info().await["permissions"].to_string(), &["blue.one"]);
    // A cached token of the old issuer is refused, too.
    assert_eq!(world.refuses(&by_old).await.0, "bad_token");
}
