//! The generated CustomResourceDefinition: `crds/` is up to date, and our fields are bounded and described.

use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use secure_exporter_operator::{crd, crd_yaml};

fn stored_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../crds/secureexporters.secureexporter.dev.yaml")
}

#[test]
fn the_stored_file_is_up_to_date() {
    let stored = std::fs::read_to_string(stored_file()).unwrap_or_default();
    assert!(
        stored == crd_yaml(),
        "crds/secureexporters.secureexporter.dev.yaml is stale: run `cargo xtask generate`"
    );
}

#[test]
fn the_yaml_equals_the_type() {
    let read: serde_json::Value = serde_saphyr::from_str(&crd_yaml()).unwrap();
    let mut expected = serde_json::to_value(crd()).unwrap();
    integers(&mut expected);
    let mut read = read;
    integers(&mut read);
    assert_eq!(read, expected);
}

#[test]
fn our_fields_are_described_and_bounded() {
    let crd = crd();
    let schema = crd.spec.versions[0].schema.clone().unwrap();
    let root = schema.open_api_v3_schema.unwrap();
    let spec = &root.properties.as_ref().unwrap()["spec"];
    let mut seen = 0;
    check("spec", spec, &mut seen);
    assert!(seen > 40, "only {seen} fields were seen");
}

/// Walks the spec. The types of Kubernetes (affinity, single tolerations) have no bounds.
fn check(path: &str, schema: &JSONSchemaProps, seen: &mut usize) {
    *seen += 1;
    assert_eq!(schema.nullable, None, "{path} may be null");
    let is_item = path.ends_with("[]") || path.ends_with("{}");
    assert!(
        is_item || schema.description.is_some(),
        "{path} has no description"
    );
    if path == "spec.workload.affinity" || path == "spec.workload.tolerations[]" {
        return;
    }
    match schema.type_.as_deref() {
        Some("string") => assert!(
            schema.max_length.is_some() || schema.enum_.is_some(),
            "{path} is a string without bound"
        ),
        Some("array") => assert!(schema.max_items.is_some(), "{path} is a list without bound"),
        Some("integer") => {
            let by_rule = path == "spec.tls.certificate.privateKey.size";
            assert!(
                by_rule || schema.maximum.is_some(),
                "{path} is a number without bound"
            );
            assert!(
                !schema
                    .format
                    .as_deref()
                    .unwrap_or_default()
                    .starts_with('u'),
                "{path}"
            );
        }
        _ => {}
    }
    for (name, property) in schema.properties.iter().flatten() {
        check(&format!("{path}.{name}"), property, seen);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        check(&format!("{path}[]"), items, seen);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        assert!(
            schema.max_properties.is_some(),
            "{path} is a map without bound"
        );
        check(&format!("{path}{{}}"), values, seen);
    }
}

/// 9100 and 9100.0 are the same number in JSON, and not to `serde_json`.
fn integers(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) => {
            if let Some(float) = number.as_f64() {
                *value = format!("{float}").into();
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(integers),
        serde_json::Value::Object(map) => map.values_mut().for_each(integers),
        _ => {}
    }
}
