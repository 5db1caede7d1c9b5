//! Mistakes in operator mode that `check` finds without a server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use std::{fs, path::Path};

use callgate::keys::KeyKind;
use callgate_matrix::{
    mode::Mode,
    plan,
    site::{Pair, Site, Variation},
};
use callgate_testkit::service::{binary, command, run};

/// Writes changed files of `init --operator`, and returns the exit code and output of `check`.
fn checked(change: impl Fn(&mut String, &Path)) -> (i32, String) {
    let newest = *plan::lines().last().unwrap();
    let site = Site::new(Mode::OperatorScopedKeys, newest, &Variation::default());
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in &site.files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("users.json"), r#"{"a": {"pass": "a", "account": "APP"}}"#)
        .unwrap();
    let mut config = format!(
        "{}servers = \"nats://127.0.0.1:4222\"\n[[authenticators]]\n[authenticators.users]\nfile = \"users.json\"\n",
        site.service
    );
    change(&mut config, folder.path());
    fs::write(folder.path().join("callgate.toml"), config).unwrap();
    let check = &mut command(binary(), folder.path(), &["check", "--config", "callgate.toml"]);
    let ran = run(check, b"");
    (ran.code, ran.stdout)
}

fn refused(path: &str, says: &str, change: impl Fn(&mut String, &Path)) {
    let (code, output) = checked(change);
    assert_eq!(code, 2, "{output}");
    let fault = output.lines().find(|line| line.starts_with("error:") && line.contains(path));
    assert!(fault.is_some_and(|line| line.contains(says)), "{path}, {says}: {output}");
}

#[test]
fn unchanged_files_pass_the_check() {
    let (code, output) = checked(|_, _| ());
    assert_eq!(code, 0, "{output}");
}

#[test]
fn key_of_another_account_is_reported() {
    refused("accounts[0].seed", "a key of the callout account", |_, folder| {
        fs::copy(folder.join("issuer.nk"), folder.join("APP.nk")).unwrap();
    });
    refused("accounts[0].scoped.reader", "must be a separate key", |_, folder| {
        fs::copy(folder.join("APP.nk"), folder.join("reader.nk")).unwrap();
    });
    refused("accounts[0].id", "no user can be placed in the callout account", |config, _| {
        let account = config.lines().find(|line| line.starts_with("account = ")).unwrap();
        let callout = account.trim_start_matches("account = ").to_owned();
        let id = config.lines().find(|line| line.starts_with("id = ")).unwrap().to_owned();
        *config = config.replace(&id, &format!("id = {callout}"));
    });
    refused("accounts[1].seed", "a key of the account `APP`", |config, _| {
        let id = Pair::generate(KeyKind::Account).public;
        let more = format!(
            "[[accounts]]\nname = \"MORE\"\nid = \"{id}\"\nseed = {{ file = \"APP.nk\" }}\n[roles.reader]"
        );
        *config = config.replace("[roles.reader]", &more);
    });
}

#[test]
fn wrong_callout_account_is_reported() {
    let stated = |account: &str| {
        let line = format!("callout_account = \"{account}\"\n");
        move |config: &mut String, _: &Path| {
            *config = config.replacen("[[accounts]]", &format!("{line}[[accounts]]"), 1);
        }
    };
    refused("issuer.callout_account", "is the account `APP`", stated("APP"));
    let other = Pair::generate(KeyKind::Account).public;
    refused("issuer.callout_account", "differs from issuer.account", stated(&other));
    let (code, output) = checked(stated("AUTH"));
    assert_eq!(code, 0, "{output}");
}

#[test]
fn missing_parts_are_reported_with_their_location() {
    let (_, output) = checked(|config, _| {
        *config = config.replace("xkeys = [{ file = \"xkey.xk\" }]", "");
    });
    assert!(output.contains("goes into the callout account's JWT"), "{output}");
    refused("issuer.seed", "the callout account's key, or of one of its", |config, _| {
        *config = config.replace("seed = { file = \"issuer.nk\" }", "");
    });
    refused("nats", "auth_users of the callout account's JWT", |config, _| {
        *config = config.replace("creds = \"nats.creds\"", "");
    });
}

#[test]
fn users_entry_that_a_scope_always_refuses_is_a_warning() {
    let (code, output) = checked(|config, folder| {
        // Over every kind of connection that the scoped role is open to.
        config.push_str("[roles.plain]\npublish = [\"a\"]\n");
        config.push_str(
            "connection_types = [\"nats\", \"websocket\", \"mqtt\", \"leafnode\"]\n\
             [roles.some]\npublish = [\"a\"]\n",
        );
        let users = r#"{
            "good": { "pass": "x", "account": "APP", "roles": ["reader"] },
            "a.b": { "pass": "x", "account": "APP", "roles": ["reader"] },
            "both": { "pass": "x", "account": "APP", "roles": ["reader", "plain"] },
            "own": { "pass": "x", "account": "APP", "roles": ["reader"], "permissions": {},
                     "connection_types": ["nats", "websocket", "mqtt", "leafnode"] },
            "leaf": { "pass": "x", "account": "APP", "roles": ["reader", "some"] },
            ">": { "pass": "x", "account": "APP", "roles": ["plain"] }
        }"#;
        fs::write(folder.join("users.json"), users).unwrap();
    });
    assert_eq!(code, 0, "{output}");
    let warned: Vec<&str> = output.lines().filter(|line| line.contains("has a scope")).collect();
    for (entry, why) in [
        ("\"a.b\"", "is not one literal subject token: always refused"),
        ("both", "cannot be combined with role `plain`"),
        ("own", "cannot be combined with `permissions`"),
    ] {
        let about =
            |line: &&&str| line.contains("users.json:") && line.contains(&format!(": {entry}: "));
        assert!(warned.iter().find(about).is_some_and(|line| line.contains(why)), "{output}");
    }
    assert_eq!(warned.len(), 3, "{output}");
    refused("roles.reader.tags[0]", "every login would be refused", |config, _| {
        *config = config.replace("scope = \"reader\"", "scope = \"reader\"\ntags = [\"team:>\"]");
    });
}

#[test]
fn seed_of_another_kind_is_reported() {
    refused("issuer.seed", "this is a user seed", |_, folder| {
        fs::write(folder.join("issuer.nk"), Pair::generate(KeyKind::User).seed()).unwrap();
    });
}

#[test]
fn missing_scope_key_pattern_and_list_are_reported() {
    refused("roles.reader.scope", "no account has a scoped signing key", |config, _| {
        *config = config.replace("scoped = { reader = { file = \"reader.nk\" } }\n", "");
    });
    refused(
        "accounts[0].name",
        "operator mode needs the exact name of every account",
        |config, _| {
            *config = config.replace("name = \"APP\"", "name = \"APP-*\"");
        },
    );
    refused("accounts", "list every account that users may be placed in", |config, _| {
        let begin = config.find("[[accounts]]").unwrap();
        let end = config.find("[roles.reader]").unwrap();
        config.replace_range(begin..end, "");
    });
}
