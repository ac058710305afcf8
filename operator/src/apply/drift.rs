//! Finds what other clients changed. In the objects whose spec belongs entirely to the operator that is also every field that
//! they added: server-side apply keeps it, but it can give the pod the node's processes or another command, or the Service
//! another address. Pure.
//!
//! A field of a later Kubernetes version that the operator's types do not contain is not found, but the next repair removes it.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::DaemonSet, core::v1::Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::spec::quantity::Amount;

/// An object that is written by server-side apply.
pub trait Applied:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Applied for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

/// An object whose whole spec belongs to the operator.
pub trait Whole: Applied {
    /// Fields below `spec` that others may set: kept as they are in the stored object.
    const THEIRS: &'static [&'static str];
}

impl Whole for DaemonSet {
    // Other clients may add labels and annotations of the pods, as `kubectl rollout restart` does.
    const THEIRS: &'static [&'static str] = &[
        "/template/metadata/labels",
        "/template/metadata/annotations",
    ];
}

impl Whole for Service {
    // The API server chooses them.
    const THEIRS: &'static [&'static str] = &["/clusterIPs", "/ipFamilies", "/ipFamilyPolicy"];
}

/// Returns the paths at which the spec of `present` differs from that of `wanted`, and those of the metadata at which it lacks
/// something; empty if the API server only added defaults, and others only what is [theirs](Whole::THEIRS).
pub fn drift<K: Whole>(present: &K, wanted: &K) -> Vec<String> {
    let mut paths = lacking_metadata(present.meta(), wanted.meta());
    let (present_spec, wanted_spec) = (spec(present), restored_spec(present, wanted));
    compare(&present_spec, &wanted_spec, "spec", &mut paths);
    paths
}

/// Returns the JSON patch that makes the spec of `present` that of `wanted`. It applies to the version that was read only.
pub fn restoration<K: Whole>(present: &K, wanted: &K) -> Value {
    let metadata = present.meta();
    json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata.resource_version},
        {"op": "replace", "path": "/spec", "value": restored_spec(present, wanted)},
    ])
}

fn spec<K: Whole>(object: &K) -> Value {
    let mut object = json!(object);
    object.get_mut("spec").map(Value::take).unwrap_or_default()
}

/// Returns the spec of `wanted`, with what others may set as it is in `present`.
fn restored_spec<K: Whole>(present: &K, wanted: &K) -> Value {
    let (present, mut restored) = (spec(present), spec(wanted));
    for path in K::THEIRS {
        if let Some(theirs) = present.pointer(path) {
            keep(&mut restored, path, theirs);
        }
    }
    restored
}

/// Puts `theirs` into `object`. Of a map, our own entries win.
fn keep(object: &mut Value, path: &str, theirs: &Value) {
    let Some((parent, field)) = path.rsplit_once('/') else {
        return;
    };
    let Some(Value::Object(parent)) = object.pointer_mut(parent) else {
        return;
    };
    match (parent.get_mut(field), theirs) {
        (Some(Value::Object(ours)), Value::Object(theirs)) => {
            for (key, value) in theirs {
                ours.entry(key).or_insert_with(|| value.clone());
            }
        }
        _ => {
            parent.insert(field.to_owned(), theirs.clone());
        }
    }
}

fn compare(present: &Value, wanted: &Value, path: &str, paths: &mut Vec<String>) {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => {
            compare_fields(present, wanted, path, paths);
        }
        (Value::Array(present), Value::Array(wanted)) if present.len() == wanted.len() => {
            for (index, (present, wanted)) in present.iter().zip(wanted).enumerate() {
                let name = wanted.get("name").and_then(Value::as_str);
                let item = name.map_or_else(|| index.to_string(), str::to_owned);
                compare(present, wanted, &format!("{path}[{item}]"), paths);
            }
        }
        _ if present == wanted => {}
        _ => paths.push(path.to_owned()),
    }
}

fn compare_fields(
    present: &Map<String, Value>,
    wanted: &Map<String, Value>,
    path: &str,
    paths: &mut Vec<String>,
) {
    for (field, value) in present {
        let path = format!("{path}.{field}");
        match wanted.get(field) {
            Some(wanted) if is_quantity(&path) && is_same_amount(value, wanted) => {}
            Some(wanted) => compare(value, wanted, &path, paths),
            None if is_default(field, value, present) => {}
            None => paths.push(path),
        }
    }
    let missing = wanted
        .iter()
        .filter(|(field, value)| !is_empty(value) && !present.contains_key(*field));
    paths.extend(missing.map(|(field, _)| format!("{path}.{field}")));
}

/// What the API server adds to our specs. Kubernetes adds no further defaults to what a pod template consists of, because
/// every upgrade would then restart the pods
/// (<https://github.com/kubernetes/kubernetes/blob/v1.37.0/pkg/apis/core/v1/defaults.go>, `SetDefaults_PodSpec`).
const DEFAULTS: [(&str, Default); 9] = [
    ("internalTrafficPolicy", Default::Text("Cluster")),
    ("maxSurge", Default::Number(0)),
    ("restartPolicy", Default::Text("Always")),
    ("revisionHistoryLimit", Default::Number(10)),
    ("schedulerName", Default::Text("default-scheduler")),
    ("sessionAffinity", Default::Text("None")),
    ("successThreshold", Default::Number(1)),
    (
        "terminationMessagePath",
        Default::Text("/dev/termination-log"),
    ),
    ("type", Default::Text("ClusterIP")),
];

enum Default {
    Text(&'static str),
    Number(i64),
}

fn is_default(field: &str, value: &Value, siblings: &Map<String, Value>) -> bool {
    // An older name of the same field.
    let is_alias = field == "serviceAccount" && siblings.get("serviceAccountName") == Some(value);
    let is_in_table = DEFAULTS.iter().any(|(name, default)| {
        *name == field
            && match default {
                Default::Text(text) => value.as_str() == Some(text),
                Default::Number(number) => value.as_i64() == Some(*number),
            }
    });
    is_alias || is_in_table || is_empty(value)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_quantity(path: &str) -> bool {
    path.contains(".resources.requests.") || path.contains(".resources.limits.")
}

/// The API server writes quantities in its own way, such as 1Gi for 1024Mi.
fn is_same_amount(one: &Value, other: &Value) -> bool {
    let amount = |value: &Value| value.as_str().and_then(Amount::parse);
    amount(one).is_some() && amount(one) == amount(other)
}

/// Returns the paths at which `present` does not have what `wanted` has. What others added is no difference, except whole items
/// of a list.
pub fn lacking<K: Applied>(present: &K, wanted: &K) -> Vec<String> {
    let mut paths = lacking_metadata(present.meta(), wanted.meta());
    let present = json!(present);
    for (field, wanted) in content(wanted) {
        lack(present.get(&field), &wanted, &field, &mut paths);
    }
    paths
}

/// Returns the fields of an object in which others may have added something to an item of a list that is ours, such as
/// `rules[*]` of a Role.
pub(crate) fn lists<K: Applied>(wanted: &K) -> Vec<String> {
    let in_lists = content(wanted)
        .into_iter()
        .filter_map(|(field, value)| match value {
            Value::Array(_) => Some(format!("{field}[*]")),
            value => has_list(&value).then_some(field),
        });
    in_lists.collect()
}

fn has_list(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::Object(fields) => fields.values().any(has_list),
        _ => false,
    }
}

fn content<K: Applied>(object: &K) -> Map<String, Value> {
    let Value::Object(mut fields) = json!(object) else {
        return Map::new();
    };
    fields.retain(|field, _| {
        !matches!(
            field.as_str(),
            "apiVersion" | "kind" | "metadata" | "status"
        )
    });
    fields
}

/// Returns the paths of our labels, annotations and owner references that `present` does not have.
pub(crate) fn lacking_metadata(present: &ObjectMeta, wanted: &ObjectMeta) -> Vec<String> {
    let mut paths = Vec::new();
    let maps = [
        ("labels", &present.labels, &wanted.labels),
        ("annotations", &present.annotations, &wanted.annotations),
    ];
    for (field, present, wanted) in maps {
        for (key, value) in wanted.iter().flatten() {
            if present.as_ref().and_then(|present| present.get(key)) != Some(value) {
                paths.push(format!("metadata.{field}.{key}"));
            }
        }
    }
    let mut references = wanted.owner_references.iter().flatten();
    let has = |wanted| {
        present
            .owner_references
            .iter()
            .flatten()
            .any(|it| it == wanted)
    };
    if !references.all(has) {
        paths.push("metadata.ownerReferences".to_owned());
    }
    paths
}

fn lack(present: Option<&Value>, wanted: &Value, path: &str, paths: &mut Vec<String>) {
    match (present, wanted) {
        (None | Some(Value::Null), wanted) if is_empty(wanted) => {}
        (Some(Value::Object(present)), Value::Object(wanted)) => {
            for (field, wanted) in wanted {
                lack(
                    present.get(field),
                    wanted,
                    &format!("{path}.{field}"),
                    paths,
                );
            }
        }
        (Some(Value::Array(present)), Value::Array(wanted)) if present.len() == wanted.len() => {
            for (index, (present, wanted)) in present.iter().zip(wanted).enumerate() {
                lack(Some(present), wanted, &format!("{path}[{index}]"), paths);
            }
        }
        (Some(present), wanted) if present == wanted => {}
        _ => paths.push(path.to_owned()),
    }
}
