//! The dashboard, panel by panel.

use std::fs;

use callgate_testkit::pages::checkout;
use serde_json::Value;

use super::promql;

/// A panel with data.
#[derive(Debug)]
#[cfg_attr(not(feature = "prometheus"), allow(dead_code, reason = "only for the picture"))]
pub(super) struct Panel {
    pub(super) section: String,
    pub(super) title: String,
    pub(super) kind: String,
    pub(super) unit: String,
    pub(super) targets: Vec<Target>,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) expression: String,
    pub(super) legend: String,
}

pub(super) fn read() -> Value {
    let text = fs::read_to_string(checkout("deploy/observability/grafana/callgate.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(super) fn panels(dashboard: &Value) -> Vec<Panel> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut section = String::new();
    let mut panels = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        if panel["type"] == "row" {
            section = text(&panel["title"]);
            continue;
        }
        let target = |target: &Value| Target {
            expression: text(&target["expr"]),
            legend: text(&target["legendFormat"]),
        };
        panels.push(Panel {
            section: section.clone(),
            title: text(&panel["title"]),
            kind: text(&panel["type"]),
            unit: text(&panel["fieldConfig"]["defaults"]["unit"]),
            targets: panel["targets"].as_array().unwrap().iter().map(target).collect(),
        });
    }
    panels
}

#[test]
fn every_panel_uses_declared_metrics_and_labels() {
    let dashboard = read();
    let panels = panels(&dashboard);
    assert!(panels.len() > 20);
    let targets = panels.iter().flat_map(|panel| &panel.targets);
    let mut errors: Vec<String> =
        targets.clone().flat_map(|target| promql::errors(&target.expression)).collect();
    for variable in &dashboard["templating"]["list"].as_array().unwrap()[1..] {
        let query = variable["query"]["query"].as_str().unwrap();
        errors.extend(promql::errors(query));
    }
    for Target { expression, .. } in targets {
        // Each metric is limited to what the variables of the dashboard select.
        let metrics = expression.matches("callgate_").count();
        let selected = expression.matches("{job=~\"$job\",instance=~\"$instance\"").count();
        if metrics != selected {
            errors.push(format!("not limited to `$job` and `$instance`: {expression}"));
        }
    }
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn every_legend_names_a_label_of_its_expression() {
    for panel in panels(&read()) {
        for Target { expression, legend } in &panel.targets {
            for label in legend.split("{{").skip(1) {
                let label = label.split("}}").next().unwrap();
                let is_plain = !expression.contains("by (");
                let is_grouped = expression
                    .split("by (")
                    .skip(1)
                    .any(|rest| rest.split(')').next().unwrap().split(", ").any(|it| it == label));
                assert!(is_plain || is_grouped, "{}: `{legend}` of {expression}", panel.title);
            }
        }
    }
}

#[test]
fn dashboard_has_every_section_and_no_overlapping_panels() {
    let dashboard = read();
    let panels = dashboard["panels"].as_array().unwrap();
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    let sections: Vec<&str> = rows.map(|row| row["title"].as_str().unwrap()).collect();
    let expected = [
        "Overview",
        "Reasons",
        "Latency by stage",
        "Sessions",
        "Locks",
        "Audit",
        "State",
        "Permission violations",
    ];
    assert_eq!(sections, expected);
    let mut taken = std::collections::BTreeSet::new();
    let mut ids = std::collections::BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have the same ID: {panel}");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
    }
}
