//! The declared keys, the reader, the schema and the documentation agree.

use std::{collections::BTreeSet, fs, path::Path};

use callgate_authenticators::{kind::OPTIONAL_KINDS, users};
use callgate_config::{
    Format, permissions,
    schema::{self, Default},
};
use serde_json::{Map, json};

use super::*;

/// The keys that the documentation has a table for.
fn roots(registry: &Registry) -> Vec<Key> {
    let mut roots = KEYS.to_vec();
    roots.extend(registry.keys());
    // `nats` is also a section of its own.
    let of_nats = registry.keys().filter(|key| key.name == "nats");
    roots.extend(of_nats.map(|key| Key { name: "nats_authenticator", ..key }));
    roots.push(Key::optional("users_file", users::FILE, ""));
    roots.push(Key::optional("permissions", Type::Table(permissions::KEYS), ""));
    roots
}

const MARKER: &str = "<!-- keys: ";
const END: &str = "<!-- end -->";

#[test]
fn documentation_tables_match_the_declared_keys() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = fs::read_dir(docs).unwrap().map(|page| page.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let pages: Vec<_> = pages.map(|path| (fs::read_to_string(&path).unwrap(), path)).collect();
    let marked = pages.iter().flat_map(|(text, _)| text.split(MARKER).skip(1));
    let marked: BTreeSet<_> = marked.filter_map(|rest| rest.split_once(" -->")).collect();
    let marked: BTreeSet<&str> = marked.into_iter().map(|(path, _)| path).collect();
    assert!(marked.len() > 10, "{marked:?}");
    let registry = Registry::builtin();
    let roots = roots(&registry);
    for (text, page) in &pages {
        let mut blessed = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(MARKER) {
            let (path, after) = after.split_once(" -->\n").unwrap();
            let (table, after) = after.split_once(END).unwrap();
            let keys = match path {
                "top" => Some(KEYS),
                path => schema::keys_at(&roots, path),
            };
            let is_documented =
                |below: &str| path == "top" || marked.contains(format!("{path}.{below}").as_str());
            let table = match keys {
                Some(keys) => format!("\n{}\n", schema::markdown(keys, &is_documented)),
                // A kind that this build does not have.
                None if is_left_out(path, &registry) => table.to_owned(),
                None => panic!("{}: no keys are called `{path}`", page.display()),
            };
            blessed += &format!("{before}{MARKER}{path} -->\n{table}{END}");
            rest = after;
        }
        blessed += rest;
        if std::env::var_os("CALLGATE_BLESS").is_some() {
            fs::write(page, &blessed).unwrap();
            continue;
        }
        let page = page.display();
        assert!(*text == blessed, "{page} is outdated: run the test with CALLGATE_BLESS=1");
    }
}

/// Whether a path begins with a kind that this build does not have.
fn is_left_out(path: &str, registry: &Registry) -> bool {
    let root = path.split(['.', '[']).next().unwrap_or_default();
    let kind = root.trim_end_matches("_authenticator");
    OPTIONAL_KINDS.contains(&kind) && registry.find(kind).is_none()
}

/// For each key, its path and a document in which it is `null` and the required keys are set.
fn nulls(keys: &[Key], path: &str, document: &dyn Fn(Value) -> Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for key in keys {
        for name in [key.name].iter().chain(key.aliases) {
            let path = format!("{path}{name}");
            let required = keys.iter().filter(|key| matches!(key.default, Default::Required));
            let mut table: Value =
                required.map(|key| (key.name.to_owned(), json!("x"))).collect::<Map<_, _>>().into();
            table[*name] = Value::Null;
            all.push((path.clone(), document(table)));
            let below = match key.value {
                Type::List(Type::Table(inner)) => Some((*inner, "[0]")),
                Type::Map(Type::Table(inner)) => Some((*inner, ".x")),
                Type::OneOf([_, Type::Table(inner)]) => Some((*inner, "")),
                Type::Table(inner) => Some((inner, "")),
                _ => None,
            };
            if let Some((inner, element)) = below {
                let document = |value| match element {
                    "[0]" => document(json!({ *name: [value] })),
                    ".x" => document(json!({ *name: { "x": value } })),
                    _ => document(json!({ *name: value })),
                };
                all.extend(nulls(inner, &format!("{path}{element}."), &document));
            }
        }
    }
    all
}

#[test]
fn reader_reads_every_declared_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callgate.json");
    let users = folder.path().join("users.json");
    let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
    let env = BuildEnv::aside();
    let assert_read = |key: &str, document: &Value| {
        fs::write(&path, document.to_string()).unwrap();
        let faults = load(&overrides, &env).report.faults();
        let fault = faults.iter().find(|fault| fault.path == key);
        let is_read = fault.is_some_and(|fault| !fault.message.contains("unknown key"));
        assert!(is_read, "`{key}` is not read: {document}: {faults:?}");
    };
    for (key, document) in nulls(KEYS, "", &|value| value) {
        assert_read(&key, &document);
    }
    for kind in env.registry.keys() {
        let document = |value| json!({ "authenticators": [value] });
        for (key, document) in nulls(&[kind], "authenticators[0].", &document) {
            assert_read(&key, &document);
        }
    }
    let Type::Map(Type::Table(entry)) = users::FILE else { panic!() };
    for (key, document) in nulls(entry, "al.", &|value| json!({ "al": value })) {
        fs::write(&users, document.to_string()).unwrap();
        assert_read(&key, &json!({ "authenticators": [{ "users": { "file": "users.json" } }] }));
    }
}

#[test]
fn empty_list_never_removes_a_protection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callgate.json");
    let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
    let oidc = |key: &str| {
        let mut table = json!({ "issuer": "https://id.example.com/", "audience": ["nats"] });
        table[key] = json!([]);
        json!({ "authenticators": [{ "oidc": table }] })
    };
    for (key, document) in [
        ("issuer.system_accounts", json!({ "issuer": { "system_accounts": [] } })),
        ("issuer.system_accounts", json!({ "issuer": { "system_accounts": [""] } })),
        ("roles.a.source", json!({ "roles": { "a": { "source": [] } } })),
        ("roles.a.connection_types", json!({ "roles": { "a": { "connection_types": [] } } })),
        ("roles.a.times", json!({ "roles": { "a": { "times": [] } } })),
        ("roles.a.publish.deny[0]", json!({ "roles": { "a": { "publish": { "deny": [""] } } } })),
        ("bindings[0].authenticator", json!({ "bindings": [{ "authenticator": [] }] })),
        ("bindings[0].when", json!({ "bindings": [{ "when": "" }] })),
        ("authenticators[0].oidc.audience", oidc("audience")),
        ("authenticators[0].oidc.algorithms", oidc("algorithms")),
        ("authenticators[0].oidc.types", oidc("types")),
        (
            "authenticators[0].oidc.required_claims.hd",
            json!({ "authenticators": [{ "oidc": { "issuer": "https://id.example.com/",
                "audience": ["nats"], "required_claims": { "hd": [] } } }] }),
        ),
    ] {
        fs::write(&path, document.to_string()).unwrap();
        let faults = load(&overrides, &BuildEnv::aside()).report.faults();
        assert!(faults.iter().any(|fault| fault.path == key), "{key}: {faults:?}");
    }
}

/// The part of JSON Schema that our schemas use.
fn conforms(schema: &Value, value: &Value, root: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        return conforms(root.pointer(name.trim_start_matches('#')).unwrap(), value, root);
    }
    for (word, wanted) in [("anyOf", false), ("oneOf", true)] {
        if let Some(all) = schema[word].as_array() {
            let good = all.iter().filter(|one| conforms(one, value, root).is_ok()).count();
            if good == 0 || (wanted && good > 1) {
                return Err(format!("{value} is {good} of {schema}"));
            }
        }
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Err(format!("{value} is none of {schema}"));
    }
    let is_type = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(other) => panic!("{other}"),
        None => true,
    };
    if !is_type {
        return Err(format!("{value} is not {schema}"));
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
        conforms(&schema["items"], item, root)?;
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        if value.get(key.as_str().unwrap()).is_none() {
            return Err(format!("{key} is missing in {value}"));
        }
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => return Err(format!("`{key}` is unknown")),
            (Value::Null, Value::Object(_)) => {
                conforms(&schema["additionalProperties"], value, root)?;
            }
            (Value::Null, _) => {}
            (schema, _) => conforms(schema, value, root)?,
        }
    }
    Ok(())
}

#[test]
fn examples_conform_to_the_schema() {
    let registry = Registry::builtin();
    let schema = schema(&registry);
    let users = users::FILE.document_schema("");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut checked = 0;
    for page in fs::read_dir(docs).unwrap().map(|page| page.unwrap().path()) {
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("\n```").skip(1).step_by(2) {
            let Some((language, block)) = block.split_once('\n') else { continue };
            let whole = language == "toml" && block.starts_with("# callgate.toml");
            let names_missing_kind = OPTIONAL_KINDS.iter().any(|kind| {
                registry.find(kind).is_none() && block.contains(&format!("authenticators.{kind}"))
            });
            if !whole || names_missing_kind {
                continue;
            }
            let document = Document::parse(block.as_bytes(), Format::Toml).unwrap();
            let found = conforms(&schema, document.value(), &schema);
            assert_eq!(found, Ok(()), "{}: {block}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 0, "no example was found");
    let good = json!({ "al": { "pass": "x", "permissions": { "pub": { "allow": ["a"] },
        "sub": "b", "resp": { "max": 1, "ttl": "5s" } }, "source": "10.0.0.0/8" } });
    assert_eq!(conforms(&users, &good, &users), Ok(()));
    for bad in [json!({ "al": { "pas": "x" } }), json!({ "al": { "pass": 7 } }), json!([])] {
        assert!(conforms(&users, &bad, &users).is_err(), "{bad}");
    }
    for bad in [
        json!({ "authenticators": [{ "users": { "file": "x", "fil": "y" } }] }),
        json!({ "authenticators": [{}] }),
        json!({ "authenticators": [{ "users": { "file": "x" }, "ldap": {} }] }),
        json!({ "authenticators": [{ "users": { "file": "x" } }], "session": { "jiter": 0.1 } }),
    ] {
        assert!(conforms(&schema, &bad, &schema).is_err(), "{bad}");
    }
}

#[test]
fn defaults_conform_to_their_own_schema() {
    fn check(schema: &Value, root: &Value) {
        for (name, key) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(default) = key.get("default") {
                assert_eq!(conforms(key, default, root), Ok(()), "{name}");
            }
            check(key, root);
            check(&key["items"], root);
            check(&key["additionalProperties"], root);
        }
    }
    for schema in [schema(&Registry::builtin()), users::FILE.document_schema("")] {
        check(&schema, &schema);
    }
}
