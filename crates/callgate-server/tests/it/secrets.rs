//! Secrets appear in no log, metric or output.

use callgate_testkit::Nkey;
use serde_json::json;

use crate::support::{Credential, Pair, callgate_in, write_private};

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
        ];
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
