//! Alerts: names, the runbook, and their cases for promtool.

use std::{collections::BTreeSet, fs};

use callgate_testkit::pages::checkout;

use super::promql;

/// An alert of `callgate.rules.yaml`.
#[derive(Debug, Default)]
struct Alert {
    name: String,
    expression: String,
    runbook: String,
}

fn alerts() -> Vec<Alert> {
    let text = read("deploy/observability/prometheus/callgate.rules.yaml");
    let mut alerts: Vec<Alert> = Vec::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push(Alert { name: name.to_owned(), ..Alert::default() });
        } else if let (Some(alert), Some((key, value))) = (alerts.last_mut(), line.split_once(": "))
        {
            match key {
                "expr" => alert.expression = lines.next().unwrap().to_owned(),
                "runbook_url" => alert.runbook = value.to_owned(),
                _ => {}
            }
        }
    }
    assert!(alerts.len() > 10, "{alerts:?}");
    alerts
}

fn read(path: &str) -> String {
    fs::read_to_string(checkout(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_alert_uses_declared_metrics_and_labels() {
    let errors: Vec<String> =
        alerts().iter().flat_map(|alert| promql::errors(&alert.expression)).collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let cases = read("deploy/observability/prometheus/callgate.test.yaml");
    let names = cases.lines().filter_map(|line| line.strip_prefix("  - name: "));
    let names: BTreeSet<&str> = names.collect();
    let expected = alerts();
    let expected = expected
        .iter()
        .flat_map(|Alert { name, .. }| [format!("{name} fires"), format!("{name} is quiet")]);
    let expected: BTreeSet<String> = expected.collect();
    assert_eq!(names, expected.iter().map(String::as_str).collect());
}

#[test]
fn every_alert_links_to_its_part_of_the_runbook() {
    let page = read("docs/operations.md");
    let (_, runbook) = page.split_once("\n## Alerts\n").unwrap();
    let runbook = runbook.split("\n## ").next().unwrap();
    let sections: Vec<&str> = runbook.split("\n### ").skip(1).collect();
    let alerts = alerts();
    for Alert { name, runbook, .. } in &alerts {
        let (page, anchor) = runbook.split_once('#').unwrap();
        assert!(page.ends_with("/docs/operations.md"), "{runbook}");
        assert_eq!(anchor, name.to_lowercase());
        let section = sections.iter().find(|section| section.lines().next() == Some(name));
        let section = section.unwrap_or_else(|| panic!("the runbook has no `{name}`"));
        for part in ["**Meaning.** ", "**Confirm.** ", "**What to do.** "] {
            assert!(section.contains(part), "`{name}` has no `{part}`");
        }
    }
    assert_eq!(sections.len(), alerts.len(), "the runbook has an alert without a rule");
}

#[test]
fn loki_queries_use_members_of_records() {
    let schema: serde_json::Value = serde_json::from_str(&read("docs/audit.schema.json")).unwrap();
    let types = schema["oneOf"].as_array().unwrap().iter().chain([&schema]);
    let properties = types.flat_map(|one| one["properties"].as_object().unwrap().keys());
    let members: BTreeSet<&str> = properties.map(String::as_str).collect();
    let page = read("deploy/observability/loki/queries.md").replace("\\|", "|");
    let queries: Vec<&str> = page.split('`').filter(|code| code.contains("{job=")).collect();
    assert!(queries.len() > 5, "{page}");
    for query in queries {
        let (_, stages) = query.split_once("| json").unwrap();
        let mut names: Vec<&str> = stages
            .split("| ")
            .filter_map(|stage| stage.split_once('='))
            .map(|(name, _)| name.trim_end_matches(['!', '~']))
            .collect();
        let groups = query
            .split("by (")
            .skip(1)
            .flat_map(|rest| rest.split(')').next().unwrap().split(", "));
        names.extend(groups);
        assert!(!names.is_empty(), "{query}");
        for name in names {
            assert!(members.contains(name.trim()), "no member `{name}`: {query}");
        }
        let is_open =
            |open: char, close: char| query.matches(open).count() != query.matches(close).count();
        assert!(
            !is_open('(', ')') && !is_open('{', '}') && query.matches('"').count() % 2 == 0,
            "{query}"
        );
    }
}

/// The chart has no second truth: its copies are compared with the files that are documented.
#[test]
fn files_of_the_chart_are_those_of_deploy_observability() {
    for (copy, original) in [
        ("callgate.rules.yaml", "prometheus/callgate.rules.yaml"),
        ("callgate.json", "grafana/callgate.json"),
    ] {
        let copy = read(&format!("deploy/helm/callgate/files/{copy}"));
        let original_text = read(&format!("deploy/observability/{original}"));
        assert!(copy == original_text, "run `scripts/helm.py render`: {original} has changed");
    }
}
