//! Secrets of backends, and what clients send to them, appear in no output.

use callgate_testkit::{
    OidcProvider,
    oidc_provider::{INTROSPECTING_CLIENT, Misbehavior},
};
use serde_json::json;

use crate::support::{
    Credential, Pair, SERVICE_SUBJECT, ServiceIn, callgate_in, connect_to, write_private,
};

const ENDPOINT: &str = "/token/introspection";
const TRACE: &str = "[log]\nlevel = \"trace\"\nformat = \"json\"\n";

/// Tokens go to an introspection endpoint, passwords to a service that does not exist.
fn authenticators(issuer: &str) -> String {
    let client = INTROSPECTING_CLIENT.0;
    format!(
        r#"[[authenticators]]
name = "opaque"
timeout = "5s"
[authenticators.introspection]
url = "{issuer}{ENDPOINT}"
client_id = "{client}"
client_secret = {{ file = "client.secret" }}
audience = ["nats"]
remember = "0s"
remember_rejected = "0s"
[[authenticators]]
name = "team"
timeout = "2s"
[authenticators.nats]
subject = "{SERVICE_SUBJECT}"
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_introspection_are_shown_nowhere() {
    let provider = OidcProvider::stand_in().await;
    let pair = Pair::builder(json!({}))
        .authenticators(&authenticators(provider.issuer()))
        .gate_config(TRACE)
        .private_file("client.secret", "canary-client-secret")
        .service(ServiceIn::CalloutAccount)
        .start()
        .await;
    for (name, text) in [("token", "canary-token"), ("password", "canary-password")] {
        write_private(&pair.path(name), text);
    }
    let run = |arguments: &[&str]| {
        let configured = [arguments, &["--config", "callgate.toml"]].concat();
        callgate_in(pair.folder.path(), &configured).text()
    };
    let active = json!({ "active": true, "sub": "alice", "aud": "nats", "exp": 4_102_444_800_u64,
                         "note": "canary-claim" });
    let mut texts = Vec::new();
    for (status, body) in [
        ("200 OK", active.to_string()),
        ("200 OK", json!({ "active": false, "why": "canary-why" }).to_string()),
        ("200 OK", json!({ "active": "canary-text" }).to_string()),
        ("200 OK", "canary-page".to_owned()),
        ("401 Unauthorized", json!({ "error": "canary-error" }).to_string()),
    ] {
        provider.front().misbehave(ENDPOINT, Misbehavior::Answer(status, String::new(), body));
        let url = pair.server.url();
        for credential in
            [Credential::token("canary-token"), Credential::password("bob", "canary-password")]
        {
            // Whether it is admitted does not matter here.
            drop(connect_to(&url, &credential).await);
        }
        texts.push(run(&["check", "--connect"]));
        texts.push(run(&["check", "--connect", "--json"]));
        texts.push(run(&["explain", "--token", "@token", "--why"]));
        texts.push(run(&["explain", "--token", "@token", "--json"]));
        texts.push(run(&["explain", "--user", "bob", "--password", "@password", "--why"]));
    }
    assert!(provider.front().asked(ENDPOINT) >= 5, "the endpoint was asked");
    assert!(texts.iter().any(|text| text.contains("alice")), "a token was explained");
    texts.push(pair.gate.get("/metrics").await.1);
    texts.push(pair.gate.log());
    for text in texts {
        let shown = text.find("canary-").map(|at| &text[at.saturating_sub(200)..]);
        assert!(shown.is_none(), "{shown:?}");
    }
}
