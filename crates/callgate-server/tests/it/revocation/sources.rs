//! Changes of other sources than a users file.

use callgate_testkit::{kube::KubeCluster, oidc_provider::OidcProvider};
use serde_json::json;

use super::world::{World, connects};
use crate::support::{Credential, everywhere};

#[tokio::test]
async fn ordinary_signing_key_rotation_ends_no_session() {
    for (mode, line) in everywhere() {
        key_leaves_the_set(World::on(mode, line).await, false).await;
    }
}

#[tokio::test]
async fn withdrawn_signing_key_ends_sessions() {
    for (mode, line) in everywhere() {
        key_leaves_the_set(World::on(mode, line).await, true).await;
    }
}

/// A session whose token is signed by a key that the provider withdraws.
async fn key_leaves_the_set(mut world: World, keys: bool) {
    let provider = OidcProvider::stand_in().await;
    world.revocation = format!("keys = {keys}");
    let issuer = provider.issuer();
    world.configure(&format!(
        "[[authenticators]]\nname = \"idp\"\n[authenticators.oidc]\nissuer = \"{issuer}\"\naudience = \"nats\"\n\
         insecure_http = true\n[roles.any]\npublish = [\"a\"]\nsubscribe = [\"_INBOX.>\"]\n[[bindings]]\n\
         authenticator = \"idp\"\nroles = [\"any\"]\naccount = \"APP\"\n"
    ));
    let gate = world.gate().await;
    let token = provider.mint("RS256", json!({ "sub": "alice" })).await;
    let mut alice = world.connect(&Credential::token(&token)).await;
    provider.rotate().await;
    provider.retire().await;
    // A token of the new key makes Callgate fetch the keys.
    let newer = provider.mint("RS256", json!({ "sub": "bob" })).await;
    let mark = gate.mark();
    let bob = world.connect(&Credential::token(&newer)).await;
    gate.says(mark, "signing keys are in force").await;
    if keys {
        alice.hears("disconnected").await;
        gate.metric_reaches("callgate_revocations_total{cause=\"key_removed\"}", 1.0).await;
    } else {
        // The next change is evaluated after this one.
        world.users(&json!({ "carol": { "pass": "x" } }));
        gate.says(mark, "the changed file is in force").await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(connects(&alice), 1);
    }
    assert_eq!(connects(&bob), 1);
}

#[tokio::test]
async fn deleted_and_recreated_service_account_ends_its_sessions() {
    let cluster = KubeCluster::start().await;
    cluster
        .grant(
            "callgate",
            json!([
                { "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list", "watch"] },
                { "nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"] },
            ]),
        )
        .await;
    cluster.create_namespace("shop").await;
    for name in ["web", "db"] {
        cluster.create_account("shop", name, json!({})).await;
    }
    for (mode, line) in everywhere() {
        recreated_account(&cluster, World::on(mode, line).await).await;
    }
}

async fn recreated_account(cluster: &KubeCluster, mut world: World) {
    let kubeconfig = cluster.kubeconfig("callgate");
    world.configure(&format!(
        "[[authenticators]]\nname = \"pods\"\naccount = \"APP\"\n[authenticators.kubernetes]\naudience = \"nats\"\n\
         kubeconfig = \"{}\"\n",
        kubeconfig.display()
    ));
    let gate = world.gate().await;
    let web = cluster.token("shop", "web", "nats").await;
    let db = cluster.token("shop", "db", "nats").await;
    let mut web = world.connect(&Credential::token(&web)).await;
    let db = world.connect(&Credential::token(&db)).await;
    cluster.delete_account("shop", "web").await;
    cluster.create_account("shop", "web", json!({})).await;
    web.hears("disconnected").await;
    gate.metric_reaches("callgate_revocations_total{cause=\"service_account_gone\"}", 1.0).await;
    assert_eq!(connects(&db), 1);
}
