//! The API server is down, denies permissions, loses its history, and changes its key.

use super::*;

#[tokio::test]
async fn known_accounts_stay_in_force_during_an_outage() {
    let mut bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    bench.cluster.create_account("shop", "gone", json!({})).await;
    let authenticator = bench.build("").await;
    let token = bench.cluster.token("shop", "web", "nats").await;
    let gone = bench.cluster.token("shop", "gone", "nats").await;
    bench.cluster.stop().await;
    eventually("the lost watch", PATIENCE, async || bench.events.known().1).await;
    assert_eq!(judge(&*authenticator, &token).await, "ok");
    assert_eq!(authenticator.readiness(), Readiness::Ready);
    bench.cluster.resume().await;
    bench.cluster.delete_account("shop", "gone").await;
    becomes(&*authenticator, &gone, "unknown_service_account", Duration::from_secs(20)).await;
    assert_eq!(judge(&*authenticator, &token).await, "ok");
    assert_eq!(bench.events.known(), (bench.events.known().0, None));
}

#[tokio::test]
async fn watch_that_fell_behind_lists_again() {
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
async fn rotated_signing_key_replaces_the_old_one() {
    let mut bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let old = bench.cluster.token("shop", "web", "nats").await;
    assert_eq!(judge(&*authenticator, &old).await, "ok");
    bench.cluster.rotate_key().await;
    let new = bench.cluster.token("shop", "web", "nats").await;
    // The unknown key triggers a fetch, after which the old key is no longer valid.
    becomes(&*authenticator, &new, "ok", Duration::from_secs(20)).await;
    assert_eq!(judge(&*authenticator, &old).await, "bad_token");
}

#[tokio::test]
async fn missing_permission_is_named() {
    let bench = Bench::start().await;
    let keys = &minimal_rules()[1];
    bench
        .cluster
        .grant(
            "lister",
            json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list"]}, keys]),
        )
        .await;
    let unprivileged = bench.build_as("unprivileged", true, "");
    eventually("the missing rule", PATIENCE, async || {
        let Readiness::Waiting(why) = unprivileged.readiness() else { panic!("it is ready") };
        let expected = ["does not permit Callgate to", "ClusterRole", "verbs"];
        expected.iter().all(|word| why.contains(word)).then_some(())
    })
    .await;
    // One list is enough to be ready; the denied watch counts as lost.
    let lister = bench.build_as("lister", true, "");
    ready(&*lister).await;
    eventually("the lost watch", PATIENCE, async || bench.events.known().1).await;
}

#[tokio::test]
async fn before_the_first_list_accounts_are_unavailable() {
    let mut bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let token = bench.cluster.token("shop", "web", "nats").await;
    bench.cluster.stop().await;
    let authenticator = bench.build_as("callgate", true, "");
    let Readiness::Waiting(why) = authenticator.readiness() else { panic!("it is ready") };
    assert!(why.contains("API server"), "{why}");
    assert_eq!(judge(&*authenticator, &token).await, "unavailable");
    // A token that is not a service account's is never taken.
    assert_eq!(judge(&*authenticator, "e30.e30.e30").await, "not_mine");
    bench.cluster.resume().await;
    becomes(&*authenticator, &token, "ok", Duration::from_secs(20)).await;
    assert_eq!(authenticator.readiness(), Readiness::Ready);
}

#[tokio::test]
async fn token_file_is_trimmed_and_read_again() {
    let bench = Bench::start().await;
    let (kubeconfig, token) = bench.cluster.kubeconfig_with_token_file("with-file");
    std::fs::write(&token, "withdrawn-token\n").unwrap();
    let settings = format!("audience = [\"nats\"]\nkubeconfig = {kubeconfig:?}\n");
    let authenticator = bench.try_build("cluster", true, &settings).unwrap();
    let patience = PATIENCE * 6;
    eventually("the refused token", patience, async || {
        let Readiness::Waiting(why) = authenticator.readiness() else { panic!("it is ready") };
        why.contains("does not accept Callgate's credentials").then_some(())
    })
    .await;
    // As an editor on Windows writes it.
    std::fs::write(&token, "\u{feff}callgate-token\r\n").unwrap();
    eventually("the replaced token", patience, async || {
        (authenticator.readiness() == Readiness::Ready).then_some(())
    })
    .await;
}
