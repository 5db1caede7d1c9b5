use serde_json::json;

use super::*;
use callgate_config::{Document, Format, Report, Sources};

#[derive(Debug)]
struct Named(&'static str);

impl Kind for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn build(&self, _: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        table.finish();
        None
    }
}

fn kind_of(toml: &str) -> Result<&'static str, Vec<String>> {
    let registry = Registry::empty().with(Named("users")).with(Named("oidc"));
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut entry = Table::root(&document, "authenticators[0]", &report, &sources);
    let _common = entry.string("name");
    let found = registry.kind_of(&mut entry).map(|(kind, table)| {
        table.finish();
        kind.name()
    });
    entry.finish();
    found.ok_or_else(|| report.faults().iter().map(ToString::to_string).collect())
}

#[test]
fn entry_has_exactly_one_kind() {
    assert_eq!(kind_of("name = \"a\"\n[oidc]"), Ok("oidc"));
    assert_eq!(
        kind_of("[oidc]\n[users]"),
        Err(vec![
            "authenticators[0]: has `users` and `oidc`: each entry is of exactly one kind"
                .to_owned()
        ])
    );
}

#[test]
fn unknown_kind_lists_the_known_kinds() {
    let unknown = "authenticators[0].user: unknown kind; did you mean `users`? (this build has: \
                   users, oidc)";
    assert_eq!(kind_of("[user]"), Err(vec![unknown.to_owned()]));
    let missing = "authenticators[0]: has no table of its kind; this build has: users, oidc";
    assert_eq!(kind_of(""), Err(vec![missing.to_owned()]));
}

#[test]
fn kind_replaces_one_of_the_same_name() {
    let registry = Registry::empty().with(Named("users")).with(Named("users"));
    assert_eq!(registry.names().collect::<Vec<_>>(), ["users"]);
}

#[tokio::test]
async fn all_errors_of_a_table_are_reported_at_once() {
    let registry = Registry::builtin();
    for kind in registry.names().filter_map(|name| registry.find(name)) {
        let mut own: serde_json::Map<_, _> =
            kind.keys().iter().map(|key| (key.name.to_owned(), json!([[7]]))).collect();
        own.insert("unknown_key".to_owned(), json!(1));
        let document = Document::from_value(own.into());
        let (report, sources) = (Report::new(), Sources::new("."));
        let table = Table::root(&document, "kind", &report, &sources)
            .with_keys(callgate_config::Type::Table(kind.keys()));
        let context = BuildContext::new("a", sources.clone(), Arc::default());
        assert!(kind.build(&context, table).is_none(), "{}", kind.name());
        let faults = report.faults();
        let is_reported = |key: &str| {
            let path = format!("kind.{key}");
            faults.iter().any(|fault| fault.path.starts_with(&path))
        };
        // The policy reads `defaults`.
        let keys = kind.keys().iter().map(|key| key.name).filter(|key| *key != "defaults");
        let silent: Vec<_> = keys.chain(["unknown_key"]).filter(|key| !is_reported(key)).collect();
        assert!(silent.is_empty(), "{}: {silent:?} are not in {faults:#?}", kind.name());
    }
}
