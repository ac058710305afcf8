//! The manifests in the documentation and in `examples/`: YAML that can be read, with fields that the definition of the
//! resource has.

use std::fs;

use serde_json::Value;

use crate::documentation::{pages, read, root};

const DEFINITION: &str = "crds/secureexporters.secureexporter.dev.yaml";

#[test]
fn every_field_in_a_manifest_exists() {
    let schema = schema();
    let mut problems = Vec::new();
    let mut count = 0;
    for (place, text) in manifests() {
        let manifest: Value = match serde_saphyr::from_str(&text) {
            Ok(manifest) => manifest,
            Err(error) => {
                problems.push(format!("{place}: {error}"));
                continue;
            }
        };
        let is_ours = manifest["kind"] == "SecureExporter" || manifest["kind"].is_null();
        if is_ours && !manifest["spec"].is_null() {
            count += 1;
            check(
                &schema,
                &manifest["spec"],
                &format!("{place}: spec"),
                &mut problems,
            );
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(count > 15, "only {count} manifests were found");
}

#[test]
fn mistakes_are_found() {
    let schema = schema();
    for (mistake, wrong) in [
        ("scrape: {jobname: a}", "jobname"),
        ("scrape: {jobName: 1}", "jobName"),
        ("scrape: {instanceLabel: Node}", "instanceLabel"),
        ("scrape: {serviceAccounts: [{name: a}]}", "namespace"),
        ("exporter: {port: \"9100\"}", "port"),
        ("exporter: {extraArgs: --log.level=debug}", "extraArgs"),
    ] {
        let spec: Value = serde_saphyr::from_str(mistake).unwrap();
        let mut problems = Vec::new();
        check(&schema, &spec, "spec", &mut problems);
        assert!(
            problems.len() == 1 && problems[0].contains(wrong),
            "{mistake}: {problems:?}"
        );
    }
}

/// The schema of `spec`.
fn schema() -> Value {
    let definition: Value = serde_saphyr::from_str(&read(&root().join(DEFINITION))).unwrap();
    let version = &definition["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// The manifests of resources, each with the place that it comes from.
fn manifests() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        for (line, text) in blocks(&read(&page)) {
            found.push((format!("{name}:{line}"), text));
        }
    }
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let file = entry.unwrap();
        let name = file.file_name().into_string().unwrap();
        if name.starts_with("nodes") {
            found.push((name, read(&file.path())));
        }
    }
    found
}

/// The blocks of YAML in a page, also those in lists, with the numbers of their first lines.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (index, line) in page.lines().enumerate() {
        block = match (block, line.trim_start()) {
            (None, "```yaml") => Some((index + 2, String::new())),
            (Some(whole), "```") => {
                found.push(whole);
                None
            }
            (Some((first, text)), _) => Some((first, text + line + "\n")),
            (None, _) => None,
        };
    }
    found
}

/// Compares a value with its schema: names, types, enums and required fields.
fn check(schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    let is_right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        _ => true,
    };
    if !is_right {
        problems.push(format!("{path} must be of type {}", schema["type"]));
        return;
    }
    let choices = schema["enum"].as_array();
    if choices.is_some_and(|choices| !choices.contains(value)) {
        problems.push(format!("{path} must be one of {}", schema["enum"]));
    }
    for element in value.as_array().into_iter().flatten() {
        check(&schema["items"], element, &format!("{path}[]"), problems);
    }
    let Some(fields) = value.as_object() else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        if !fields.contains_key(name) {
            problems.push(format!("{path}.{name} is missing"));
        }
    }
    for (name, field) in fields {
        let path = format!("{path}.{name}");
        if let Some(known) = schema["properties"].get(name) {
            check(known, field, &path, problems);
        } else if schema["additionalProperties"].is_object() {
            check(&schema["additionalProperties"], field, &path, problems);
        } else if schema["properties"].is_object() {
            problems.push(format!("{path} does not exist"));
        }
    }
}
