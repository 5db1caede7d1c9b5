//! Names, annotations and permissions at their limits.

use callgate_testkit::{eventually, kube::KubeCluster, wait::PATIENCE};
use serde_json::json;

use super::{RECOVERY, SECOND, Scene, chart_rules};

#[tokio::test]
async fn long_and_dotted_names_have_distinct_subjects() {
    let scene = Scene::start("", "").await;
    let longest = ("n".repeat(63), format!("{}.{}", "a".repeat(126), "b".repeat(126)));
    scene.cluster.create_namespace(&longest.0).await;
    for (namespace, name) in [("shop".to_owned(), "my.service".to_owned()), longest] {
        scene.cluster.create_account(&namespace, &name, json!({})).await;
        let token = scene.cluster.token(&namespace, &name, "nats").await;
        scene.becomes(&token, true, 2 * SECOND).await;
        let own = format!("_INBOX_{namespace}_{}", name.replace('.', "_"));
        let operations = [
            format!("pub {namespace}.a"),
            format!("sub {own}.>"),
            format!("sub _INBOX_{namespace}_{name}.>"),
            format!("sub {own}x.>"),
        ];
        let operations: Vec<&str> = operations.iter().map(String::as_str).collect();
        assert_eq!(scene.refused(&token, &operations).await, Some(operations[2..].to_vec()));
    }
}

#[tokio::test]
async fn thousand_subjects_work_and_too_many_are_refused() {
    let ceiling = "ceiling = { publish = [\"orders.>\"] }";
    let scene = Scene::start("", ceiling).await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    let annotate = async |subjects: Vec<String>| {
        let annotations = json!({"nats.io/allowed-pub-subjects": subjects.join(",")});
        scene.cluster.annotate("shop", "web", annotations).await;
    };
    annotate((0..1000).map(|number| format!("orders.{number}")).collect()).await;
    eventually("a thousand subjects", 2 * SECOND, async || {
        let refused = scene.refused(&token, &["pub orders.0", "pub orders.999", "pub orders.x"]);
        (refused.await? == ["pub orders.x"]).then_some(())
    })
    .await;
    // A thousand subjects that are too long in total.
    annotate((0..1000).map(|number| format!("orders.{number:040}")).collect()).await;
    scene.becomes(&token, false, 2 * SECOND).await;
    assert_eq!(scene.decision()["reason"], "grant_too_large");
}

#[tokio::test]
async fn forbidden_watch_is_logged_with_the_missing_rule() {
    let cluster = KubeCluster::start().await;
    let mut rules = chart_rules();
    let list = rules.as_array_mut().unwrap().iter_mut();
    for rule in list.filter(|rule| rule["resources"] == json!(["serviceaccounts"])) {
        rule["verbs"] = json!(["list"]);
    }
    cluster.grant("callgate", rules).await;
    let scene = Scene::over(cluster, "", "").await;
    scene.gate.ready().await;
    // The list succeeded, so logins work, but changes are missed; the log says how to fix that.
    eventually("the missing rule", PATIENCE, async || {
        let log = scene.gate.log();
        let line = log
            .lines()
            .find(|line| line.contains("does not permit Callgate to watch service accounts"))?;
        let words = ["ClusterRole", "serviceaccounts", "list", "watch", "is lost"];
        words.iter().all(|word| line.contains(word)).then_some(())
    })
    .await;
    let lost = "callgate_kubernetes_watch_lost_seconds{authenticator=\"kubernetes\"}";
    eventually("the age", PATIENCE, async || (scene.gate.metric(lost).await > 0.0).then_some(()))
        .await;
    scene.cluster.grant("callgate", chart_rules()).await;
    eventually("the watch", RECOVERY, async || {
        (scene.gate.metric(lost).await == 0.0).then_some(())
    })
    .await;
}
