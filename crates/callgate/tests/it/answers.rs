//! The answer and the user JWT in configuration mode. The test kit's server checks the rules for every
//! answer (`sub`, `aud`, type, version, exactly one of `jwt` and `error`).

use std::time::Duration;

use callgate::{
    Refusal, Reply, User,
    clock::UnixTime,
    permissions::{Permissions, Responses, Rules},
    record::Reason,
};
use callgate_testkit::requests::jwt;
use serde_json::{Value, json};

use crate::support::{Bench, NOW};

#[tokio::test]
async fn answer_names_connection_and_only_required_claims() {
    let bench = Bench::new(|builder| builder);
    let request = bench.alice().build();
    let (reply, _) = bench.handle(&request.payload, None).await;
    let Reply::Answer(answer) = reply else { panic!("no answer") };
    let mut claims = jwt::verified_claims(std::str::from_utf8(&answer).unwrap()).unwrap();
    let user = claims["nats"]["jwt"].take();
    assert!(user.as_str().is_some_and(|user| !user.is_empty()));
    let expected = json!({
        "iss": bench.issuer.public(),
        "iat": NOW,
        "sub": request.user_nkey(),
        "aud": request.server_id(),
        "nats": { "jwt": null, "type": "authorization_response", "version": 2 },
    });
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn refusal_contains_an_error_and_no_jwt() {
    let bench = Bench::deciding(|_| async { Err(Refusal::deny("because")) });
    let request = bench.alice().build();
    let (reply, _) = bench.handle(&request.payload, None).await;
    let Reply::Answer(answer) = reply else { panic!("no answer") };
    let claims = jwt::verified_claims(std::str::from_utf8(&answer).unwrap()).unwrap();
    let expected = json!({
        "error": "authorization failed", "type": "authorization_response", "version": 2
    });
    assert_eq!(claims["nats"], expected);
}

/// Compares the whole JWT, so that an unexpected field (such as `issuer_account` or `nbf`) fails the test.
#[tokio::test]
async fn user_jwt_contains_exactly_the_granted_claims() {
    let bench = Bench::giving(
        User::in_account("APP")
            .named("alice the first")
            .publish("orders.>")
            .subscribe("orders.*.status")
            .subscribe("jobs.* workers")
            .respond(Responses { max: Some(2), ttl: Some(Duration::from_secs(5)) })
            .expires_in(Duration::from_secs(600))
            .tag("team:red"),
    );
    let request = bench.alice().build();
    let (response, _) = bench.answer(&request).await;
    let expected = json!({
        "jti": "TESTKIT",
        "iat": NOW,
        "iss": bench.issuer.public(),
        "name": "alice the first",
        "sub": request.user_nkey(),
        "aud": "APP",
        "exp": NOW + 600,
        "nats": {
            "pub": { "allow": ["orders.>"] },
            "sub": { "allow": ["orders.*.status", "jobs.* workers"] },
            "resp": { "max": 2, "ttl": 5_000_000_000_i64 },
            "subs": -1, "data": -1, "payload": -1,
            "tags": ["team:red"],
            "type": "user", "version": 2,
        },
    });
    assert_eq!(response.user(), &expected);
}

fn permissions(
    allow_publish: &[&str],
    deny_publish: &[&str],
    allow_subscribe: &[&str],
) -> Permissions {
    fn all<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
    Permissions {
        publish: Rules { allow: all(allow_publish), deny: all(deny_publish) },
        subscribe: Rules { allow: all(allow_subscribe), deny: Vec::new() },
        responses: None,
    }
}

/// nats-server treats an empty list as "everything".
#[tokio::test]
async fn side_without_allow_rules_is_denied() {
    let user = || User::in_account("APP");
    let closed = json!({ "deny": [">"] });
    let cases: [(User, [Value; 2]); 6] = [
        (user(), [closed.clone(), closed.clone()]),
        (user().publish("a"), [json!({ "allow": ["a"] }), closed.clone()]),
        (user().subscribe("a"), [closed.clone(), json!({ "allow": ["a"] })]),
        (user().with_permissions(Permissions::default()), [closed.clone(), closed.clone()]),
        (user().with_permissions(permissions(&[], &["b"], &[])), [closed.clone(), closed.clone()]),
        (
            user().with_permissions(permissions(&[">"], &["b"], &["c"])),
            [json!({ "allow": [">"], "deny": ["b"] }), json!({ "allow": ["c"] })],
        ),
    ];
    for (user, [publish, subscribe]) in cases {
        let bench = Bench::giving(user);
        let nats = bench.admitted(bench.alice()).await["nats"].take();
        assert_eq!((&nats["pub"], &nats["sub"]), (&publish, &subscribe));
        assert_eq!(nats["resp"], Value::Null);
    }
}

#[tokio::test]
async fn unrestricted_is_explicit_and_permissions_replace_it() {
    let bench = Bench::giving(User::in_account("APP").unrestricted());
    let nats = bench.admitted(bench.alice()).await["nats"].take();
    assert_eq!((&nats["pub"], &nats["sub"]), (&Value::Null, &Value::Null));
    let bench = Bench::giving(User::in_account("APP").unrestricted().publish("a"));
    let nats = bench.admitted(bench.alice()).await["nats"].take();
    assert_eq!(nats["pub"], json!({ "allow": ["a"] }));
    assert_eq!(nats["sub"], json!({ "deny": [">"] }));
}

#[tokio::test]
async fn unlimited_responses_are_minus_one() {
    let without = Responses { max: None, ttl: None };
    let bench = Bench::giving(User::in_account("APP").respond(without));
    let nats = bench.admitted(bench.alice()).await["nats"].take();
    assert_eq!(nats["resp"], json!({ "max": -1, "ttl": -1 }));
    assert_eq!(nats["pub"], json!({ "deny": [">"] }), "only replies are allowed");
}

#[tokio::test]
async fn session_expires_after_one_hour_by_default() {
    let at = |seconds| UnixTime::from_seconds(NOW + seconds);
    let user = || User::in_account("APP");
    let hour = Duration::from_secs(3_600);
    let cases = [
        (user(), json!(NOW + 3_600)),
        (user().expires_in(Duration::from_secs(60)), json!(NOW + 60)),
        (user().expires_at(at(60)), json!(NOW + 60)),
        (user().expires_in(Duration::from_secs(30)).expires_at(at(60)), json!(NOW + 30)),
        (user().expires_in(hour).expires_at(at(60)), json!(NOW + 60)),
        (user().without_end().expires_at(at(60)), json!(NOW + 60)),
        (user().without_end(), Value::Null),
        (user().expires_in(Duration::MAX), json!(i64::MAX)),
    ];
    for (user, expected) in cases {
        let bench = Bench::giving(user);
        let claims = bench.admitted(bench.alice()).await;
        assert_eq!(claims["exp"], expected);
        assert!(claims.get("nbf").is_none(), "a server whose clock is behind would reject it");
    }
}

#[tokio::test]
async fn session_that_has_already_expired_is_refused() {
    for user in [
        User::in_account("APP").expires_in(Duration::ZERO),
        User::in_account("APP").expires_at(UnixTime::from_seconds(NOW)),
        User::in_account("APP").expires_at(UnixTime::from_seconds(0)),
    ] {
        let bench = Bench::giving(user);
        bench.refused(bench.alice(), Reason::TokenExpired).await;
    }
}

/// `NOW` is 22:13:20 UTC and 23:13:20 in Berlin.
#[tokio::test]
async fn session_is_limited_to_the_allowed_hours() {
    let user = || User::in_account("APP").without_end();
    let within = [
        (user().only_during("22:00:00", "23:00:00"), 2_800),
        (user().only_during("08:00:00", "09:00:00").only_during("22:13:20", "22:14:00"), 40),
        (user().only_during("23:00:00", "01:00:00").time_zone("Europe/Berlin"), 6_400),
        (user().time_zone("Europe/Berlin").only_during("23:00:00", "01:00:00"), 6_400),
        (user().only_during("22:00:00", "23:00:00").expires_in(Duration::from_secs(60)), 60),
    ];
    for (user, seconds) in within {
        let bench = Bench::giving(user);
        assert_eq!(bench.admitted(bench.alice()).await["exp"], NOW + seconds);
        bench.clock.advance(Duration::from_secs(4 * 3_600));
        bench.refused(bench.alice(), Reason::OutsideHours).await;
    }
    for outside in [("08:00:00", "22:13:20"), ("22:13:21", "22:13:00")] {
        let bench = Bench::giving(user().only_during(outside.0, outside.1).unrestricted());
        bench.refused(bench.alice(), Reason::OutsideHours).await;
    }
}

#[tokio::test]
async fn malformed_times_are_refused_not_ignored() {
    let user = || User::in_account("APP").only_during("00:00:00", "23:59:59");
    for user in [
        user().only_during("8 o'clock", "18:00:00"),
        user().only_during("08:00:00", "25:00:00"),
        user().only_during("08:00:00", "08:00:00"),
        user().only_during("", ""),
        user().time_zone("Middle/Earth"),
    ] {
        let bench = Bench::giving(user);
        bench.refused(bench.alice(), Reason::PolicyError).await;
    }
}

#[tokio::test]
async fn user_jwt_of_32_kib_is_too_large() {
    let user = (0..2_000).fold(User::in_account("APP"), |user, n| {
        user.publish(&format!("a.subject.of.some.length.{n}"))
    });
    let bench = Bench::giving(user);
    bench.refused(bench.alice(), Reason::GrantTooLarge).await;
}

/// The name appears in the server's logs and connection lists, so it is never empty and never an
/// unproven claim of the client.
#[tokio::test]
async fn user_name_comes_from_the_proven_credential() {
    use callgate_testkit::Nkey;
    let bench = Bench::new(|builder| builder);
    assert_eq!(bench.admitted(bench.alice()).await["name"], "alice");
    let key = Nkey::user();
    assert_eq!(bench.admitted(bench.request().nkey(&key)).await["name"], key.public());
    let user = Nkey::user().public();
    let token = bench.request().token("opaque").connect("user", "root").user_nkey(&user);
    assert_eq!(bench.admitted(token).await["name"], user);
    let bench = Bench::giving(User::in_account("APP").named(""));
    bench.refused(bench.alice(), Reason::PolicyError).await;
}

#[tokio::test]
async fn malformed_subjects_are_refused_not_ignored() {
    for subject in ["", ".", "a..b", "a b", ">.a", "a.>.b", "a\tb"] {
        let bench = Bench::giving(User::in_account("APP").publish("fine").publish(subject));
        bench.refused(bench.alice(), Reason::PolicyError).await;
    }
}

#[tokio::test]
async fn empty_account_name_is_refused() {
    let bench = Bench::giving(User::in_account("").publish("a"));
    bench.refused(bench.alice(), Reason::NoAccount).await;
}

#[tokio::test]
async fn scopes_require_operator_mode() {
    let bench = Bench::giving(User::in_account("APP").scoped("reader"));
    bench.refused(bench.alice(), Reason::PolicyError).await;
}
