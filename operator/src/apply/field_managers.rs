//! Who set a field, according to the API server's record (`metadata.managedFields`). Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use crate::names::FIELD_MANAGER;

/// Returns the field manager that last set one of these fields, unless it is the operator or not recorded.
pub(crate) fn setter(object: &ObjectMeta, fields: &[String]) -> Option<String> {
    let sets = |entry: &&ManagedFieldsEntry| {
        entry.manager.as_deref() != Some(FIELD_MANAGER)
            && entry
                .fields_v1
                .as_ref()
                .is_some_and(|record| fields.iter().any(|field| contains(&record.0, field)))
    };
    let entries = object.managed_fields.iter().flatten().filter(sets);
    let last = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    last.manager.clone()
}

/// Whether the record contains a path such as `spec.ports[metrics].port`, or something below it. Names may contain dots.
fn contains(record: &Value, path: &str) -> bool {
    let Some(fields) = record.as_object() else {
        return false;
    };
    // The record ends where a value is set as a whole.
    if path.is_empty() || fields.is_empty() {
        return true;
    }
    if let Some((item, rest)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return contains_item(fields, item, rest.trim_start_matches('.'));
    }
    fields.iter().any(|(key, below)| {
        let name = key.strip_prefix("f:").unwrap_or(key);
        match path.strip_prefix(name) {
            Some(rest) if rest.is_empty() || rest.starts_with('[') => contains(below, rest),
            Some(rest) => rest
                .strip_prefix('.')
                .is_some_and(|rest| contains(below, rest)),
            None => false,
        }
    })
}

/// Items are recorded by their key (`k:{"name":"exporter"}`). Where that is not the name, any item may be meant.
fn contains_item(items: &serde_json::Map<String, Value>, item: &str, rest: &str) -> bool {
    let name_of = |key: &str| -> Option<String> {
        let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
        Some(key.get("name")?.as_str()?.to_owned())
    };
    items
        .iter()
        .filter(|(key, _)| name_of(key).is_none_or(|name| name == item))
        .any(|(_, below)| contains(below, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> ObjectMeta {
        let image = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"exporter\"}": {"f:image": {}}}}}}});
        let ours = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"exporter\"}": {".": {}, "f:args": {}, "f:image": {}}}}}}});
        let label = json!({"f:metadata": {"f:labels": {"f:app.kubernetes.io/name": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":9100,\"protocol\":\"TCP\"}": {"f:targetPort": {}}}}});
        let entry = |manager: &str, hour: u32, record: Value| {
            json!({"manager": manager, "time": format!("2026-11-29T{hour:02}:00:00Z"),
                "fieldsV1": record})
        };
        serde_json::from_value(json!({"managedFields": [
            entry("first", 1, image.clone()),
            entry("kyverno", 2, image),
            entry(FIELD_MANAGER, 3, ours),
            entry("labeller", 4, label),
        ]}))
        .unwrap()
    }

    #[test]
    fn the_last_other_manager_of_a_field_is_named() {
        let container = "spec.template.spec.containers[exporter]";
        let named = |path: &str| setter(&object(), &[path.to_owned()]);
        assert_eq!(named(&format!("{container}.image")).unwrap(), "kyverno");
        assert_eq!(named("spec.template.spec.containers").unwrap(), "kyverno");
        assert_eq!(
            named("metadata.labels.app.kubernetes.io/name").unwrap(),
            "labeller"
        );
        assert_eq!(named("spec.ports[metrics].targetPort").unwrap(), "labeller");
        assert_eq!(named(&format!("{container}.args[1]")), None);
        assert_eq!(named("spec.template.spec.containers[other].image"), None);
        assert_eq!(named("spec.template.spec.hostPID"), None);
    }
}
