//! The pages of authenticators have one shape: a configuration first, the meaning of refusals last.

use callgate::record::Reason;
use callgate_testkit::pages::checkout;

use super::{assert_none, page};

const PAGES: [&str; 9] = [
    "anonymous",
    "certificate",
    "http",
    "introspection",
    "kv",
    "ldap",
    "nats",
    "second-factors",
    "sql",
];

#[test]
fn pages_start_with_a_configuration_and_end_with_refusals() {
    let mut errors = Vec::new();
    for name in PAGES {
        let text = page(checkout(&format!("docs/{name}.md"))).text;
        let introduction = text.split("\n## ").next().unwrap();
        if !introduction.contains("```toml\n") {
            errors.push(format!("{name}.md does not start with a configuration"));
        }
        let (heading, last) = text.rsplit("\n## ").next().unwrap().split_once('\n').unwrap();
        if heading != "What each refusal means" {
            errors.push(format!("{name}.md ends with `{heading}`"));
        }
        let rows = last.lines().filter_map(|line| line.strip_prefix("| `"));
        let reasons = rows.map(|row| row.split('`').next().unwrap());
        let unknown: Vec<_> = reasons
            .filter(|reason| Reason::ALL.iter().all(|known| known.as_str() != *reason))
            .collect();
        if !unknown.is_empty() {
            errors.push(format!("{name}.md explains unknown reasons: {unknown:?}"));
        }
        if !last.contains("| `backend_unavailable`") && name != "anonymous" {
            errors.push(format!("{name}.md does not explain an outage"));
        }
    }
    assert_none(errors);
}
