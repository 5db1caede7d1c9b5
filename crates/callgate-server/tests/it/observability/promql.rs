//! As much of PromQL as it takes to find metrics and labels in an expression.

use std::collections::{BTreeMap, BTreeSet};

/// Labels that Prometheus adds, or that `histogram_quantile` reads.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// A metric and its matchers: label, operator and value.
#[derive(Debug)]
struct Selector {
    metric: String,
    matchers: Vec<(String, String, String)>,
}

/// A declared metric: its labels, with the values of those whose values are fixed.
#[derive(Debug)]
struct Declared {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// What is wrong with the metrics and labels of an expression.
pub(super) fn errors(expression: &str) -> Vec<String> {
    let declared = declared();
    let mut errors = Vec::new();
    let mut known: BTreeSet<String> = ADDED.map(str::to_owned).into();
    let selectors = selectors(expression);
    if selectors.is_empty() {
        errors.push("no metric of Callgate".to_owned());
    }
    for Selector { metric, matchers } in selectors {
        let Some(found) = find(&declared, &metric) else {
            errors.push(format!("no metric `{metric}`"));
            continue;
        };
        known.extend(found.labels.keys().cloned());
        for (label, operator, value) in matchers {
            let Some(values) = found.labels.get(&label) else {
                if !ADDED.contains(&&*label) {
                    errors.push(format!("`{metric}` has no label `{label}`"));
                }
                continue;
            };
            let is_exact = operator == "=" && !values.is_empty();
            if is_exact && !values.contains(&value) {
                errors.push(format!("`{metric}` has no `{label}=\"{value}\"`"));
            }
        }
    }
    let unknown = groupings(expression).into_iter().filter(|label| !known.contains(label));
    errors.extend(unknown.map(|label| format!("no metric has the label `{label}`")));
    errors.into_iter().map(|error| format!("{error}: {expression}")).collect()
}

/// The metrics of the service, from the list that a test compares with it.
fn declared() -> BTreeMap<String, Declared> {
    let reasons = include_str!("../frozen/reasons.txt").lines();
    let reasons: BTreeSet<String> =
        reasons.filter_map(|row| row.split(' ').next()).map(str::to_owned).collect();
    let outcomes = BTreeSet::from(["admitted", "refused", "dropped"].map(str::to_owned));
    let mut all = BTreeMap::new();
    for row in include_str!("../frozen/metrics.txt").lines() {
        let mut words = row.split(' ');
        let name = words.next().unwrap().to_owned();
        let kind = words.next().unwrap().to_owned();
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for word in words {
            let (label, value) = word.split_once('=').unwrap_or((word, ""));
            let values = labels.entry(label.to_owned()).or_default();
            match (label, value.trim_matches('"')) {
                ("reason", _) => values.extend(reasons.clone()),
                ("outcome", _) => values.extend(outcomes.clone()),
                (_, "") => {}
                (_, value) => drop(values.insert(value.to_owned())),
            }
        }
        all.insert(name, Declared { kind, labels });
    }
    all
}

fn find<'a>(declared: &'a BTreeMap<String, Declared>, metric: &str) -> Option<&'a Declared> {
    let is_series = |found: &&Declared| found.kind != "histogram";
    declared.get(metric).filter(is_series).or_else(|| {
        let of_histogram = ["_bucket", "_sum", "_count"];
        let base = of_histogram.iter().find_map(|suffix| metric.strip_suffix(suffix))?;
        declared.get(base).filter(|found| found.kind == "histogram")
    })
}

fn selectors(expression: &str) -> Vec<Selector> {
    let starts = expression.match_indices("callgate_").map(|(at, _)| &expression[at..]);
    let selector = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (metric, rest) = text.split_at(end.unwrap_or(text.len()));
        let inner = rest.strip_prefix('{').map(matchers).unwrap_or_default();
        Selector { metric: metric.to_owned(), matchers: inner }
    };
    starts.map(selector).collect()
}

/// The matchers up to the closing brace.
fn matchers(mut text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if text.is_empty() || text.starts_with('}') {
            return found;
        }
        let end = text.find(['=', '!']).expect("an operator");
        let (label, rest) = text.split_at(end);
        let quote = rest.find('"').expect("a quoted value");
        let (operator, rest) = rest.split_at(quote);
        let (value, rest) = rest[1..].split_once('"').expect("a closing quote");
        found.push((label.to_owned(), operator.to_owned(), value.to_owned()));
        text = rest;
    }
}

/// The labels in `by (…)` and `on (…)`.
fn groupings(expression: &str) -> BTreeSet<String> {
    let lists = ["by (", "on ("].into_iter().flat_map(|word| expression.split(word).skip(1));
    let labels = lists.flat_map(|rest| rest.split(')').next().unwrap().split(','));
    labels.map(|label| label.trim().to_owned()).collect()
}

#[test]
fn wrong_names_in_expressions_are_found() {
    for (expression, error) in [
        ("sum(up)", "no metric of Callgate"),
        ("callgate_decisions", "no metric `callgate_decisions`"),
        ("callgate_stage_duration_seconds", "no metric `callgate_stage_duration_seconds`"),
        ("callgate_in_flight_bucket", "no metric `callgate_in_flight_bucket`"),
        ("callgate_locks{lock=\"x\"}", "has no label `lock`"),
        ("callgate_decisions_total{reason=\"bad_pasword\"}", "has no `reason=\"bad_pasword\"`"),
        ("callgate_kicks_total{result=\"gone\"}", "has no `result=\"gone\"`"),
        ("sum by (acount) (callgate_unexpected_sources_total)", "the label `acount`"),
    ] {
        let found = errors(expression).join("\n");
        assert!(found.contains(error), "{expression}: {found}");
    }
    let good = "sum by (instance, reason) (rate(callgate_decisions_total{job=~\"a,}\",outcome=\"refused\"}[1m]))";
    assert_eq!(errors(good), Vec::<String>::new());
}
