use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use callgate::{
    keys::KeyKind,
    permissions::{Permissions, Responses},
};

use super::*;
use crate::file_watch::Fingerprint;

mod syntax;

const SEED: &str = "SAANDLKMXL6CUS3CP52WIXBEDN6YJ545GDKC65U5JZPPV6WH6ESWUA6YAI";

fn document(toml: &str) -> Document {
    Document::parse(toml.as_bytes(), Format::Toml).unwrap()
}

/// The result of `read`, the faults and the warnings.
fn reading<T>(toml: &str, read: impl FnOnce(&mut Table<'_>) -> T) -> (T, Vec<String>, Vec<String>) {
    let (document, report) = (document(toml), Report::new());
    let sources = Sources::new(".").with_environment(|name| match name {
        "WORD" => Some("hunter2\n".to_owned()),
        "EMPTY" => Some(String::new()),
        "SEED" => Some(SEED.to_owned()),
        _ => None,
    });
    let mut table = Table::root(&document, "", &report, &sources);
    let value = read(&mut table);
    table.finish();
    let texts = |list: Vec<Fault>| list.iter().map(ToString::to_string).collect();
    (value, texts(report.faults()), texts(report.warnings()))
}

fn faults_of<T>(toml: &str, read: impl FnOnce(&mut Table<'_>) -> T) -> Vec<String> {
    reading(toml, read).1
}

#[test]
fn all_faults_are_reported_with_their_key_paths() {
    let toml = "a = 7\nb = \"x\"\n[c]\nd = [\"ok\", 5]\nuknown = 1\nknown = true\n\"e.f\" = 3";
    let faults = faults_of(toml, |table| {
        table.string("a");
        table.duration("b");
        table.required_string("missing");
        let mut inner = table.table("c").unwrap();
        inner.strings("d");
        inner.boolean("known");
        inner.finish();
    });
    assert_eq!(
        faults,
        [
            "a: must be text (put it between quotes), not a number",
            "b: `x` is not a duration: write a number and a unit (ms, s, m, h, d), such as \"90s\"",
            "`missing` is missing",
            "c.d[1]: must be text (put it between quotes), not a number",
            "c.\"e.f\": unknown key (known here: d, known)",
            "c.uknown: unknown key; did you mean `known`?",
        ]
    );
}

#[test]
fn null_is_a_fault() {
    let document = Document::parse(br#"{"a": null}"#, Format::Json).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut table = Table::root(&document, "users.json: ", &report, &sources);
    assert_eq!(table.string("a"), None);
    assert!(!table.finish());
    let fault = report.faults()[0].to_string();
    assert_eq!(fault, "users.json: a: must not be null: leave the key out instead");
}

#[test]
fn findings_in_a_large_file_are_located_quickly() {
    let entry = |n: usize| format!("\"user{n}\": {{\"pass\": \"{}\"}},\n", "x".repeat(80));
    let entries: String = (0..100_000).map(entry).collect();
    let text = format!("{{{entries}\"last\": {{\"pas\": 1}}}}");
    assert!(text.len() > 10_000_000);
    let document = Document::parse(text.as_bytes(), Format::Json).unwrap();
    let report = Report::new();
    report.fault("u: last.pas", "x");
    let started = std::time::Instant::now();
    report.locate(&document, "u: ", "users.json");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(report.faults()[0].to_string(), "users.json:100001:10: last.pas: x");
}

#[test]
fn values_are_trimmed_and_quotes_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("word");
    let sources = Sources::new(folder.path()).with_environment(|name| match name {
        "WORD" => Some("\u{feff} hunter2\r\n".to_owned()),
        "QUOTED" => Some("\"hunter2\"\n".to_owned()),
        _ => None,
    });
    fs::write(&path, "\u{feff}hunter2\r\n").unwrap();
    for text in ["@word", "env:WORD", " hunter2 "] {
        assert_eq!(sources.flag_secret(text).unwrap().secret.expose(), "hunter2", "{text}");
    }
    fs::write(&path, "'hunter2'\n").unwrap();
    for (text, origin) in [("@word", "word`"), ("env:QUOTED", "`QUOTED`"), ("'x'", "the value")] {
        let error = sources.flag_secret(text).unwrap_err().to_string();
        assert!(error.contains(origin) && error.contains("quote"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    fs::write(&path, format!("\u{feff}{SEED}\r\n")).unwrap();
    set_mode(&path, 0o600);
    assert!(sources.flag_seed("@word").is_ok());
    let whole = format!("{SEED}\r\n");
    assert_eq!(**sources.read(&path).unwrap(), *whole.as_bytes());
}

#[test]
fn yaml_words_are_not_booleans() {
    let document = Document::parse(b"a: no\nb: off\nc: true\n", Format::Yaml).unwrap();
    assert_eq!(*document.value(), serde_json::json!({"a": "no", "b": "off", "c": true}));
}

#[test]
fn extension_determines_the_format() {
    for (name, format) in
        [("a.toml", Format::Toml), ("a.YAML", Format::Yaml), ("a.yml", Format::Yaml)]
    {
        assert_eq!(Format::of(name.as_ref()).unwrap(), format);
    }
    assert!(Format::of("users".as_ref()).is_err());
    assert!(Format::of("users.conf".as_ref()).is_err());
}

#[test]
fn secrets_come_from_variables_files_or_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("word");
    fs::write(&path, " hunter2 \n").unwrap();
    set_mode(&path, 0o600);
    let read = |text: &str| {
        let text = format!("s = {text}");
        let (secret, faults, warnings) = reading(&text, |table| table.secret("s"));
        (secret.map(|secret| secret.expose().to_owned()), faults, warnings.len())
    };
    let good = Some("hunter2".to_owned());
    assert_eq!(read(r#"{ env = "WORD" }"#), (good.clone(), vec![], 0));
    assert_eq!(read(&format!("{{ file = {path:?} }}")), (good.clone(), vec![], 0));
    assert_eq!(read(r#""hunter2""#), (good, vec![], 1));
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn lax_file_modes_cause_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("word");
    fs::write(&path, "hunter2").unwrap();
    let (written, read) = ("is writable by others", "is readable by others");
    for (mode, secret, file) in [
        (0o600, &[][..], &[][..]),
        (0o400, &[], &[]),
        (0o640, &[read], &[]),
        (0o604, &[read], &[]),
        (0o620, &[written], &[written]),
        (0o666, &[written, read], &[written]),
    ] {
        set_mode(&path, mode);
        let about = |warnings: Vec<String>, expected: &[&str]| {
            assert_eq!(warnings.len(), expected.len(), "{mode:o}: {warnings:?}");
            for (warning, words) in warnings.iter().zip(expected) {
                assert!(warning.contains(words) && warning.contains("chmod"), "{warning}");
            }
        };
        let (found, _, warnings) =
            reading(&format!("s = {{ file = {path:?} }}"), |table| table.secret("s"));
        assert!(found.is_some());
        about(warnings, secret);
        let (_, _, warnings) = reading(&format!("f = {path:?}"), |table| table.file("f"));
        about(warnings, file);
    }
}

#[test]
fn unset_or_empty_secret_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    fs::write(&path, "\n").unwrap();
    for (text, expected) in [
        (r#"{ env = "NOWHERE" }"#.to_owned(), "is not set"),
        (r#"{ env = "EMPTY" }"#.to_owned(), "is empty"),
        (format!("{{ file = {path:?} }}"), "is empty"),
        (r#"{ file = "/nonexistent/word" }"#.to_owned(), "cannot read"),
        (r#""""#.to_owned(), "is empty"),
        ("{}".to_owned(), "exactly one of"),
        (r#"{ env = "WORD", file = "x" }"#.to_owned(), "exactly one of"),
        (r#"{ envv = "WORD" }"#.to_owned(), "did you mean `env`"),
        ("5".to_owned(), "must be"),
    ] {
        let (secret, faults, _) = reading(&format!("s = {text}"), |table| table.secret("s"));
        assert!(secret.is_none(), "{text}");
        assert!(faults[0].contains(expected), "{faults:?}");
    }
}

#[test]
fn first_seed_in_a_file_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issuer.nk");
    fs::write(&path, format!("# the issuer\n-----BEGIN-----\n{SEED}\n-----END-----\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (seed, faults, warnings) =
        reading(&format!("s = {{ file = {path:?} }}"), |table| table.seed("s"));
    assert_eq!(seed.unwrap().kind(), KeyKind::Account);
    assert_eq!((faults, warnings), (vec![], vec![]));
    assert!(reading(r#"s = { env = "SEED" }"#, |table| table.seed("s")).0.is_some());
    let faults = faults_of(r#"s = { env = "WORD" }"#, |table| table.seed("s").is_none());
    assert!(faults[0].contains("`WORD` contains no seed"), "{faults:?}");
    assert!(!faults[0].contains("hunter2"));
}

#[test]
fn quotes_around_a_seed_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seed.nk");
    for text in [format!("\"{SEED}\"\n"), format!("# from an env file\n'{SEED}'\r\n")] {
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        let error = Sources::new(folder.path()).seed_file(&path).unwrap_err().to_string();
        assert!(error.contains("quote") && !error.contains(SEED), "{error}");
    }
}

#[test]
fn seed_writable_by_others_is_a_fault_and_readable_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issuer.nk");
    fs::write(&path, SEED).unwrap();
    let sources = Sources::new(folder.path());
    let with_mode = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        sources.flag_seed("@issuer.nk").map(|(_, warning)| warning)
    };
    assert_eq!(with_mode(0o600).unwrap(), None);
    for mode in [0o640, 0o644, 0o604] {
        assert!(with_mode(mode).unwrap().unwrap().contains("chmod 600"));
    }
    for mode in [0o620, 0o602, 0o666] {
        assert!(with_mode(mode).unwrap_err().to_string().contains("chmod 600"));
    }
}

#[test]
fn files_are_resolved_through_links_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("..data")).unwrap();
    fs::write(folder.path().join("..data/word"), "hunter2").unwrap();
    std::os::unix::fs::symlink("..data/word", folder.path().join("word")).unwrap();
    let sources = Sources::new(folder.path());
    assert_eq!(sources.flag_secret("@word").unwrap().secret.expose(), "hunter2");
    assert!(sources.flag_secret("@missing").is_err());
    let read = [folder.path().join("missing"), folder.path().join("word")];
    let read = read.map(|path| (path.clone(), Fingerprint::of(&path)));
    assert_eq!(sources.files_read(), read.into());
}

#[test]
fn fingerprint_is_taken_before_the_first_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("word");
    fs::write(&path, "one").unwrap();
    let (sources, before) = (Sources::new(folder.path()), Fingerprint::of(&path));
    assert_eq!(sources.flag_secret("@word").unwrap().secret.expose(), "one");
    fs::write(&path, "another").unwrap();
    assert_eq!(sources.flag_secret("@word").unwrap().secret.expose(), "another");
    assert_eq!(sources.files_read(), [(path.clone(), before.clone())].into());
    assert_ne!(Fingerprint::of(&path), before);
}

#[test]
fn flag_takes_a_file_a_variable_or_a_literal() {
    let sources =
        Sources::new(".").with_environment(|name| (name == "WORD").then(|| "hunter2".to_owned()));
    let of_variable = sources.flag_secret("env:WORD").unwrap();
    assert_eq!((of_variable.secret.expose(), of_variable.literal), ("hunter2", false));
    let literal = sources.flag_secret("hunter2").unwrap();
    assert_eq!((literal.secret.expose(), literal.literal), ("hunter2", true));
    assert!(sources.flag_secret("").is_err());
    assert!(sources.flag_secret("env:NOWHERE").is_err());
}

#[test]
fn networks_and_connection_types_are_never_empty() {
    let (networks, faults, _) = reading("s = [\"10.1.2.3/8\", \"::1\"]", |t| t.networks("s"));
    let networks: Vec<_> = networks.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!((networks, faults), (vec!["10.0.0.0/8".to_owned(), "::1/128".to_owned()], vec![]));
    for text in ["[]", "[\"10.0.0.0/99\"]", "[\"localhost\"]"] {
        assert_eq!(faults_of(&format!("s = {text}"), |t| t.networks("s").is_none()).len(), 1);
    }
    for text in ["[]", "[\"quic\"]"] {
        assert_eq!(faults_of(&format!("s = {text}"), |t| t.connection_kinds("s")).len(), 1);
    }
}

fn permissions_of(toml: &str) -> (Permissions, Vec<String>) {
    let (document, report) = (document(toml), Report::new());
    let sources = Sources::new(".");
    let mut table = Table::root(&document, "permissions", &report, &sources);
    let permissions = permissions::RawPermissions::read(&mut table).compiled(&report).plain;
    table.finish();
    (permissions, report.faults().iter().map(ToString::to_string).collect())
}

#[test]
fn permission_keys_have_two_spellings() {
    let long =
        "publish = { allow = [\"a\"], deny = \"b\" }\nsubscribe = [\"c q\"]\nresponses = true";
    let short = "pub = { allow = [\"a\"], deny = \"b\" }\nsub = [\"c q\"]\n\
                 resp = { max = 1, ttl = \"2m\" }";
    let (permissions, faults) = permissions_of(long);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(permissions, permissions_of(short).0);
    assert_eq!(permissions.publish.allow, ["a".parse().unwrap()]);
    assert_eq!(permissions.publish.deny, ["b".parse().unwrap()]);
    assert_eq!(permissions.subscribe.allow, ["c q".parse().unwrap()]);
    assert_eq!(permissions.responses, Some(Responses::default()));
    assert_eq!(permissions_of("").0, Permissions::default());
}

#[test]
fn minus_one_means_unlimited_responses() {
    let (permissions, faults) = permissions_of("allow_responses = { max = -1, ttl = -1 }");
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(permissions.responses, Some(Responses { max: None, ttl: None }));
    let (permissions, _) = permissions_of("resp = { max = 5, ttl = \"5s\" }");
    let (as_number, _) = permissions_of("resp = { max = 5, ttl = 5_000_000_000 }");
    assert_eq!(permissions.responses, as_number.responses, "a number is in nanoseconds");
    let expected = Responses { max: Some(5), ttl: Some(Duration::from_secs(5)) };
    assert_eq!(permissions.responses, Some(expected));
    assert_eq!(permissions_of("resp = false").0.responses, None);
    for text in [
        "{ max = 0 }",
        "{ max = -2 }",
        "{ ttl = -5 }",
        "{ ttl = 0 }",
        "{ ttl = 5.5 }",
        "{ ttl = \"0s\" }",
        "1",
    ] {
        assert_eq!(permissions_of(&format!("resp = {text}")).1.len(), 1, "{text}");
    }
}

#[test]
fn refused_key_is_reported_once() {
    let faults = faults_of("payload = 5", |table| {
        permissions::refuse_limits(table);
        permissions::RawPermissions::read(table);
    });
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn wrong_permissions_are_reported_with_their_path() {
    let table = [
        ("pub = []\npublish = []", "permissions.pub: `publish` and `pub` mean the same"),
        ("publish = { allow = [\"a\", \"b..c\"] }", "permissions.publish.allow[1]: `b..c` has an"),
        ("publish = [\"a.{{ usr }}\"]", "permissions.publish[0]: `{{ usr }}`: unknown variable"),
        ("publish = [\"a.{user}\"]", "permissions.publish[0]: `a.{user}`: a single `{`"),
        ("publish = { alow = [] }", "permissions.publish.alow: unknown key; did you mean `allow`"),
        ("payload = 5", "permissions.payload: nats-server never enforces"),
        ("publish = [\"a q\"]", "permissions.publish[0]: `a q` contains white space"),
        (
            "publish = { allow = [\">\"], deny = [\"a\", \"secret/#\"] }",
            "permissions.publish.deny[1]: `secret/#` is an MQTT topic filter",
        ),
        (
            "subscribe = { allow = [\">\"], deny = \"x.{{ user }}.+\" }",
            "permissions.subscribe.deny: `x.{{ user }}.+` is an MQTT topic filter",
        ),
    ];
    for (toml, expected) in table {
        let (_, faults) = permissions_of(toml);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(expected), "{faults:?}");
    }
}

#[test]
fn findings_are_escaped_to_one_line() {
    let report = Report::new();
    report.fault("a\u{1b}[2J", "no `x\ny`");
    report.warn("a", "\u{7}");
    assert_eq!(report.faults()[0].to_string(), "a\\u{1b}[2J: no `x\\ny`");
    assert_eq!(report.warnings()[0].to_string(), "a: \\u{7}");
}

#[test]
fn findings_use_the_key_as_written() {
    let report = Report::new();
    report.written_as("roles.a b", "roles.\"a b\"");
    report.written_as("roles.a b.publish", "roles.\"a b\".pub");
    report.written_as("roles.a b.publish.allow[1]", "roles.\"a b\".pub[1]");
    report.written_as("same", "same");
    for (usual, written) in [
        ("roles.a b.publish.allow[1]", "roles.\"a b\".pub[1]"),
        ("roles.a b.publish", "roles.\"a b\".pub"),
        ("roles.a b.publish.deny[0]", "roles.\"a b\".pub.deny[0]"),
        ("roles.a b.times[0].end", "roles.\"a b\".times[0].end"),
        ("roles.a bc.publish", "roles.a bc.publish"),
        ("same.x", "same.x"),
        ("", ""),
    ] {
        report.fault(usual, "x");
        report.warn(usual, "x");
        let last = |list: Vec<Fault>| list.last().unwrap().path.clone();
        assert_eq!(last(report.faults()), written);
        assert_eq!(last(report.warnings()), written);
    }
}
