//! The authenticator `kubernetes` with an API server: the real one for `make test-kubernetes`, the
//! stand-in otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use callgate::{
    authn::{Authenticator, Decline, Identity, Readiness},
    clock::UnixTime,
    decision::Reason,
    request::{AuthRequest, Credential},
};
use callgate_authenticators::{
    kind::{BuildContext, Observer, Registry, Shared},
    settings::{Document, Format, Report, Sources, Table},
};
use callgate_testkit::{
    conformance::Candidate,
    eventually,
    kube::{ADMIN, KubeCluster},
    wait::PATIENCE,
};
use serde_json::{Value, json};

/// The least that the service needs (deploy/helm/callgate/templates/rbac.yaml).
fn least_rules() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list", "watch"]},
        {"nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"]},
    ])
}

/// What the authenticator told in the background.
#[derive(Debug, Default)]
struct Told {
    known: Mutex<(usize, Option<Duration>)>,
    malformed: Mutex<usize>,
}

impl Observer for Told {
    fn service_accounts(&self, _: &str, known: usize, lost_for: Option<Duration>) {
        *self.known.lock().unwrap() = (known, lost_for);
    }

    fn annotations_malformed(&self, _: &str, subjects: usize) {
        *self.malformed.lock().unwrap() += subjects;
    }
}

impl Told {
    fn known(&self) -> (usize, Option<Duration>) {
        *self.known.lock().unwrap()
    }
}

/// A cluster with the authenticator on it.
struct Bench {
    cluster: KubeCluster,
    told: Arc<Told>,
    shared: Arc<Shared>,
}

impl Bench {
    async fn start() -> Self {
        let cluster = KubeCluster::start().await;
        cluster.grant("callgate", least_rules()).await;
        cluster.create_namespace("shop").await;
        Self { cluster, told: Arc::default(), shared: Arc::default() }
    }

    fn build_as(&self, user: &str, background: bool, more: &str) -> Arc<dyn Authenticator> {
        let settings = format!(
            "audience = [\"nats\"]\nkubeconfig = {:?}\n{more}",
            self.cluster.kubeconfig(user)
        );
        self.try_build("cluster", background, &settings).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The entry `name`, or the faults of its table.
    fn try_build(
        &self,
        name: &str,
        background: bool,
        settings: &str,
    ) -> Result<Arc<dyn Authenticator>, String> {
        let toml = format!("[kubernetes]\n{settings}");
        let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
        let (report, sources) = (Report::new(), Sources::new("."));
        let mut context = BuildContext::new(name, sources.clone(), Arc::clone(&self.shared));
        context.background = background;
        context.observer = Arc::clone(&self.told) as Arc<dyn Observer>;
        let mut entry = Table::root(&document, "authenticators[0]", &report, &sources);
        let registry = Registry::builtin();
        let built =
            registry.kind_of(&mut entry).and_then(|(kind, table)| kind.build(&context, table));
        built.ok_or_else(|| format!("{:?}", report.faults()))
    }

    async fn build(&self, more: &str) -> Arc<dyn Authenticator> {
        let built = self.build_as("callgate", true, more);
        ready(&*built).await;
        built
    }
}

async fn ready(authenticator: &dyn Authenticator) {
    let waiting = async || loop {
        if authenticator.readiness() == Readiness::Ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let ready = tokio::time::timeout(PATIENCE, waiting()).await;
    ready.unwrap_or_else(|_| panic!("not ready: {:?}", authenticator.readiness()));
}

fn request(token: &str) -> AuthRequest {
    let far_off = tokio::time::Instant::now() + Duration::from_secs(60);
    AuthRequest::for_tests(Credential::Token(token.into())).due_at(far_off)
}

async fn ask(authenticator: &dyn Authenticator, token: &str) -> Result<Identity, Decline> {
    authenticator.authenticate(&request(token)).await
}

/// In one word: `ok`, the reason, or what else became of it.
async fn judge(authenticator: &dyn Authenticator, token: &str) -> String {
    word(&ask(authenticator, token).await)
}

fn word(answer: &Result<Identity, Decline>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(Decline::NotMine) => "not_mine".to_owned(),
        Err(Decline::Rejected(rejection)) => rejection.reason.as_str().to_owned(),
        Err(Decline::Unavailable(_)) => "unavailable".to_owned(),
    }
}

async fn becomes(authenticator: &dyn Authenticator, token: &str, expected: &str, within: Duration) {
    eventually(&format!("the answer `{expected}`"), within, async || {
        (judge(authenticator, token).await == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_of_the_cluster_says_who_it_is() {
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
async fn tokens_for_others_and_of_others_are_refused() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let elsewhere = Bench::start().await;
    elsewhere.cluster.create_account("shop", "web", json!({})).await;
    let own = bench.cluster.token("shop", "web", "nats").await;
    assert_eq!(judge(&*authenticator, &own).await, "ok");
    // Minted for the API server itself.
    let issuer = bench.cluster.issuer();
    let for_server = bench.cluster.token("shop", "web", issuer).await;
    assert_eq!(judge(&*authenticator, &for_server).await, "wrong_audience");
    // The other cluster has the same issuer name, and another key.
    let foreign = elsewhere.cluster.token("shop", "web", "nats").await;
    assert_eq!(judge(&*authenticator, &foreign).await, "bad_token");
    // Another cluster that says another name is nobody's here.
    let keys = keys_file();
    let settings = format!(
        "issuer = \"https://other\"
jwks_file = {:?}",
        keys.path()
    );
    let other = bench.build(&settings).await;
    assert_eq!(judge(&*other, &own).await, "not_mine");
    let (head, signature) = own.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{head}.{flipped}{}", &signature[1..]);
    assert_eq!(judge(&*authenticator, &forged).await, "bad_token");
    assert_eq!(judge(&*authenticator, "no token").await, "not_mine");
}

#[tokio::test]
async fn the_longest_names_that_kubernetes_gives_are_taken() {
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
async fn entries_of_one_cluster_route_by_audience_and_none_may_share_one() {
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
        // For nobody here: whoever is asked first refuses it.
        ("nats-d", "wrong_audience", "wrong_audience"),
    ] {
        let token = bench.cluster.token("shop", "web", audience).await;
        // The second time it is remembered.
        for _ in 0..2 {
            assert_eq!(judge(&*second, &token).await, of_second, "{audience}");
            assert_eq!(judge(&*first, &token).await, of_first, "{audience}");
        }
    }
    let fault = build("third", "[\"nats-c\"]").unwrap_err();
    assert!(fault.contains("`nats-c` is an audience of `second` too"), "{fault}");
}

fn keys_file() -> tempfile::NamedTempFile {
    // Any usable key: this issuer's tokens are never looked at.
    let file = tempfile::NamedTempFile::new().unwrap();
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    std::fs::write(file.path(), json!({"keys": [key]}).to_string()).unwrap();
    file
}

#[tokio::test]
async fn a_deleted_and_a_made_again_account_do_not_inherit_old_tokens() {
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
    assert_eq!(bench.told.known().1, None);
}

#[tokio::test]
async fn a_changed_annotation_is_in_force_within_a_second() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    let authenticator = bench.build("").await;
    let token = bench.cluster.token("shop", "web", "nats").await;
    let asked = async || {
        let permissions = ask(&*authenticator, &token).await.unwrap().proposal.permissions;
        permissions
            .unwrap_or_default()
            .publish
            .allow
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert!(asked().await.is_empty());
    for (list, expected) in [
        ("a.b, c.>", vec!["a.b", "c.>"]),
        ("x y, ,a..b,ok", vec!["ok"]),
        (">,$SYS.>,_INBOX.>", vec![">", "$SYS.>", "_INBOX.>"]),
    ] {
        let annotations = json!({"nats.io/allowed-pub-subjects": list});
        bench.cluster.annotate("shop", "web", annotations).await;
        eventually("the changed annotation", Duration::from_secs(1), async || {
            (asked().await == expected).then_some(())
        })
        .await;
    }
    assert!(*bench.told.malformed.lock().unwrap() >= 2);
    let many: Vec<String> = (0..1000).map(|number| format!("shop.{number}")).collect();
    let annotations = json!({"nats.io/allowed-pub-subjects": many.join(",")});
    bench.cluster.annotate("shop", "web", annotations).await;
    eventually("a thousand subjects", Duration::from_secs(1), async || {
        (asked().await.len() == 1000).then_some(())
    })
    .await;
    bench.cluster.annotate("shop", "web", json!({"nats.io/allowed-pub-subjects": null})).await;
    eventually("no annotation", Duration::from_secs(1), async || {
        asked().await.is_empty().then_some(())
    })
    .await;
}

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
        [("nobody", &["forbids us to", "ClusterRole", "verbs"][..]), ("lister", &[])]
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

#[tokio::test]
async fn namespaces_and_labels_narrow_who_is_known() {
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
async fn the_api_server_judges_tokens_where_it_is_told_to() {
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
    let rules = json!([least_rules()[0], rule]);
    bench.cluster.grant("lister", rules).await;
    let authenticator = bench.build_as("lister", true, review);
    ready(&*authenticator).await;
    // Real ones take a moment to notice new rules.
    becomes(&*authenticator, &token, "ok", PATIENCE).await;
    let for_server = bench.cluster.token("shop", "web", bench.cluster.issuer()).await;
    assert_eq!(judge(&*authenticator, &for_server).await, "wrong_audience");
    let (head, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{head}.{flipped}{}", &signature[1..]);
    assert_eq!(judge(&*authenticator, &forged).await, "bad_token");
    // Remembered shortly: no question is asked now.
    bench.cluster.stop().await;
    assert_eq!(judge(&*authenticator, &token).await, "ok");
    assert_eq!(judge(&*authenticator, &forged).await, "unavailable");
}

#[tokio::test]
async fn without_background_work_everything_is_asked_when_it_is_needed() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({"nats.io/roles": "a"})).await;
    let authenticator = bench.build_as("callgate", false, "");
    let token = bench.cluster.token("shop", "web", "nats").await;
    let identity = ask(&*authenticator, &token).await.unwrap();
    assert_eq!(identity.proposal.roles, Some(vec!["a".to_owned()]));
    bench.cluster.delete_account("shop", "web").await;
    assert_eq!(judge(&*authenticator, &token).await, "unknown_service_account");
}

#[tokio::test]
async fn kubernetes_keeps_the_promises() {
    let bench = Bench::start().await;
    bench.cluster.create_account("shop", "web", json!({})).await;
    bench.cluster.create_account("shop", "gone", json!({})).await;
    let own = bench.cluster.token("shop", "web", "nats").await;
    let gone = bench.cluster.token("shop", "gone", "nats").await;
    bench.cluster.delete_account("shop", "gone").await;
    let for_server = bench.cluster.token("shop", "web", bench.cluster.issuer()).await;
    let cut = KubeCluster::start().await;
    let cut_off = {
        let cut = Bench { cluster: cut, told: Arc::default(), shared: Arc::default() };
        let built = cut.build_as(ADMIN, false, "");
        let mut cluster = cut.cluster;
        cluster.stop().await;
        (built, request(&own))
    };
    let token = |text: &str| Credential::Token(text.into());
    let secret = own.rsplit_once('.').unwrap().1.to_owned();
    let candidate = Candidate {
        authenticator: bench.build("").await,
        good: vec![(token(&own), "shop/web")],
        bad: vec![
            (token(&gone), Reason::UnknownServiceAccount),
            (token(&for_server), Reason::WrongAudience),
        ],
        foreign: vec![
            token("opaque"),
            token("e30.e30.e30"),
            Credential::Password { user: "shop/web".to_owned(), password: own.as_str().into() },
            Credential::Certificate,
        ],
        cut_off: vec![cut_off],
        secrets: vec![secret, "callgate-token".to_owned()],
    };
    candidate.check_all().await;
}
