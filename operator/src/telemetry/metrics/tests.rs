use super::*;

#[test]
fn a_condition_has_one_status_or_no_series() {
    let metrics = Metrics::default();
    let value = |status: &str| {
        let series =
            format!("condition{{namespace=\"n\",name=\"a\",type=\"Ready\",status=\"{status}\"}} ");
        let text = metrics.text();
        let mut lines = text.lines().filter_map(|line| line.split_once(&series));
        lines.next().map(|(_, value)| value.to_owned())
    };
    metrics.set_condition("n", "a", conditions::READY, Some("Unknown"));
    assert_eq!(value("Unknown").as_deref(), Some("1"));
    assert_eq!(value("True").as_deref(), Some("0"));
    metrics.set_condition("n", "a", conditions::READY, None);
    assert_eq!(value("Unknown"), None);
}

#[test]
fn the_version_is_told() {
    let text = Metrics::default().text();
    let version = env!("CARGO_PKG_VERSION");
    let series = format!("secure_exporter_operator_build_info{{version=\"{version}\"}} 1");
    assert!(text.contains(&series), "{text}");
}

#[test]
fn a_deleted_resource_leaves_no_series() {
    let metrics = Metrics::default();
    for (namespace, name) in [("one", "gone"), ("one", "kept"), ("two", "gone")] {
        let resource = ResourceLabels::of(namespace, name);
        for times in metrics.times() {
            times.get_or_create(&resource).set(1.0);
        }
        metrics.blocked.get_or_create(&resource).set(1);
        for state in STATES {
            let labels = StateLabels::of(namespace, name, state);
            metrics.exporters.get_or_create(&labels).set(1);
        }
        for state in NODE_STATES {
            let labels = StateLabels::of(namespace, name, state);
            metrics.nodes.get_or_create(&labels).set(1);
        }
        for type_ in conditions::ALL {
            metrics.set_condition(namespace, name, type_, Some("True"));
        }
        for subject in SUBJECTS {
            let labels = RotationLabels::of(namespace, name, subject);
            metrics.rotation.get_or_create(&labels).set(1.0);
        }
    }
    let series = |namespace: &str, name: &str| {
        let labels = format!("namespace=\"{namespace}\",name=\"{name}\"");
        metrics.text().matches(&labels).count()
    };
    let each = series("one", "kept");
    assert_eq!(each, 14 + 3 * conditions::ALL.len());
    metrics.forget("one", "gone");
    assert_eq!(series("one", "gone"), 0);
    assert_eq!((series("one", "kept"), series("two", "gone")), (each, each));
}
