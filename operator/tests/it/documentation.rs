//! `docs/status.md` lists every condition and every metric, and `docs/troubleshooting.md` every reason, event and alert.

use secure_exporter_operator::report::conditions;

const PAGE: &str = include_str!("../../../docs/status.md");
// Metrics without series are not in the exposition.
const METRICS: &str = include_str!("../../src/telemetry/metrics.rs");
const TROUBLESHOOTING: &str = include_str!("../../../docs/troubleshooting.md");
const ALERTS: &str =
    include_str!("../../../charts/secure-exporter/alerts/secure-exporter.rules.yaml");
/// The files that name the reasons of conditions and events.
const SOURCES: [&str; 10] = [
    include_str!("../../src/report/announcements.rs"),
    include_str!("../../src/report/certificate.rs"),
    include_str!("../../src/report/contention.rs"),
    include_str!("../../src/report/exporters.rs"),
    include_str!("../../src/report/pods.rs"),
    include_str!("../../src/report/problem.rs"),
    include_str!("../../src/report/requests.rs"),
    include_str!("../../src/report/status.rs"),
    include_str!("../../src/controller/telling.rs"),
    include_str!("../../src/supplied/certificate.rs"),
];

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

#[test]
fn every_reason_and_every_event_has_an_anchor() {
    let reasons: Vec<&str> = SOURCES.into_iter().flat_map(reasons).collect();
    assert!(reasons.len() > 80, "{reasons:?}");
    for reason in reasons {
        let anchor = format!("<a id=\"{}\"></a>`{reason}`", reason.to_lowercase());
        assert!(TROUBLESHOOTING.contains(&anchor), "{reason}");
    }
}

/// The string literals of a source file, without its tests, that are a word in CamelCase.
fn reasons(source: &str) -> impl Iterator<Item = &str> {
    let (code, _) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
    let literals = code.split('"').skip(1).step_by(2);
    literals.filter(|text| {
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.contains(|any: char| any.is_ascii_lowercase())
            && text.chars().all(|any| any.is_ascii_alphabetic())
    })
}

#[test]
fn every_alert_has_an_anchor() {
    let alerts: Vec<&str> = ALERTS
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in &alerts {
        let heading = format!("\n### {alert}\n");
        assert!(TROUBLESHOOTING.contains(&heading), "{alert}");
    }
    let listed = TROUBLESHOOTING.matches("\n### SecureExporter").count();
    assert_eq!(
        alerts.len(),
        listed,
        "an alert is listed that does not exist"
    );
}
