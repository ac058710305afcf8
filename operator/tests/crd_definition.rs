//! The generated CustomResourceDefinition: `crds/` is fresh, and every string, list and map is bounded.

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
fn the_stored_file_is_fresh() {
    let stored = std::fs::read_to_string(stored_file()).unwrap_or_default();
    assert!(
        stored == crd_yaml(),
        "crds/secureexporters.secureexporter.dev.yaml is stale: run `cargo xtask generate`"
    );
}
