//! What others change in the DaemonSet and in the Service is found, and what the API server adds is not.

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Service};
use secure_exporter_operator::apply::drift::{Whole, drift, restoration};
use serde_json::{Value, json};

use crate::render_children::{everything, render, state, valid};

/// An object as the API server stores it: with an identity, and with these defaults, by JSON pointer.
pub(crate) fn stored<K: Whole>(object: &K, defaults: &[(&str, Value)]) -> Value {
    let mut stored = serde_json::to_value(object).unwrap();
    stored["metadata"]["uid"] = "u".into();
    stored["metadata"]["resourceVersion"] = "7".into();
    for (pointer, value) in defaults {
        set(&mut stored, pointer, value.clone());
    }
    stored
}

/// What Kubernetes 1.30 to 1.37 adds to our DaemonSet.
pub(crate) fn daemon_set_defaults() -> Vec<(&'static str, Value)> {
    const CONTAINER: &str = "/spec/template/spec/containers/0";
    let of_container = [
        ("/terminationMessagePath", json!("/dev/termination-log")),
        ("/livenessProbe/successThreshold", json!(1)),
        ("/readinessProbe/successThreshold", json!(1)),
    ];
    let of_container = of_container.map(|(pointer, value)| {
        let pointer: &'static str = format!("{CONTAINER}{pointer}").leak();
        (pointer, value)
    });
    let mut defaults = vec![
        ("/spec/revisionHistoryLimit", json!(10)),
        ("/spec/template/spec/restartPolicy", json!("Always")),
        (
            "/spec/template/spec/schedulerName",
            json!("default-scheduler"),
        ),
        ("/spec/template/spec/serviceAccount", json!("nodes")),
        ("/spec/template/spec/volumes/1/hostPath/type", json!("")),
        ("/spec/template/spec/volumes/2/hostPath/type", json!("")),
        ("/spec/template/spec/volumes/3/hostPath/type", json!("")),
        ("/spec/template/metadata/creationTimestamp", Value::Null),
    ];
    defaults.extend(of_container);
    defaults
}

/// What it adds to our Service.
pub(crate) fn service_defaults() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/clusterIPs", json!(["None"])),
        ("/spec/internalTrafficPolicy", json!("Cluster")),
        ("/spec/ipFamilies", json!(["IPv4"])),
        ("/spec/ipFamilyPolicy", json!("SingleStack")),
        ("/spec/sessionAffinity", json!("None")),
        ("/spec/type", json!("ClusterIP")),
    ]
}

/// Sets a field, or adds an item to a list where the pointer ends in `-`. Null removes the field.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    if object.pointer(parent).is_none() {
        set(object, parent, json!({}));
    }
    match object.pointer_mut(parent).unwrap() {
        Value::Array(items) if field == "-" => items.push(value),
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
        Value::Object(fields) if value.is_null() => drop(fields.remove(field)),
        Value::Object(fields) => drop(fields.insert(field.to_owned(), value)),
        other => panic!("{pointer}: {other}"),
    }
}

fn parse<K: Whole>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap()
}

/// Makes each edit, by JSON pointer, and expects the drift at the path, and a patch that undoes it.
fn each_is_found<K: Whole>(
    wanted: &K,
    defaults: &[(&'static str, Value)],
    edits: &[(&str, Value, &str)],
) {
    let untouched = stored(wanted, defaults);
    assert_eq!(drift(&parse::<K>(&untouched), wanted), [""; 0]);
    for (pointer, value, path) in edits {
        let mut edited = untouched.clone();
        set(&mut edited, pointer, value.clone());
        let edited: K = parse(&edited);
        assert_eq!(drift(&edited, wanted), [*path], "{pointer}");

        let patch = restoration(&edited, wanted);
        assert_eq!(
            patch[0],
            json!({"op": "test", "path": "/metadata/uid", "value": "u"})
        );
        assert_eq!(
            patch[1],
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"})
        );
        assert_eq!(patch.as_array().unwrap().len(), 3, "{pointer}");
        assert_eq!(patch[2]["path"], "/spec");
        let mut restored = serde_json::to_value(&edited).unwrap();
        restored["spec"] = patch[2]["value"].clone();
        assert_eq!(drift(&parse::<K>(&restored), wanted), [""; 0], "{pointer}");
    }
}

#[test]
fn every_kind_of_field_of_the_pods_is_ours() {
    let pod = |field: &str| format!("/spec/template/spec/{field}");
    let container = |field: &str| format!("/spec/template/spec/containers/0/{field}");
    let of_pod = [
        ("hostPID", json!(true)),
        ("hostIPC", json!(true)),
        ("hostUsers", json!(false)),
        ("hostNetwork", Value::Null),
        ("shareProcessNamespace", json!(true)),
        ("runtimeClassName", json!("other")),
        ("schedulerName", json!("other")),
        ("serviceAccountName", json!("other")),
        ("automountServiceAccountToken", json!(true)),
        ("priorityClassName", json!("system-node-critical")),
        ("nodeSelector/a", json!("b")),
        ("dnsConfig", json!({"nameservers": ["192.0.2.1"]})),
        (
            "hostAliases",
            json!([{"ip": "192.0.2.1", "hostnames": ["a"]}]),
        ),
        ("imagePullSecrets", json!([{"name": "other"}])),
        ("securityContext/runAsUser", json!(0)),
        ("securityContext/supplementalGroups", json!([0])),
        (
            "securityContext/sysctls",
            json!([{"name": "a", "value": "b"}]),
        ),
        ("securityContext/seccompProfile/type", json!("Unconfined")),
    ];
    let lists = [
        ("containers/-", json!({"name": "guest"}), "containers"),
        ("volumes/-", json!({"name": "guest"}), "volumes"),
        (
            "tolerations/-",
            json!({"key": "a", "operator": "Exists"}),
            "tolerations",
        ),
        (
            "initContainers",
            json!([{"name": "guest"}]),
            "initContainers",
        ),
        (
            "volumes/1/hostPath/path",
            json!("/etc"),
            "volumes[proc].hostPath.path",
        ),
    ];
    let of_container = [
        ("command", json!(["/bin/sh"])),
        ("image", json!("example.com/other")),
        ("workingDir", json!("/tmp")),
        ("stdin", json!(true)),
        ("env", json!([{"name": "A", "value": "b"}])),
        ("envFrom", json!([{"secretRef": {"name": "other"}}])),
        (
            "lifecycle",
            json!({"postStart": {"exec": {"command": ["/bin/sh"]}}}),
        ),
        ("startupProbe", json!({"exec": {"command": ["/bin/sh"]}})),
        (
            "volumeDevices",
            json!([{"name": "a", "devicePath": "/dev/a"}]),
        ),
        ("livenessProbe/exec", json!({"command": ["/bin/sh"]})),
        ("securityContext/privileged", json!(true)),
        ("securityContext/capabilities/add", json!(["SYS_ADMIN"])),
        ("securityContext/capabilities/drop", Value::Null),
        ("securityContext/runAsUser", json!(0)),
        ("securityContext/readOnlyRootFilesystem", json!(false)),
        ("securityContext/procMount", json!("Unmasked")),
        ("resources/claims", json!([{"name": "gpu"}])),
        ("resources/requests/memory", json!("1Gi")),
        ("resources/limits/memory", json!("many")),
    ];
    let container_lists = [
        ("args/-", json!("--no-collector.cpu"), "args"),
        ("args/1", json!("--web.require="), "args[1]"),
        ("ports/-", json!({"containerPort": 1}), "ports"),
        (
            "ports/0/hostIP",
            json!("127.0.0.1"),
            "ports[metrics].hostIP",
        ),
        (
            "volumeMounts/-",
            json!({"name": "root", "mountPath": "/x"}),
            "volumeMounts",
        ),
        (
            "volumeMounts/1/readOnly",
            json!(false),
            "volumeMounts[proc].readOnly",
        ),
    ];
    let dotted = |field: &str| field.replace('/', ".");
    let mut edits: Vec<(String, Value, String)> = Vec::new();
    for (field, value) in of_pod {
        edits.push((
            pod(field),
            value,
            format!("spec.template.spec.{}", dotted(field)),
        ));
    }
    for (field, value, path) in lists {
        edits.push((pod(field), value, format!("spec.template.spec.{path}")));
    }
    let exporter = "spec.template.spec.containers[exporter]";
    for (field, value) in of_container {
        edits.push((
            container(field),
            value,
            format!("{exporter}.{}", dotted(field)),
        ));
    }
    for (field, value, path) in container_lists {
        edits.push((container(field), value, format!("{exporter}.{path}")));
    }
    edits.push((
        "/spec/minReadySeconds".into(),
        json!(9),
        "spec.minReadySeconds".into(),
    ));
    edits.push((
        "/spec/updateStrategy/rollingUpdate/maxSurge".into(),
        json!(1),
        "spec.updateStrategy.rollingUpdate.maxSurge".into(),
    ));
    let edits: Vec<(&str, Value, &str)> = edits
        .iter()
        .map(|(pointer, value, path)| (pointer.as_str(), value.clone(), path.as_str()))
        // Its older name keeps the former value.
        .filter(|(pointer, ..)| !pointer.ends_with("/serviceAccountName"))
        .collect();
    let wanted: DaemonSet = render(&valid(json!({})), &state()).daemon_set.unwrap();
    each_is_found(&wanted, &daemon_set_defaults(), &edits);
}

#[test]
fn the_whole_spec_of_the_service_is_ours() {
    let edits = [
        (
            "/spec/externalIPs",
            json!(["192.0.2.1"]),
            "spec.externalIPs",
        ),
        (
            "/spec/externalName",
            json!("example.com"),
            "spec.externalName",
        ),
        ("/spec/type", json!("ExternalName"), "spec.type"),
        (
            "/spec/ports/-",
            json!({"name": "more", "port": 1}),
            "spec.ports",
        ),
        (
            "/spec/ports/0/targetPort",
            json!(22),
            "spec.ports[metrics].targetPort",
        ),
        (
            "/spec/ports/0/appProtocol",
            json!("http"),
            "spec.ports[metrics].appProtocol",
        ),
        ("/spec/selector/more", json!("narrow"), "spec.selector.more"),
        (
            "/spec/publishNotReadyAddresses",
            json!(true),
            "spec.publishNotReadyAddresses",
        ),
        (
            "/spec/sessionAffinity",
            json!("ClientIP"),
            "spec.sessionAffinity",
        ),
        (
            "/spec/internalTrafficPolicy",
            json!("Local"),
            "spec.internalTrafficPolicy",
        ),
        (
            "/spec/trafficDistribution",
            json!("PreferClose"),
            "spec.trafficDistribution",
        ),
        (
            "/spec/loadBalancerSourceRanges",
            json!(["10.0.0.0/8"]),
            "spec.loadBalancerSourceRanges",
        ),
    ];
    let wanted: Service = render(&valid(json!({})), &state()).service;
    each_is_found(&wanted, &service_defaults(), &edits);
}

#[test]
fn what_others_may_set_stays() {
    let wanted: DaemonSet = render(&valid(json!({})), &state()).daemon_set.unwrap();
    let mut present = stored(&wanted, &daemon_set_defaults());
    let restarted = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-29T00:00:00Z"});
    present["spec"]["template"]["metadata"]["annotations"] = restarted.clone();
    present["spec"]["template"]["metadata"]["labels"]["theirs"] = "yes".into();
    assert_eq!(drift(&parse::<DaemonSet>(&present), &wanted), [""; 0]);
    // Also when something else is repaired.
    present["spec"]["template"]["spec"]["hostPID"] = true.into();
    let patch = restoration(&parse::<DaemonSet>(&present), &wanted);
    let template = &patch[2]["value"]["template"]["metadata"];
    assert_eq!(template["annotations"], restarted);
    assert_eq!(template["labels"]["theirs"], "yes");
    assert_eq!(template["labels"]["app.kubernetes.io/instance"], "nodes");

    let wanted: Service = render(&valid(json!({})), &state()).service;
    let families = json!(["IPv6", "IPv4"]);
    let mut present = stored(&wanted, &service_defaults());
    present["spec"]["ipFamilies"] = families.clone();
    assert_eq!(drift(&parse::<Service>(&present), &wanted), [""; 0]);
    let patch = restoration(&parse::<Service>(&present), &wanted);
    assert_eq!(patch[2]["value"]["ipFamilies"], families);
}

#[test]
fn a_spec_that_sets_everything_has_no_drift() {
    let parsed = everything();
    let children = render(&parsed, &state());
    let wanted = children.daemon_set.unwrap();
    let mut present = stored(&wanted, &daemon_set_defaults());
    // As the API server writes 128Mi of memory.
    let limits = "/spec/template/spec/containers/0/resources/limits/memory";
    set(&mut present, limits, json!("134217728"));
    assert_eq!(drift(&parse::<DaemonSet>(&present), &wanted), [""; 0]);
}
