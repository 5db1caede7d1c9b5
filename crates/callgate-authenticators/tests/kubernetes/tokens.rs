//! Which tokens are accepted, with which identity, and by which entry.

use callgate_testkit::{conformance, oidc_provider::SigningKey};

use super::*;

#[tokio::test]
async fn token_of_the_cluster_yields_its_identity() {
    let bench = Bench::start().await;
    let uid =
        bench.cluster.create_account("shop", "my.service", json!({"nats.io/team": "blue"})).await;
    let authenticator = bench.build("").await;
    let token = bench.cluster.token("shop", "my.service", "nats").await;
    for _ in 0..2 {
        let identity = ask(&*authenticator, &token).await.unwrap();
        assert_eq!(identity.user, "shop/my.service");
        assert_eq!(identity.variables["namespace"], "shop");
        assert_eq!(identity.variables["service_account"], "my_service");
        let claims = Value::Object(identity.claims);
        assert_eq!(claims["namespace"], "shop");
        assert_eq!(claims["service_account"], "my.service");
        assert_eq!(claims["uid"], json!(uid));
        assert_eq!(claims["labels"], json!({"app": "my.service"}));
        assert_eq!(claims["annotations"], json!({"nats.io/team": "blue"}));
        assert!(identity.expires_at.unwrap() > UnixTime::now());
        if !bench.cluster.is_real() {
            assert_eq!(
                (&claims["pod"], &claims["node"]),
                (&json!("my.service-0"), &json!("node-1"))
            );
        }
    }
    let late = request(&token).received_at(UnixTime::now().plus(Duration::from_secs(3601)));
    assert_eq!(word(&authenticator.authenticate(&late).await), "token_expired");
}

#[tokio::test]
async fn tokens_for_others_and_from_others_are_refused() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let elsewhere = Bench::start().await;
    elsewhere.cluster.create_account("shop", "web", json!({})).await;
    let own = bench.cluster.token("shop", "web", "nats").await;
    assert_eq!(judge(&*authenticator, &own).await, "ok");
    // Issued for the API server itself.
    let issuer = bench.cluster.issuer();
    let for_server = bench.cluster.token("shop", "web", issuer).await;
    assert_eq!(judge(&*authenticator, &for_server).await, "wrong_audience");
    // The other cluster has the same issuer, but another key.
    let foreign = elsewhere.cluster.token("shop", "web", "nats").await;
    assert_eq!(judge(&*authenticator, &foreign).await, "bad_token");
    // A token of another issuer is not taken.
    let keys = keys_file();
    let settings = format!(
        "issuer = \"https://other\"
jwks_file = {:?}",
        keys.path()
    );
    let other = bench.build(&settings).await;
    assert_eq!(judge(&*other, &own).await, "not_mine");
    let forged = conformance::forged(&own);
    assert_eq!(judge(&*authenticator, &forged).await, "bad_token");
    assert_eq!(judge(&*authenticator, "no token").await, "not_mine");
}

fn keys_file() -> tempfile::NamedTempFile {
    // Any usable key: no token of this issuer is verified.
    let file = tempfile::NamedTempFile::new().unwrap();
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    std::fs::write(file.path(), json!({"keys": [key]}).to_string()).unwrap();
    file
}

#[tokio::test]
async fn longest_possible_names_are_accepted() {
    let bench = Bench::start().await;
    let namespace = "n".repeat(63);
    let name = format!("{}.{}", "a".repeat(126), "b".repeat(126));
    bench.cluster.create_namespace(&namespace).await;
    bench.cluster.create_account(&namespace, &name, json!({})).await;
    let authenticator = bench.build("").await;
    let token = bench.cluster.token(&namespace, &name, "nats").await;
    for _ in 0..2 {
        let identity = ask(&*authenticator, &token).await.unwrap();
        assert_eq!(identity.user, format!("{namespace}/{name}"));
        assert_eq!(identity.variables["service_account"], name.replace('.', "_"));
    }
}

#[tokio::test]
async fn entries_of_one_cluster_route_by_audience() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let kubeconfig = bench.cluster.kubeconfig("callgate");
    let build = |name: &str, audience: &str| {
        bench.try_build(name, true, &format!("audience = {audience}\nkubeconfig = {kubeconfig:?}"))
    };
    let first = build("first", "[\"nats-a\", \"nats-b\"]").unwrap();
    let second = build("second", "[\"nats-c\"]").unwrap();
    ready(&*first).await;
    ready(&*second).await;
    for (audience, of_first, of_second) in [
        ("nats-a", "ok", "not_mine"),
        ("nats-b", "ok", "not_mine"),
        ("nats-c", "not_mine", "ok"),
        // For none of the entries: the first one refuses it.
        ("nats-d", "wrong_audience", "wrong_audience"),
    ] {
        let token = bench.cluster.token("shop", "web", audience).await;
        // The second time, the token is cached.
        for _ in 0..2 {
            assert_eq!(judge(&*second, &token).await, of_second, "{audience}");
            assert_eq!(judge(&*first, &token).await, of_first, "{audience}");
        }
    }
    let fault = build("third", "[\"nats-c\"]").unwrap_err();
    assert!(fault.contains("`nats-c` is also an audience of `second`"), "{fault}");
}

/// While the issuer of a cluster is changed: the same audience, and the same keys unless a file has others.
#[tokio::test]
async fn entries_with_different_issuers_route_by_issuer() {
    let bench = Bench::start().await;
    let uid = bench.cluster.create_account("shop", "web", json!({})).await;
    let kubeconfig = bench.cluster.kubeconfig("callgate");
    let build = |name: &str, more: &str| {
        let settings = format!("audience = [\"nats\"]\nkubeconfig = {kubeconfig:?}\n{more}");
        bench.try_build(name, true, &settings).unwrap()
    };
    let key = SigningKey::generate("old", "ES256");
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), json!({"keys": [key.jwk()]}).to_string()).unwrap();
    let new = build("new", "");
    let old = build("old", &format!("issuer = \"https://old\"\njwks_file = {:?}", keys.path()));
    let older = build("older", "issuer = \"https://older\"");
    for entry in [&new, &old, &older] {
        ready(&**entry).await;
    }
    let now = UnixTime::now().seconds();
    // API servers write no `typ`.
    let header = json!({"alg": "ES256", "kid": "old"});
    let of_old = key.token_with(
        &header,
        &json!({
            "iss": "https://old", "aud": ["nats"], "iat": now, "exp": now + 600,
            "sub": "system:serviceaccount:shop:web",
            "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web", "uid": uid}},
        }),
    );
    let of_new = bench.cluster.token("shop", "web", "nats").await;
    for (token, answers) in
        [(&of_new, ["ok", "not_mine", "not_mine"]), (&of_old, ["not_mine", "ok", "not_mine"])]
    {
        for (entry, expected) in [&new, &old, &older].into_iter().zip(answers) {
            let answer = ask(&**entry, token).await;
            assert_eq!(word(&answer), expected, "{entry:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn api_server_reviews_tokens_if_configured() {
    let mut bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let review = "verify = \"token-review\"";
    let token = bench.cluster.token("shop", "web", "nats").await;
    let forbidden = bench.build(review).await;
    let Err(Decline::Unavailable(why)) = ask(&*forbidden, &token).await else {
        panic!("it may not")
    };
    assert!(why.to_string().contains("system:auth-delegator"), "{why}");
    let rule = json!({"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]});
    let rules = json!([minimal_rules()[0], rule]);
    bench.cluster.grant("lister", rules).await;
    let authenticator = bench.build_as("lister", true, review);
    ready(&*authenticator).await;
    // Real API servers take a moment to notice new rules.
    becomes(&*authenticator, &token, "ok", PATIENCE).await;
    let for_server = bench.cluster.token("shop", "web", bench.cluster.issuer()).await;
    assert_eq!(judge(&*authenticator, &for_server).await, "wrong_audience");
    let forged = conformance::forged(&token);
    assert_eq!(judge(&*authenticator, &forged).await, "bad_token");
    // The approval is cached briefly: no review is needed now.
    bench.cluster.stop().await;
    assert_eq!(judge(&*authenticator, &token).await, "ok");
    assert_eq!(judge(&*authenticator, &forged).await, "unavailable");
}

#[tokio::test]
async fn kubernetes_passes_the_authenticator_suite() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    bench.cluster.create_account("shop", "gone", json!({})).await;
    let own = bench.cluster.token("shop", "web", "nats").await;
    let gone = bench.cluster.token("shop", "gone", "nats").await;
    bench.cluster.delete_account("shop", "gone").await;
    let for_server = bench.cluster.token("shop", "web", bench.cluster.issuer()).await;
    let cut = KubeCluster::start().await;
    let cut_off = {
        let cut = Bench { cluster: cut, events: Arc::default(), shared: Arc::default() };
        let built = cut.build_as(ADMIN, false, "");
        let mut cluster = cut.cluster;
        cluster.stop().await;
        (built, request(&own))
    };
    let token = |text: &str| Credential::Token(text.into());
    let secret = own.rsplit_once('.').unwrap().1.to_owned();
    let candidate = Candidate {
        authenticator: bench.build("").await,
        good: logins([(token(&own), "shop/web")]),
        bad: logins([
            (token(&gone), Reason::UnknownServiceAccount),
            (token(&for_server), Reason::WrongAudience),
        ]),
        foreign: foreign([
            token("opaque"),
            token("e30.e30.e30"),
            Credential::Password { user: "shop/web".to_owned(), password: own.as_str().into() },
            Credential::Certificate,
        ]),
        cut_off: vec![cut_off],
        secrets: vec![secret, "callgate-token".to_owned()],
    };
    candidate.check_all().await;
}
