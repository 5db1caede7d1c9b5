//! The API server goes away, forbids, forgets, and changes its key.

use super::*;

#[tokio::test]
async fn a_restarted_api_server_is_waited_for_and_what_was_known_serves_meanwhile() {
    let mut bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    bench.cluster.create_account("shop", "gone", json!({})).await;
    let authenticator = bench.build("").await;
    let token = bench.cluster.token("shop", "web", "nats").await;
    let gone = bench.cluster.token("shop", "gone", "nats").await;
    bench.cluster.stop().await;
    eventually("the lost watch", PATIENCE, async || bench.told.known().1).await;
    assert_eq!(judge(&*authenticator, &token).await, "ok");
    assert_eq!(authenticator.readiness(), Readiness::Ready);
    bench.cluster.resume().await;
    bench.cluster.delete_account("shop", "gone").await;
    becomes(&*authenticator, &gone, "unknown_service_account", Duration::from_secs(20)).await;
    assert_eq!(judge(&*authenticator, &token).await, "ok");
    assert_eq!(bench.told.known(), (bench.told.known().0, None));
}

#[tokio::test]
async fn a_watch_that_fell_behind_lists_anew() {
    let mut bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let token = bench.cluster.token("shop", "web", "nats").await;
    bench.cluster.stop().await;
    bench.cluster.forget_history();
    bench.cluster.resume().await;
    bench.cluster.delete_account("shop", "web").await;
    bench.cluster.forget_history();
    becomes(&*authenticator, &token, "unknown_service_account", PATIENCE).await;
}

#[tokio::test]
async fn a_rotated_signing_key_is_taken_and_the_old_one_is_let_go() {
    let mut bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let old = bench.cluster.token("shop", "web", "nats").await;
    assert_eq!(judge(&*authenticator, &old).await, "ok");
    bench.cluster.rotate_key().await;
    let new = bench.cluster.token("shop", "web", "nats").await;
    // The key is unknown, so it is asked for at once; what it replaced is gone with it.
    becomes(&*authenticator, &new, "ok", Duration::from_secs(20)).await;
    assert_eq!(judge(&*authenticator, &old).await, "bad_token");
}

#[tokio::test]
async fn a_missing_rule_is_named() {
    let bench = Bench::start().await;
    let keys = &least_rules()[1];
    bench
        .cluster
        .grant(
            "lister",
            json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list"]}, keys]),
        )
        .await;
    for (user, expected) in
        [("nobody", &["does not permit Callgate to", "ClusterRole", "verbs"][..]), ("lister", &[])]
    {
        let authenticator = bench.build_as(user, true, "");
        if user == "lister" {
            // Listed once it serves; that the watch is forbidden shows as a lost one.
            ready(&*authenticator).await;
            eventually("the lost watch", PATIENCE, async || bench.told.known().1).await;
            continue;
        }
        eventually("the missing rule", PATIENCE, async || {
            let Readiness::Waiting(why) = authenticator.readiness() else { panic!("it is ready") };
            expected.iter().all(|word| why.contains(word)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_is_ready_and_nobody_is_refused_before_the_first_list() {
    let mut bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let token = bench.cluster.token("shop", "web", "nats").await;
    bench.cluster.stop().await;
    let authenticator = bench.build_as("callgate", true, "");
    let Readiness::Waiting(why) = authenticator.readiness() else { panic!("it is ready") };
    assert!(why.contains("API server"), "{why}");
    assert_eq!(judge(&*authenticator, &token).await, "unavailable");
    // A token that no service account has is never its business.
    assert_eq!(judge(&*authenticator, "e30.e30.e30").await, "not_mine");
    bench.cluster.resume().await;
    becomes(&*authenticator, &token, "ok", Duration::from_secs(20)).await;
    assert_eq!(authenticator.readiness(), Readiness::Ready);
}
