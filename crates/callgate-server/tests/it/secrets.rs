//! Secrets appear in no log, metric or output.

use callgate_testkit::Nkey;
use serde_json::json;

use crate::support::{Credential, Pair, callgate_in, write_private};

/// Has the form of a JWT.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.canary-signature";

#[tokio::test]
async fn no_secret_appears_in_logs_metrics_or_output() {
    for format in ["json", "text"] {
        let robot = Nkey::user();
        let users = json!({
            "clear": { "pass": "canary-clear", "account": "APP" },
            "hashed": { "pass": "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "account": "APP" },
            "sensor": { "token": "canary-token", "account": "APP" },
            "robot": { "nkey": robot.public(), "account": "APP" },
        });
        let log = format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"\n");
        let mut pair = Pair::builder(users).gate_config(&log).start().await;
        let url = pair.server.url();
        for credential in [
            Credential::password("clear", "canary-clear"),
            Credential::password("clear", "canary-wrong"),
            Credential::password("hashed", "canary-wrong"),
            Credential::password("unknown", "canary-wrong"),
            Credential::token("canary-token"),
            Credential::token("canary-token-wrong"),
            Credential::nkey(&robot),
            Credential::password(TOKEN, "canary-wrong"),
            Credential::password("Bearer canary-opaque", "canary-wrong"),
            Credential::password(&robot.seed(), "canary-wrong"),
        ] {
            let _ = crate::support::connect_to(&url, &credential).await;
        }
        // A server restart makes the client library log connection errors.
        pair.server.restart().await;
        pair.gate.ready().await;
        write_private(&pair.path("robot.nk"), &robot.seed());
        write_private(&pair.path("password"), "canary-clear");
        write_private(&pair.path("wrong"), "canary-wrong");
        let folder = pair.folder.path();
        let config = ["--config", "callgate.toml"];
        let explain = |arguments: &[&str]| {
            let arguments = [&["explain"], &config[..], arguments].concat();
            callgate_in(folder, &arguments).text()
        };
        let mut texts = vec![
            pair.gate.log(),
            pair.gate.get("/metrics").await.1,
            callgate_in(folder, &[&["check"], &config[..]].concat()).text(),
            explain(&["--user", "clear", "--password", "@password"]),
            explain(&["--user", "clear", "--password", "@wrong", "--json"]),
            explain(&["--token", "@wrong"]),
            explain(&["--nkey-seed", "@robot.nk", "--json"]),
            explain(&["--user", TOKEN, "--password", "@wrong"]),
            explain(&["--user", &robot.seed(), "--json"]),
        ];
        assert!(texts[0].contains("a token was sent as the user name"), "{}", texts[0]);
        assert!(texts[0].contains("an nkey seed was sent as the user name"), "{}", texts[0]);
        // A file with errors in the secrets themselves.
        let spoilt = json!({
            "a": { "pass": "$canary-hash$x" }, "b": { "token": "canary-twice" },
            "c": { "token": "canary-twice" }, "d": { "nkey": robot.seed() },
            "e": { "password": ["canary-list"] },
        });
        pair.write("users.json", spoilt.to_string());
        texts.push(callgate_in(folder, &[&["check"], &config[..]].concat()).text());
        for text in texts {
            assert!(!text.is_empty());
            for secret in
                ["canary", &robot.seed(), &pair.issuer.seed(), &pair.xkey.seed(), "CCCCCCCC"]
            {
                assert!(!text.contains(secret), "{secret} is in:\n{text}");
            }
        }
    }
}

/// A kubeconfig with a credential plugin.
fn kubeconfig(command: &str, arguments: &[&str]) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "clusters": [{ "name": "k", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "u", "user": { "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "IfAvailable",
            "command": command, "args": arguments,
            "env": [{ "name": "SECRET", "value": "canary-variable" }],
        } } }],
    })
    .to_string()
}

#[tokio::test]
async fn failing_credential_plugin_reveals_no_argument_variable_or_output() {
    let token = crate::support::service_account_token();
    for (command, script, words) in [
        (
            "sh",
            "echo canary-out; echo canary-err >&2; exit 3",
            "plugin `sh` of the kubeconfig failed (exit status: 3)",
        ),
        ("/bin/sh", "echo canary-out '{'", "returned no usable credential"),
        ("/nonexistent/plugin", "", "cannot be started: No such file"),
    ] {
        let arguments = ["-c", script, "canary-argument"];
        let config = "[[authenticators]]\nname = \"cluster\"\n[authenticators.kubernetes]\n\
                      audience = [\"nats\"]\nkubeconfig = \"kubeconfig\"\n[log]\nlevel = \"trace\"\n\
                      format = \"json\"\n";
        let mut pair = Pair::builder(json!({ "a": { "pass": "b", "account": "APP" } }))
            .gate_config(config)
            .file("kubeconfig", &kubeconfig(command, &arguments))
            .never_ready()
            .start()
            .await;
        let mut readiness = String::new();
        callgate_testkit::eventually(
            "the failure in /readyz",
            callgate_testkit::wait::PATIENCE,
            async || {
                readiness = pair.gate.get("/readyz").await.1;
                readiness.contains(words).then_some(())
            },
        )
        .await;
        write_private(&pair.path("token"), &token);
        let explain = ["explain", "--config", "callgate.toml", "--token", "@token"];
        let explained = callgate_in(pair.folder.path(), &explain).text();
        assert!(explained.contains(words), "{explained}");
        let metrics = pair.gate.get("/metrics").await.1;
        pair.gate.process.kill();
        for text in [readiness, explained, metrics, pair.gate.log()] {
            for secret in
                ["canary-argument", "canary-variable", "canary-out", "canary-err", "exit 3"]
            {
                assert!(!text.contains(secret), "{secret} is in:\n{text}");
            }
        }
    }
}
