//! Created, changed and deleted service accounts.

use super::*;

#[tokio::test]
async fn recreated_account_does_not_inherit_tokens() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let old = bench.cluster.token("shop", "web", "nats").await;
    assert_eq!(judge(&*authenticator, &old).await, "ok");
    bench.cluster.delete_account("shop", "web").await;
    let second = Duration::from_secs(1);
    becomes(&*authenticator, &old, "unknown_service_account", second).await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let new = bench.cluster.token("shop", "web", "nats").await;
    becomes(&*authenticator, &new, "ok", second).await;
    assert_eq!(judge(&*authenticator, &old).await, "unknown_service_account");
    assert_eq!(bench.events.known().1, None);
}

#[tokio::test]
async fn recreated_account_ends_what_it_vouched_for() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let mut changes = authenticator.changes();
    changes.iter_mut().for_each(|changes| drop(changes.borrow_and_update()));
    let token = bench.cluster.token("shop", "web", "nats").await;
    let identity = ask(&*authenticator, &token).await.unwrap();
    let how = Reassessment { now: UnixTime::now(), withdrawn_keys: true };
    assert_eq!(authenticator.reassess(&identity, &how), current(&identity));
    let annotations = json!({"nats.io/allowed-pub-subjects": "a.b"});
    bench.cluster.annotate("shop", "web", annotations).await;
    eventually("the changed annotation", PATIENCE, async || {
        let standing = authenticator.reassess(&identity, &how);
        (standing != current(&identity)).then_some(())
    })
    .await;
    assert!(changes.iter().any(|changes| changes.has_changed().unwrap()));
    assert!(matches!(authenticator.reassess(&identity, &how), Standing::Current(_)));
    bench.cluster.delete_account("shop", "web").await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let gone = Standing::Gone(GoneCause::ServiceAccountGone);
    eventually("the account is gone", PATIENCE, async || {
        (authenticator.reassess(&identity, &how) == gone).then_some(())
    })
    .await;
    let again = bench.cluster.token("shop", "web", "nats").await;
    becomes(&*authenticator, &again, "ok", PATIENCE).await;
    assert_eq!(authenticator.reassess(&identity, &how), gone);
}

fn current(identity: &Identity) -> Standing {
    Standing::Current(Box::new(identity.clone()))
}

#[tokio::test]
async fn changed_annotation_applies_within_a_second() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let token = bench.cluster.token("shop", "web", "nats").await;
    let requested = async || {
        let permissions = ask(&*authenticator, &token).await.unwrap().proposal.permissions;
        permissions
            .unwrap_or_default()
            .publish
            .allow
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert!(requested().await.is_empty());
    for (list, expected) in [
        ("a.b, c.>", vec!["a.b", "c.>"]),
        ("x y, ,a..b,ok", vec!["ok"]),
        (">,$SYS.>,_INBOX.>", vec![">", "$SYS.>", "_INBOX.>"]),
    ] {
        let annotations = json!({"nats.io/allowed-pub-subjects": list});
        bench.cluster.annotate("shop", "web", annotations).await;
        eventually("the changed annotation", Duration::from_secs(1), async || {
            (requested().await == expected).then_some(())
        })
        .await;
    }
    assert!(*bench.events.malformed.lock().unwrap() >= 2);
    let many: Vec<String> = (0..1000).map(|number| format!("shop.{number}")).collect();
    let annotations = json!({"nats.io/allowed-pub-subjects": many.join(",")});
    bench.cluster.annotate("shop", "web", annotations).await;
    eventually("a thousand subjects", Duration::from_secs(1), async || {
        (requested().await.len() == 1000).then_some(())
    })
    .await;
    bench.cluster.annotate("shop", "web", json!({"nats.io/allowed-pub-subjects": null})).await;
    eventually("no annotation", Duration::from_secs(1), async || {
        requested().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn namespaces_and_labels_limit_the_known_accounts() {
    let bench = Bench::start().await;
    bench.cluster.create_namespace("bank").await;
    for (namespace, name) in [("shop", "web"), ("shop", "db"), ("bank", "web")] {
        bench.cluster.create_account(namespace, name, json!({})).await;
    }
    let token = async |namespace, name| bench.cluster.token(namespace, name, "nats").await;
    let (web, db, bank) =
        (token("shop", "web").await, token("shop", "db").await, token("bank", "web").await);
    let unknown = "unknown_service_account";
    let only_shop = bench.build("namespaces = [\"shop\"]").await;
    for (token, expected) in [(&web, "ok"), (&db, "ok"), (&bank, unknown)] {
        assert_eq!(judge(&*only_shop, token).await, expected);
    }
    let kubeconfig = bench.cluster.kubeconfig("callgate");
    let empty =
        format!("audience = [\"nats\"]\nkubeconfig = {kubeconfig:?}\nlabel_selector = \"\"");
    let Err(faults) = bench.try_build("empty", true, &empty) else { panic!("all are selected") };
    assert!(faults.contains("must not be empty"), "{faults}");
    let only_web = bench.build("label_selector = \"app=web\"").await;
    for (token, expected) in [(&web, "ok"), (&db, unknown), (&bank, "ok")] {
        assert_eq!(judge(&*only_web, token).await, expected);
    }
    bench.cluster.label("shop", "web", json!({"app": "other"})).await;
    becomes(&*only_web, &web, unknown, Duration::from_secs(1)).await;
    bench.cluster.label("shop", "web", json!({"app": "web"})).await;
    becomes(&*only_web, &web, "ok", Duration::from_secs(1)).await;
}

#[tokio::test]
async fn without_background_work_accounts_are_looked_up_on_demand() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({"nats.io/roles": "a"})).await;
    let authenticator = bench.build_as("callgate", false, "");
    let token = bench.cluster.token("shop", "web", "nats").await;
    let identity = ask(&*authenticator, &token).await.unwrap();
    assert_eq!(identity.proposal.roles, Some(vec!["a".to_owned()]));
    bench.cluster.delete_account("shop", "web").await;
    assert_eq!(judge(&*authenticator, &token).await, "unknown_service_account");
}
