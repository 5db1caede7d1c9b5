//! Ordinary requests decode: absent, `null` and unknown fields are accepted.

use std::sync::{Arc, Mutex};

use callgate::{connection::ConnectionKind, request::AuthRequest};
use callgate_testkit::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Bench, app_user};

/// The request as the deciding function receives it.
async fn decoded(change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Arc<AuthRequest> {
    let seen = Arc::<Mutex<Option<Arc<AuthRequest>>>>::default();
    let capture = Arc::clone(&seen);
    let bench = Bench::deciding(move |request| {
        *capture.lock().unwrap() = Some(request);
        std::future::ready(Ok(app_user()))
    });
    bench.admitted(change(bench.alice())).await;
    let request = seen.lock().unwrap().take();
    request.expect("the function was called")
}

#[tokio::test]
async fn optional_fields_may_be_absent() {
    let bench = Bench::new(|builder| builder);
    let optional = [
        "/jti",
        "/nats/server_id/name",
        "/nats/server_id/host",
        "/nats/server_id/version",
        "/nats/client_info/host",
        "/nats/client_info/id",
        "/nats/client_info/user",
        "/nats/connect_opts/lang",
        "/nats/connect_opts/version",
        "/nats/connect_opts/protocol",
        "/nats/type",
        "/nats/version",
    ];
    for path in optional {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let remove = |claims: &mut Value| {
            let parent = claims.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            assert!(parent.remove(name).is_some(), "{path} does not exist");
        };
        bench.admitted(bench.alice().mutate(remove)).await;
    }
}

#[tokio::test]
async fn optional_fields_may_be_null() {
    let bench = Bench::new(|builder| builder);
    for field in ["name", "host", "version", "cluster", "tags", "xkey", "jetstream", "flags"] {
        bench.admitted(bench.alice().server_id(field, Value::Null)).await;
    }
    for field in ["host", "id", "user", "name", "tags", "name_tag", "mqtt_id", "nonce"] {
        bench.admitted(bench.alice().client(field, Value::Null)).await;
    }
    for field in ["jwt", "nkey", "sig", "auth_token", "name", "lang", "version", "protocol"] {
        bench.admitted(bench.alice().connect(field, Value::Null)).await;
    }
    bench.admitted(bench.alice().client_tls(Value::Null)).await;
    let nulls = json!({ "version": null, "cipher": null, "certs": null, "verified_chains": null });
    bench.admitted(bench.alice().client_tls(nulls)).await;
    bench.admitted(bench.alice().mutate(|claims| claims["jti"] = Value::Null)).await;
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let bench = Bench::new(|builder| builder);
    let new = json!({ "of": ["a", { "later": 1.5 }], "server": null });
    let request = bench
        .alice()
        .server_id("new", new.clone())
        .client("new", new.clone())
        .connect("new", new.clone())
        .client_tls(json!({ "version": "1.3", "new": new.clone() }))
        .mutate(|claims| {
            claims["new"] = new.clone();
            claims["nats"]["new"] = new.clone();
            claims["nats"]["request_nonce"] = json!("abc");
        });
    bench.admitted(request).await;
}

#[tokio::test]
async fn request_describes_the_server_and_the_client() {
    let request = decoded(|request| {
        request
            .server_id("cluster", "east")
            .server_id("tags", json!(["ssd"]))
            .host("2001:db8::7")
            .client("id", 77)
            .client("type", "mqtt")
            .client("mqtt_id", "sensor")
            .connect("name", "orders")
            .connect("lang", "go")
            .connect("version", "1.2.3")
    })
    .await;
    let client = request.client();
    assert_eq!(request.id(), "TESTKIT");
    assert_eq!(request.server().cluster, "east");
    assert_eq!(request.server().tags, ["ssd"]);
    assert_eq!((client.id, client.connection), (77, ConnectionKind::Mqtt));
    assert_eq!(client.ip, Some("2001:db8::7".parse().unwrap()));
    assert_eq!((&*client.name, &*client.mqtt_id), ("orders", "sensor"));
    assert_eq!((&*client.lang, &*client.version), ("go", "1.2.3"));
}

#[tokio::test]
async fn host_name_is_kept_without_an_ip_address() {
    let request = decoded(|request| request.host("client.example.com")).await;
    assert_eq!(request.client().host, "client.example.com");
    assert_eq!(request.client().ip, None);
}

#[tokio::test]
async fn only_verified_certificates_are_exposed() {
    let chain = json!({ "version": "1.3", "cipher": "C", "verified_chains": [["leaf", "ca"]] });
    let request = decoded(|request| request.client_tls(chain)).await;
    assert_eq!(request.certificate().unwrap().verified_chains, [["leaf", "ca"]]);
    for unverified in [
        json!({ "version": "1.3", "certs": ["leaf"] }),
        json!({ "version": "1.3", "certs": ["leaf"], "verified_chains": [] }),
        json!({ "version": "1.3", "certs": ["leaf"], "verified_chains": [[]] }),
    ] {
        let request = decoded(|request| request.client_tls(unverified)).await;
        assert_eq!(request.certificate(), None);
    }
}

/// A field of the wrong type is not treated as absent.
#[tokio::test]
async fn fields_of_the_wrong_type_are_dropped() {
    use callgate::record::Reason::BadRequest;
    let bench = Bench::new(|builder| builder);
    bench.dropped(bench.alice().client("kind", json!(["Client"])), BadRequest).await;
    bench.dropped(bench.alice().connect("user", json!({ "name": "alice" })), BadRequest).await;
    let decision = bench.dropped(bench.alice().connect("pass", 47_110_815), BadRequest).await;
    assert!(!decision.detail.contains("47110815"), "the error must not contain the password");
    bench.dropped(bench.alice().client_tls(json!("1.3")), BadRequest).await;
}
