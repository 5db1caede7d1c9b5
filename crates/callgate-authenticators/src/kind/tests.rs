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
fn an_entry_has_exactly_one_kind() {
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
fn an_unknown_kind_lists_the_known_kinds() {
    let unknown = "authenticators[0].user: unknown kind; did you mean `users`? (this build has: \
                   users, oidc)";
    assert_eq!(kind_of("[user]"), Err(vec![unknown.to_owned()]));
    let missing = "authenticators[0]: has no table of its kind; this build has: users, oidc";
    assert_eq!(kind_of(""), Err(vec![missing.to_owned()]));
}

#[test]
fn a_kind_replaces_one_of_the_same_name() {
    let registry = Registry::empty().with(Named("users")).with(Named("users"));
    assert_eq!(registry.names().collect::<Vec<_>>(), ["users"]);
}
