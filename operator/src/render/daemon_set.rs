//! The DaemonSet of the exporter.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    HostPathVolumeSource, LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{
    api::{HostNetwork, PullPolicy, Resources, UpdateStrategyType},
    names::{CONTAINER, Owner, PORT_NAME},
    render::affinity::affinity,
    spec::{
        ValidSpec, ValidWorkload,
        exporter::{CREDENTIALS_PATH, NODE_NAME, command_line},
    },
};

/// User and group of the exporter: its own. The exporter sees the node's `/proc`, in which the environment and the files of
/// every process of the same user are open to it. 65532 is the user of distroless images, 65534 is `nobody`, and 29101 is the
/// operator's.
const USER: i64 = 29_100;

/// Directories of the node: volume, path on the node, path in the container.
const HOST_PATHS: [(&str, &str, &str); 3] = [
    ("proc", "/proc", "/host/proc"),
    ("sys", "/sys", "/host/sys"),
    ("root", "/", "/host/root"),
];

pub(crate) fn daemon_set(spec: &ValidSpec, workload: &ValidWorkload, owner: &Owner) -> DaemonSet {
    DaemonSet {
        metadata: owner.child(owner.workload()),
        spec: Some(DaemonSetSpec {
            selector: LabelSelector {
                match_labels: Some(owner.selector()),
                match_expressions: None,
            },
            update_strategy: Some(update_strategy(workload)),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(workload, owner)),
                spec: Some(pod(spec, workload, owner)),
            },
            ..DaemonSetSpec::default()
        }),
        ..DaemonSet::default()
    }
}

fn update_strategy(workload: &ValidWorkload) -> DaemonSetUpdateStrategy {
    let (name, rolling_update) = match workload.update_strategy.type_ {
        UpdateStrategyType::OnDelete => ("OnDelete", None),
        // No surge: two exporters cannot listen on the same port of a node, and with the pod network a node would be scraped
        // twice.
        UpdateStrategyType::RollingUpdate => (
            "RollingUpdate",
            Some(RollingUpdateDaemonSet {
                max_unavailable: Some(workload.update_strategy.max_unavailable.clone()),
                max_surge: None,
            }),
        ),
    };
    DaemonSetUpdateStrategy {
        type_: Some(name.to_owned()),
        rolling_update,
    }
}

fn pod_metadata(workload: &ValidWorkload, owner: &Owner) -> ObjectMeta {
    let mut labels = workload.pod_labels.clone();
    labels.extend(owner.labels());
    ObjectMeta {
        labels: Some(labels),
        annotations: some_map(&workload.pod_annotations),
        ..ObjectMeta::default()
    }
}

fn pod(spec: &ValidSpec, workload: &ValidWorkload, owner: &Owner) -> PodSpec {
    let pull_secrets = workload
        .image
        .pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        service_account_name: Some(owner.workload()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // Either the node's address, or a pod address, to which NetworkPolicies apply.
        host_network: on_host(spec).then_some(true),
        dns_policy: Some("Default".to_owned()),
        termination_grace_period_seconds: Some(10),
        node_selector: some_map(&workload.node_selector),
        tolerations: some_list(workload.tolerations.iter().cloned()),
        affinity: Some(affinity(
            workload.affinity.as_ref(),
            &workload.node_selector,
        )),
        priority_class_name: workload.priority_class_name.clone(),
        image_pull_secrets: some_list(pull_secrets),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            // Makes the mounted Secret readable for the exporter's group instead of for everyone.
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(spec, workload)],
        volumes: Some(volumes(owner)),
        ..PodSpec::default()
    }
}

fn container(spec: &ValidSpec, workload: &ValidWorkload) -> Container {
    let port = i32::from(spec.port);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(workload.image.reference.clone()),
        image_pull_policy: Some(
            match workload.image.pull_policy {
                PullPolicy::IfNotPresent => "IfNotPresent",
                PullPolicy::Always => "Always",
                PullPolicy::Never => "Never",
            }
            .to_owned(),
        ),
        args: Some(command_line(spec.port, spec.network, &workload.exporter)),
        env: (!on_host(spec)).then(|| vec![node_name()]),
        // Declared so that the scheduler notices a port conflict on the node and scrapers discover the port.
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: port,
            // Set explicitly: otherwise the API server sets it, and it would stay when the pods move to the pod network.
            host_port: on_host(spec).then_some(port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: resources(&workload.resources),
        liveness_probe: Some(Probe {
            period_seconds: Some(20),
            failure_threshold: Some(3),
            timeout_seconds: Some(5),
            ..healthy(port)
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(5),
            failure_threshold: Some(3),
            timeout_seconds: Some(5),
            ..healthy(port)
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(volume_mounts()),
        // Puts the end of the log into the pod's status, where the operator reads why the exporter does not start.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn on_host(spec: &ValidSpec) -> bool {
    spec.network == HostNetwork::Host
}

fn node_name() -> EnvVar {
    EnvVar {
        name: NODE_NAME.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "spec.nodeName".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// A probe of the only path that needs no credentials, and that reveals nothing. The kubelet does not verify the certificate.
fn healthy(port: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/-/healthy".to_owned()),
            port: IntOrString::Int(port),
            scheme: Some("HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    }
}

fn resources(resources: &Resources) -> Option<ResourceRequirements> {
    Some(ResourceRequirements {
        requests: some_map(&resources.requests),
        limits: some_map(&resources.limits),
        claims: None,
    })
}

fn volume_mounts() -> Vec<VolumeMount> {
    let credentials = VolumeMount {
        name: "credentials".to_owned(),
        mount_path: CREDENTIALS_PATH.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let host = HOST_PATHS.map(|(name, _, mount_path)| VolumeMount {
        name: name.to_owned(),
        mount_path: mount_path.to_owned(),
        read_only: Some(true),
        // Filesystems that are mounted later must be visible; otherwise their metrics would be those of the mount point.
        mount_propagation: (name == "root").then(|| "HostToContainer".to_owned()),
        ..VolumeMount::default()
    });
    std::iter::once(credentials).chain(host).collect()
}

fn volumes(owner: &Owner) -> Vec<Volume> {
    let credentials = Volume {
        name: "credentials".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(owner.server_secret()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let host = HOST_PATHS.map(|(name, path, _)| Volume {
        name: name.to_owned(),
        host_path: Some(HostPathVolumeSource {
            path: path.to_owned(),
            type_: None,
        }),
        ..Volume::default()
    });
    std::iter::once(credentials).chain(host).collect()
}

fn some_map<V: Clone>(map: &BTreeMap<String, V>) -> Option<BTreeMap<String, V>> {
    (!map.is_empty()).then(|| map.clone())
}

fn some_list<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then_some(items)
}
