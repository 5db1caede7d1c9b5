use super::*;
use crate::telemetry::Exposition;

/// The label names of a sample, with the values of enumerated labels.
fn labels(sample: &str) -> BTreeSet<String> {
    let inner = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let pairs = inner.map_or("", |(pairs, _)| pairs).split(',').filter(|it| !it.is_empty());
    let label = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if !["stage", "result", "state", "answer"].contains(&name) => {
            name.to_owned()
        }
        _ => pair.to_owned(),
    };
    pairs.map(label).collect()
}

#[test]
fn metric_names_types_and_labels_are_frozen() {
    let metrics = Metrics::default();
    metrics.register_authenticator("a");
    metrics.register_key_source("a");
    metrics.register_backend("a");
    metrics.register_system(&["kicked", "already_gone", "failed"]);
    metrics.crl_expires("a", 1);
    metrics.count_second_factor("a", SecondFactorResult::Accepted);
    metrics.count_password_hash("a");
    metrics.set_directory_entries("a", 1, 0);
    metrics.service_accounts_known("a", 1, None);
    metrics.file_in_sync(Path::new("a"), true);
    metrics.register_audit_sink("a", || 0);
    metrics.register_revocations(["user_removed"]);
    metrics.count_permission_violation("a", "publish");
    metrics.count_unexpected_source("a", callgate::record::Outcome::Admitted);
    metrics.register_shadow([
        "same", "refused", "admitted", "account", "gained", "lost", "shorter", "failed", "skipped",
    ]);
    let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let text = Exposition::Text.convert(metrics.render().unwrap());
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(declared) => drop(families.entry(declared.to_owned()).or_default()),
            None if line.starts_with('#') => {}
            None => {
                let of = |family: &&String| {
                    family.split(' ').next().is_some_and(|name| line.starts_with(name))
                };
                let family = families.keys().rfind(of).cloned().expect(line);
                families.entry(family).or_default().append(&mut labels(line));
            }
        }
    }
    let row = |(family, labels): (String, BTreeSet<String>)| {
        [family].into_iter().chain(labels).collect::<Vec<_>>().join(" ") + "\n"
    };
    let current: String = families.into_iter().map(row).collect();
    let frozen = include_str!("../../../tests/it/frozen/metrics.txt");
    assert!(current == frozen, "frozen:\n{frozen}\ncurrent:\n{current}");
}
