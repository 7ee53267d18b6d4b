//! docs/metrics.md, the alert rules and the dashboard name the metrics that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::tests::{link, parent, text};
use super::*;

/// The type and the labels of a metric.
type Shape = (String, BTreeSet<String>);

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(name)).expect(name)
}

/// All metrics of a scrape with a link and a parent, by the names that Prometheus stores.
fn exposed() -> BTreeMap<String, Shape> {
    let text = text(vec![link("mac1", None)], vec![parent("eth0")], LinkSeries::All);
    let mut kind = "";
    let mut found: BTreeMap<String, Shape> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').unwrap().1;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
        let labels = labels.trim_start_matches('{').split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split_once('=').unwrap().0.to_owned());
        let shape = found.entry(name.to_owned()).or_default();
        kind.clone_into(&mut shape.0);
        shape.1.extend(labels);
    }
    found
}

/// The rows of the table in docs/metrics.md.
fn documented() -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::new();
    for line in file("docs/metrics.md").lines().filter(|line| line.starts_with("| `umacvlan_")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, _, meaning] = cells[..] else {
            panic!("{line}");
        };
        assert!(!meaning.is_empty(), "{line}");
        let plain = |text: &str| text.trim_matches('`').to_owned();
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(plain).collect();
        let before = found.insert(plain(name), (kind.to_owned(), labels));
        assert!(before.is_none(), "twice: {line}");
    }
    found
}

#[test]
fn the_page_lists_every_metric_with_its_type_and_labels() {
    let (exposed, documented) = (exposed(), documented());
    let names = |all: &BTreeMap<String, Shape>| all.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&exposed), names(&documented));
    for (name, shape) in &exposed {
        assert_eq!(shape, &documented[name], "{name}");
    }
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let exposed = exposed();
    for name in ["deploy/prometheus/alerts.yml", "deploy/grafana/umacvlan.json"] {
        let text = file(name);
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("umacvlan_"));
        let words: BTreeSet<&str> = words.collect();
        assert!(words.len() > 3, "{name}: {words:?}");
        for word in words {
            assert!(exposed.contains_key(word), "{name}: there is no {word}");
        }
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&file("deploy/grafana/umacvlan.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);
}
