//! `callgate init` with users that are elsewhere: an OpenID issuer, a web service.

use std::fs;

use callgate_testkit::OidcProvider;
use serde_json::{Value, json};

use crate::{
    scenario::Written,
    support::{Credential, WebService, callgate_in, connect, connect_to, has},
};

const NEWEST: &str = "2.15";

#[tokio::test]
async fn tokens_of_the_issuer_log_in() {
    let provider = OidcProvider::stand_in().await;
    let claims = json!({ "sub": "ann.b", "aud": "nats" });
    let token = Credential::token(&provider.mint("RS256", claims).await);
    let written =
        Written::start(NEWEST, &["--oidc", provider.issuer()], |text| text.to_owned()).await;
    let mark = written.gate.mark();
    let mut ann = connect_to(&written.server.url(), &token).await.unwrap();
    assert_eq!(written.gate.decision(mark).await["account"], "APP");
    ann.talks_to_itself_on("ann=2Eb.news").await;
    ann.is_refused_to_publish("bob.news").await;
    let foreign = provider.mint("RS256", json!({ "sub": "ann.b", "aud": "another" })).await;
    let mark = written.gate.mark();
    assert!(connect_to(&written.server.url(), &Credential::token(&foreign)).await.is_err());
    assert_eq!(written.gate.decision(mark).await["reason"], "wrong_audience");
}

#[tokio::test]
async fn web_service_decides_within_its_ceiling() {
    let service = WebService::start().await;
    let permissions = json!({ "pub": { "allow": ["carl.>", "other.>"] } });
    let answer = json!({ "result": "allow", "permissions": permissions });
    service.answer("carl", answer);
    service.answer("dora", json!({ "result": "deny" }));
    let written = Written::start(NEWEST, &["--http", service.url()], |text| text.to_owned()).await;
    let mark = written.gate.mark();
    let mut carl = connect(&written.server.url(), "carl", "x").await.unwrap();
    assert_eq!(written.gate.decision(mark).await["account"], "APP");
    carl.talks_to_itself_on("carl.news").await;
    carl.is_refused_to_publish("other.news").await;
    assert!(connect(&written.server.url(), "dora", "x").await.is_err());
    assert_eq!(service.questions().len(), 2);
}

#[test]
fn unusable_addresses_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, message) in [
        (&["--oidc", "id.example.com"][..], "--oidc: `id.example.com"),
        (&["--oidc", "https://login.example.com/{tenant}/v2.0"], "--oidc: contains a placeholder"),
        (
            &["--oidc", "https://id.example.com/.well-known/openid-configuration"],
            "write `https://id.example.com`",
        ),
        (&["--oidc", "http://id.example.com"], "is not https"),
        (&["--oidc", "https://id.example.com/?tenant=a"], "an issuer has no query"),
        (&["--http", "http://10.0.0.1/login"], "--http: `http://10.0.0.1/login` is not https"),
        (&["--http", "https://user:password@example.com/"], "must not contain a user"),
        (&["--http", "https://example.com/", "--kubernetes"], "cannot be used with"),
        (&["--oidc", "https://example.com/", "--demo"], "cannot be used with"),
    ] {
        let init = callgate_in(folder.path(), &[&["init", "pair"], flags].concat());
        assert_eq!(init.code, 2, "{init:?}");
        has(&init.stderr, &[message]);
        assert!(!init.stderr.contains("user:password"), "{init:?}");
        assert!(!folder.path().join("pair").exists(), "{flags:?}");
    }
}

#[test]
fn file_in_place_of_the_directory_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gate"), "").unwrap();
    let init = callgate_in(folder.path(), &["init", "gate"]);
    assert_eq!(init.code, 2, "{init:?}");
    has(&init.stderr, &["error: `gate` is not a directory: choose another one"]);
}

#[test]
fn next_steps_reach_the_issuer_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let init = callgate_in(folder.path(), &["init", "gate", "--oidc", "https://id.example.com"]);
    let (_, steps) = init.stdout.split_once("next:  ").unwrap();
    let steps: Vec<_> = steps.lines().map(str::trim).collect();
    assert_eq!(
        steps,
        [
            "nats-server -c gate/nats-server.conf",
            "callgate check --config gate/callgate.toml --connect",
            "callgate serve --config gate/callgate.toml",
        ]
    );
}

#[test]
fn first_line_of_the_configuration_names_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [&[][..], &["--operator"], &["--kubernetes"]] {
        let pair = format!("pair{}", flags.concat());
        assert_eq!(callgate_in(folder.path(), &[&["init", &pair], flags].concat()).code, 0);
        let read = |name: &str| fs::read_to_string(folder.path().join(&pair).join(name)).unwrap();
        let first = read("callgate.toml").lines().next().unwrap().to_owned();
        let schema = read(first.strip_prefix("#:schema ./").unwrap());
        let printed = callgate_in(folder.path(), &["schema", "config"]).stdout;
        let parsed: [Value; 2] =
            [&schema, &printed].map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(parsed[0], parsed[1]);
    }
}
