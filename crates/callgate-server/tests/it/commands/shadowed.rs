//! Warnings of `callgate check` about authenticators shadowed by earlier ones.

use std::fs;

use callgate_testkit::Nkey;
use tempfile::TempDir;

use crate::support::{callgate_in, has};

const KUBECONFIG: &str = r#"apiVersion: v1
kind: Config
current-context: x
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {token: abc}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
"#;

/// The warnings about these authenticators.
fn warnings(authenticators: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    let file = |name: &str| folder.path().join(name);
    let config = fs::read_to_string(file("callgate.toml")).unwrap();
    let (before, _) = config.split_once("[[authenticators]]").unwrap();
    fs::write(file("callgate.toml"), format!("{before}{authenticators}")).unwrap();
    fs::write(file("kube"), KUBECONFIG).unwrap();
    let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    fs::write(file("keys.json"), jwks).unwrap();
    let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let first = |line: &&str| line.contains("comes first");
    ran.stdout.lines().filter(first).map(str::to_owned).collect()
}

#[cfg(feature = "kubernetes")]
#[test]
fn issuer_in_two_authenticator_kinds_is_warned_about() {
    const ISSUER: &str = "https://issuer.example";
    const KUBE: &str = ", kubeconfig = \"kube\"";
    let entry = |name, kind, issuer, audience, more| {
        format!(
            "[[authenticators]]\nname = \"{name}\"\n{kind} = {{ issuer = \"{issuer}\", audience = \
             \"{audience}\", jwks_file = \"keys.json\"{more} }}\n"
        )
    };
    let oidc = |name, issuer, audience| entry(name, "oidc", issuer, audience, "");
    let kubernetes = |name, issuer, audience| entry(name, "kubernetes", issuer, audience, KUBE);
    // Regardless of audiences: the first authenticator refuses tokens for other audiences.
    for (audience, other) in [("nats", "nats"), ("nats", "other")] {
        let both = oidc("a", ISSUER, audience) + &kubernetes("b", ISSUER, other);
        let found = warnings(&both);
        assert_eq!(found.len(), 1, "{found:?}");
        has(&found[0], &["authenticators[1].kubernetes", "`a` (oidc)", ISSUER]);
    }
    let turned = warnings(&(kubernetes("b", ISSUER, "nats") + &oidc("a", ISSUER, "nats")));
    has(&turned[0], &["authenticators[1].oidc", "`b` (kubernetes)"]);
    for apart in [
        oidc("a", ISSUER, "nats") + &kubernetes("b", "https://other.example", "nats"),
        oidc("a", ISSUER, "nats") + &oidc("b", ISSUER, "other"),
    ] {
        assert_eq!(warnings(&apart), [""; 0], "{apart}");
    }
}

#[test]
fn key_in_two_authenticators_is_warned_about() {
    let entry = |name: &str, key: &str| {
        format!(
            "[[authenticators]]\nname = \"{name}\"\n[authenticators.service_tokens]\naudience = \
             \"{name}\"\n[[authenticators.service_tokens.services]]\npublic_key = \"{key}\"\nuser = \
             \"{name}\"\nroles = []\n"
        )
    };
    let (one, two) = (Nkey::user().public(), Nkey::user().public());
    let found = warnings(&(entry("a", &one) + &entry("b", &one)));
    assert_eq!(found.len(), 1, "{found:?}");
    has(&found[0], &["authenticators[1].service_tokens", "`a`", &one]);
    assert_eq!(warnings(&(entry("a", &one) + &entry("b", &two))), [""; 0]);
}
