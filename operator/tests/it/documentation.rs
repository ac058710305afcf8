//! `docs/status.md` lists every condition and every metric.

use secure_exporter_operator::report::conditions;

const PAGE: &str = include_str!("../../../docs/status.md");
// Metrics without series are not in the exposition.
const METRICS: &str = include_str!("../../src/telemetry/metrics.rs");

#[test]
fn every_condition_is_listed() {
    for condition in conditions::ALL {
        assert!(
            PAGE.contains(&format!("\n| `{condition}` | ")),
            "{condition}"
        );
    }
}

#[test]
fn every_metric_is_listed() {
    let registered: Vec<&str> = METRICS
        .split("registry.register(")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1))
        .collect();
    assert!(registered.len() > 10, "{registered:?}");
    for name in &registered {
        let row = format!("\n| `secure_exporter_operator_{name}");
        assert!(PAGE.contains(&row), "{name}");
    }
    let listed = PAGE.matches("\n| `secure_exporter_operator_").count();
    assert_eq!(
        registered.len(),
        listed,
        "a metric is listed that does not exist"
    );
}
