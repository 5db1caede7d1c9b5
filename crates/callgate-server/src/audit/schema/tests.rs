//! The declared members, the records and the documentation agree.

use std::{fs, path::Path};

use serde_json::json;

use super::{super::event::*, *};

/// One event of each type, with every member.
fn events() -> Vec<Event> {
    let text = || "x".to_owned();
    let session = Session {
        user: Some(text()),
        authenticator: Some(text()),
        account: Some(text()),
        client_host: Some(text()),
        connection: Some(text()),
        client_name: Some(text()),
        client_id: Some(1),
        server: Some(text()),
        server_id: Some(text()),
        request: Some(text()),
    };
    let order = || Order { actor: text(), via: Via::Direct, reason: Some(text()) };
    let target = Map::from_iter([("user".to_owned(), json!("alice"))]);
    vec![
        Event::AnswerDropped(AnswerDropped { session: session.clone(), reason: text() }),
        Event::SessionStart(session.clone()),
        Event::SessionEnd(SessionEnd {
            session: session.clone(),
            cause: Some(text()),
            reason: Some(text()),
            in_bytes: Some(1),
            out_bytes: Some(1),
        }),
        Event::Kick(Kick {
            session: session.clone(),
            cause: text(),
            result: text(),
            lock: Some(text()),
            order: Some(order()),
        }),
        Event::Lock(Lock { lock: text(), target, until: Some(text()), order: order() }),
        Event::Unlock(Unlock { lock: text(), order: order() }),
        Event::Lockout(Lockout {
            kind: text(),
            user: Some(text()),
            client_host: Some(text()),
            until: text(),
        }),
        Event::Revocation(Revocation {
            id: text(),
            cause: text(),
            sessions: 1,
            result: RevocationResult::Withdrawn,
            order: Some(order()),
        }),
        Event::Config(ConfigLoad {
            result: LoadResult::Loaded,
            hash: Some(text()),
            detail: Some(text()),
        }),
        Event::Users(UsersLoad { authenticator: text(), result: LoadResult::Rejected }),
        Event::Console(Console { action: text(), detail: Some(text()), order: order() }),
        Event::Violation(Violation { session, operation: text(), subject: text() }),
        Event::Gap(Gap { records: 1, why: GapCause::QueueFull }),
        Event::Start(Start { version: text(), after: Some(text()) }),
        Event::Stop(Stop {}),
        Event::Seal(Seal { sig: text(), key: text() }),
    ]
}

/// The names of the members of a JSON object with simple values, in their order.
fn names(json: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(json).unwrap();
    let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    names.sort_by_key(|name| json.find(&format!("\"{name}\":")).unwrap());
    names
}

#[test]
fn records_have_the_declared_members_in_their_order() {
    let records = events().into_iter().map(|event| serde_json::to_string(&event).unwrap());
    let mut seen = vec!["decision".to_owned()];
    for json in records {
        let value: Value = serde_json::from_str(&json).unwrap();
        let kind = value["type"].as_str().unwrap().to_owned();
        let declared = TYPES.iter().find(|record| record.name == kind).expect("a declared type");
        let expected: Vec<_> =
            ["type"].into_iter().chain(declared.own_members().map(|member| member.name)).collect();
        assert_eq!(names(&json), expected, "{kind}");
        seen.push(kind);
    }
    let declared: Vec<_> = TYPES.iter().map(|record| record.name).collect();
    assert_eq!(seen, declared);
}

#[test]
fn decision_has_the_declared_members_in_their_order() {
    let json = super::super::decision::full_record();
    let declared = TYPES.first().unwrap().own_members().map(|member| member.name);
    let expected: Vec<_> = ["type"].into_iter().chain(declared).collect();
    assert_eq!(names(&json), expected);
}

#[track_caller]
fn compare(page: &Path, text: &str, current: &str) {
    if std::env::var_os("CALLGATE_BLESS").is_some() {
        fs::write(page, current).unwrap();
        return;
    }
    assert!(text == current, "{} is outdated: run the test with CALLGATE_BLESS=1", page.display());
}

#[test]
fn published_schema_and_tables_match_the_records() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = docs.join("audit.schema.json");
    compare(&page, &fs::read_to_string(&page).unwrap_or_default(), &format!("{:#}\n", schema()));
    let page = docs.join("audit.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!-- records -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of records -->").unwrap();
    let current =
        format!("{before}<!-- records -->\n\n{}\n<!-- end of records -->{after}", markdown());
    compare(&page, &text, &current);
}
