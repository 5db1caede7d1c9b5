//! `callgate explain --can` predicts what a real server does with the same configuration.

use std::{collections::BTreeSet, path::Path, process::Command};

use callgate::keys::{AccountSigner, Signer};
use callgate_testkit::{
    NatsServer,
    service::{self, Launch},
};
use serde_json::{Value, json};

use crate::wire::{Wire, publish, subscribe};

const POLICY: &str = r#"
default_account = "APP"

[issuer]
seed = { file = "issuer.nk" }

[[authenticators]]
name = "staff"
[authenticators.users]
file = "users.json"

[roles.tenant]
publish   = { allow = ["tenants.{{ user }}.>"], deny = ["tenants.*.audit"] }
subscribe = { allow = ["tenants.{{ user }}.>", "status.*"] }
inbox     = "private"

[roles.audit]
subscribe = { allow = ["tenants.*.audit"] }

[roles.worker]
subscribe = { allow = ["jobs.new workers", "logs.>"], deny = ["logs.secret", "logs.a one"] }
responses = { max = 1 }

[roles.admin]
publish = [">"]
subscribe = [">"]

[roles.reader]
inbox = "private"
kv = [{ bucket = "config", access = "read" }]
streams = [{ name = "ORDERS", access = "consume", consumer = "worker" }]
"#;

/// User, operation and expected answer; `reply` is yes, but only for received reply subjects.
const GOLDEN: &str = "
acme     pub tenants.acme.orders               yes
acme     pub tenants.acme.audit                no
acme     pub tenants.other.orders              no
acme     pub $SYS.REQ.USER.AUTH                no
acme     sub tenants.acme.>                    yes
acme     sub tenants.*.orders                  no
acme     sub status.*                          yes
acme     sub status.>                          yes
acme     sub status.a.b                        no
acme     sub _INBOX_acme.x                     yes
acme     sub _INBOX_acme                       no
acme     sub _INBOX.x                          no
auditor  sub tenants.acme.audit                yes
auditor  sub tenants.acme.orders               no
auditor  pub tenants.acme.audit                no
worker   sub jobs.new workers                  yes
worker   sub jobs.new                          no
worker   sub jobs.new others                   no
worker   sub logs.a                            yes
worker   sub logs.a one                        no
worker   sub logs.secret two                   no
worker   sub logs.> three                      yes
worker   pub anything                          reply
both     sub tenants.both.>                    yes
both     sub jobs.new workers                  yes
both     pub tenants.both.audit                reply
root     pub anything                          yes
root     sub >                                 yes
reader   pub $JS.API.DIRECT.GET.KV_config      yes
reader   pub $JS.API.DIRECT.GET.KV_other       no
reader   pub $KV.config.key                    no
reader   pub $JS.ACK.ORDERS.worker.1.2.3.4.5   yes
reader   pub $JS.ACK.ORDERS.other.1.2.3.4.5    no
open     pub anything                          yes
nothing  pub anything                          no
nothing  sub anything                          no
";

fn users() -> Value {
    json!({
        "acme": { "pass": "acme", "roles": ["tenant"] },
        "auditor": { "pass": "auditor", "roles": ["audit"] },
        "worker": { "pass": "worker", "roles": ["worker"] },
        "both": { "pass": "both", "roles": ["tenant", "worker"] },
        "root": { "pass": "root", "roles": ["admin"] },
        "reader": { "pass": "reader", "roles": ["reader"] },
        "open": { "pass": "open" },
        "nothing": { "pass": "nothing", "permissions": {} },
    })
}

struct Expectation {
    user: &'static str,
    /// `pub SUBJECT` or `sub SUBJECT [QUEUE]`.
    kind: &'static str,
    subject: &'static str,
    answer: &'static str,
}

fn golden() -> Vec<Expectation> {
    let lines = GOLDEN.lines().filter(|line| !line.is_empty());
    let question = |line: &'static str| {
        let (user, rest) = line.split_once(' ').unwrap();
        let (asked, answer) = rest.trim().rsplit_once(' ').unwrap();
        let (kind, subject) = asked.trim().split_once(' ').unwrap();
        Expectation { user, kind, subject: subject.trim(), answer }
    };
    lines.map(question).collect()
}

#[tokio::test]
async fn explain_agrees_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let signer = AccountSigner::generate().unwrap();
    for version in ["2.10", "2.15"] {
        let server = nats_server(version, &signer).await;
        let config = configuration(folder.path(), &server, &signer);
        let mut service = service::start(folder.path(), &Launch::default());
        service.wait_for_stderr("ready").await;
        let users: BTreeSet<_> = golden().iter().map(|question| question.user).collect();
        for user in users {
            let questions: Vec<_> = golden().into_iter().filter(|one| one.user == user).collect();
            check_explain(&config, user, &questions);
            check_server(&server, user, &questions).await;
        }
    }
}

async fn nats_server(version: &str, signer: &AccountSigner) -> NatsServer {
    let config = format!(
        "accounts {{ AUTH {{ users: [{{ user: auth, password: auth }}] }}, APP {{}}, SYS {{}} }}
         system_account: SYS
         authorization {{
           timeout: 10
           auth_callout {{ issuer: {}, account: AUTH, auth_users: [auth] }}
         }}",
        signer.public_key()
    );
    NatsServer::builder().version(version).config(&config).start().await
}

fn configuration(folder: &Path, server: &NatsServer, signer: &AccountSigner) -> std::path::PathBuf {
    let nats =
        format!("[nats]\nservers = \"{}\"\nuser = \"auth\"\npassword = \"auth\"\n", server.url());
    let admin = "[admin]\nlisten = \"\"\n";
    let path = folder.join("callgate.toml");
    std::fs::write(&path, format!("{POLICY}\n{nats}\n{admin}")).unwrap();
    std::fs::write(folder.join("users.json"), users().to_string()).unwrap();
    std::fs::write(folder.join("issuer.nk"), signer.seed().expose()).unwrap();
    path
}

fn check_explain(config: &Path, user: &str, questions: &[Expectation]) {
    let mut explain = Command::new(service::binary());
    explain.args(["explain", "--json", "--user", user, "--password", user, "--config"]).arg(config);
    for Expectation { kind, subject, .. } in questions {
        explain.arg("--can").arg(format!("{kind}:{subject}"));
    }
    let output = explain.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let answers = report["can"].as_array().unwrap();
    assert_eq!(answers.len(), questions.len(), "{report}");
    for (Expectation { kind, subject, answer, .. }, said) in questions.iter().zip(answers) {
        let rule = said["rule"].as_str().unwrap();
        let flag = |name: &str| said[name].as_bool().unwrap();
        let word = match (flag("allowed"), flag("as_reply")) {
            (true, _) => "yes",
            (false, true) => "reply",
            (false, false) => "no",
        };
        assert_eq!(word, *answer, "explain: {user} {kind} {subject}: {rule}");
        assert!(!rule.is_empty(), "{user} {kind} {subject}");
    }
}

async fn check_server(server: &NatsServer, user: &str, questions: &[Expectation]) {
    let mut wire = Wire::connect(server, user).await;
    let command = |question: &Expectation| match question.kind {
        "pub" => publish(question.subject, ""),
        _ => subscribe(question.subject, 1),
    };
    let commands: Vec<_> = questions.iter().map(command).collect();
    for (Expectation { kind, subject, answer, .. }, said) in
        questions.iter().zip(wire.ask(&commands).await)
    {
        // Nothing arrived that could be answered.
        let expected = *answer == "yes";
        assert_eq!(said.errors.is_empty(), expected, "server: {user} {kind} {subject}: {said:?}");
    }
}
