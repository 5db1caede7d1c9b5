//! Users files: the first line is `toml`, `yaml` or `json`, the rest the file.

#![no_main]

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use callgate::request::{AuthRequest, Credential};
use callgate_authenticators::kind::{BuildContext, Registry, SharedResources};
use callgate_config::{Document, Format, Report, Sources, Table};
use callgate_fuzz::{
    assert_printable, callout::block_on, caught_panics_are_fine, first_line, scratch::Scratch,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| Scratch::new("users"));

fuzz_target!(init: caught_panics_are_fine(), |data: &[u8]| {
    let (format, text) = first_line(data);
    let (name, format) = match format {
        b"toml" => ("users.toml", Format::Toml),
        b"yaml" => ("users.yaml", Format::Yaml),
        b"json" => ("users.json", Format::Json),
        _ => return,
    };
    let path = SCRATCH.write(name, text);
    let table = format!("file = \"{}\"", path.display());
    let document = Document::parse(table.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut context = BuildContext::new("staff", sources.clone(), Arc::new(SharedResources::new(1)));
    context.policy.roles = Arc::new(BTreeSet::from(["reader".to_owned()]));
    let kind = Registry::builtin();
    let kind = kind.find("users").unwrap();
    let built = kind.build(&context, Table::root(&document, "users", &report, &sources));
    let said = |list: Vec<callgate_config::Fault>| {
        list.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_printable(&said(report.faults()));
    assert_printable(&said(report.warnings()));
    assert_eq!(built.is_some(), report.is_faultless());
    let Some(users) = built else { return };
    // What is good was strictly read: the same tree by the plain reader of the format.
    let document = Document::parse(text, format).unwrap();
    let Value::Object(entries) = document.value() else { panic!("a table of users") };
    let login = |user: &str, password: &str| {
        let credential =
            Credential::Password { user: user.to_owned(), password: password.into() };
        block_on(async { users.authenticate(&AuthRequest::for_tests(credential)).await })
    };
    for (user, entry) in entries.iter().take(4) {
        // Hashes cost what they cost; clear texts are compared.
        let Some(password) = clear(entry).filter(|_| !has_hashes(entries)) else { continue };
        if let Ok(identity) = login(user, password) {
            assert_eq!(&identity.user, user);
        }
        for wrong in [format!("{password}x"), String::new(), password.to_uppercase() + "\0"] {
            assert!(login(user, &wrong).is_err(), "{user}: {wrong:?}");
        }
        assert!(login(&format!("{user}\u{1}"), password).is_err());
    }
});

fn clear(entry: &Value) -> Option<&str> {
    ["pass", "password"].iter().find_map(|key| entry.get(key)?.as_str())
}

fn has_hashes(entries: &serde_json::Map<String, Value>) -> bool {
    entries.values().filter_map(clear).any(|password| password.starts_with('$'))
}
