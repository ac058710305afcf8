//! Finds containers, volumes and mounts that another client added to the DaemonSet. Server-side apply keeps them, because
//! they are not our fields, but such a container could read the certificate's key and the node's file system. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::PodSpec};
use serde_json::{Value, json};

/// Returns the merge patch that makes the lists in `present`'s pod template exactly those of `wanted`; `None` if nothing was
/// added.
pub fn expulsion(present: &DaemonSet, wanted: &DaemonSet) -> Option<Value> {
    let (present_pod, wanted_pod) = (pod(present)?, pod(wanted)?);
    if names(present_pod).is_subset(&names(wanted_pod)) {
        return None;
    }
    Some(json!({
        // Only the version that was read is patched; the next pass finds later additions.
        "metadata": {"uid": present.metadata.uid, "resourceVersion": present.metadata.resource_version},
        "spec": {"template": {"spec": {
            "containers": wanted_pod.containers,
            "initContainers": wanted_pod.init_containers,
            "volumes": wanted_pod.volumes,
        }}},
    }))
}

fn pod(set: &DaemonSet) -> Option<&PodSpec> {
    set.spec.as_ref()?.template.spec.as_ref()
}

/// Returns everything in a pod that has a name, each with its path.
fn names(pod: &PodSpec) -> BTreeSet<(&'static str, &str, &str)> {
    let volumes = pod.volumes.iter().flatten();
    let starters = pod.init_containers.iter().flatten();
    let mut names: BTreeSet<_> = volumes
        .map(|volume| ("volume", volume.name.as_str(), ""))
        .chain(starters.map(|one| ("init container", one.name.as_str(), "")))
        .collect();
    for container in &pod.containers {
        let name = container.name.as_str();
        let mounts = container.volume_mounts.iter().flatten();
        let variables = container.env.iter().flatten();
        names.insert(("container", name, ""));
        names.extend(mounts.map(|mount| ("mount", name, mount.mount_path.as_str())));
        names.extend(variables.map(|variable| ("variable", name, variable.name.as_str())));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pod: Value) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"uid": "u", "resourceVersion": "7"},
            "spec": {"selector": {}, "template": {"spec": pod}},
        }))
        .unwrap()
    }

    fn ours() -> Value {
        json!({
            "containers": [{"name": "exporter", "volumeMounts": [{"name": "root", "mountPath": "/host/root"}]}],
            "volumes": [{"name": "root", "hostPath": {"path": "/"}}],
        })
    }

    #[test]
    fn our_own_pod_needs_no_patch() {
        let mut present = ours();
        // Defaults that the API server added do not count.
        present["containers"][0]["terminationMessagePath"] = "/dev/termination-log".into();
        assert_eq!(expulsion(&set(present), &set(ours())), None);
    }

    #[test]
    fn every_kind_of_added_object_is_found() {
        let guest = json!({"name": "guest"});
        let places = [
            ("/containers/1", guest.clone()),
            ("/initContainers", json!([guest])),
            ("/volumes/1", guest),
            (
                "/containers/0/volumeMounts/1",
                json!({"name": "root", "mountPath": "/x"}),
            ),
            ("/containers/0/env", json!([{"name": "X", "value": "y"}])),
        ];
        for (place, value) in places {
            let mut present = ours();
            let (list, _) = place.rsplit_once('/').unwrap();
            match present.pointer_mut(list).unwrap() {
                Value::Array(items) => items.push(value),
                object => object[place.rsplit('/').next().unwrap()] = value,
            }
            let patch = expulsion(&set(present), &set(ours())).expect(place);
            let pod = &patch["spec"]["template"]["spec"];
            assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
            assert_eq!(pod["initContainers"], Value::Null);
            assert_eq!(pod["volumes"], ours()["volumes"]);
            assert_eq!(patch["metadata"]["resourceVersion"], "7");
        }
    }
}
