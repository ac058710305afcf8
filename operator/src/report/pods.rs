//! The conditions `Ready`, `Available`, `PortConflict` and `Stalled`: whether the exporters run, and what keeps them from it.
//! Pure.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;

use crate::{
    api::{NodesStatus, SecureExporterStatus},
    names::Owner,
    observe::children::Child,
    report::{
        conditions::{self, Finding, Verdict},
        pod_problems::Complaint,
        seen::Seen,
    },
};

/// Reason of [`conditions::READY`] if the DaemonSet should run on no node.
const NO_NODES_MATCHED: &str = "NoNodesMatched";

/// The reasons why exporters do not run, in `Ready`. Each is announced once by an event.
pub(crate) const TROUBLES: [&str; 8] = [
    "PortConflict",
    "PortForbidden",
    "PodSecurityForbidden",
    "PodsRefused",
    "ImageUnavailable",
    "ExporterCrashing",
    "PodsUnschedulable",
    NO_NODES_MATCHED,
];

/// A problem of the pods: reason and message.
pub(crate) type Trouble = (&'static str, String);

/// Returns the first problem of the pods, including how to fix it.
pub(crate) fn trouble(seen: &Seen<'_>) -> Option<Trouble> {
    seen.complaints
        .first()
        .map(|complaint| explain(complaint, seen))
}

/// Returns the condition `Ready`.
pub(crate) fn ready(
    seen: &Seen<'_>,
    certificate: &Verdict,
    trouble: Option<&Trouble>,
    status: &SecureExporterStatus,
    now: Timestamp,
) -> Verdict {
    const TYPE: &str = conditions::READY;
    let not = |reason, message: String| Verdict::Found(Finding::new(TYPE, false, reason, message));
    let certificates = status.certificate.iter().chain(&status.client_certificate);
    let mut ends = certificates.map(|certificate| certificate.not_after.0);
    if let Verdict::Found(finding) = certificate
        && ends.any(|end| end <= now)
    {
        return not("CertificateExpired", finding.message.clone());
    }
    if let Some(problem) = seen.blocking() {
        return not(problem.category(), problem.to_string());
    }
    if !seen.is_settled || !seen.is_complete {
        return Verdict::AsBefore(TYPE);
    }
    if let Some((reason, message)) = trouble {
        return not(reason, message.clone());
    }
    let counted = counted(seen, status.nodes.as_ref());
    let Some(problem) = seen.blindness() else {
        return counted.map_or(Verdict::AsBefore(TYPE), Verdict::Found);
    };
    match counted {
        Some(finding) if finding.holds == Some(false) => not(
            finding.reason,
            format!("{} The cause is not known: {problem}.", finding.message),
        ),
        _ => seen.not_known(TYPE, problem),
    }
}

/// What the numbers of the DaemonSet say; `None` if it could not be read.
fn counted(seen: &Seen<'_>, nodes: Option<&NodesStatus>) -> Option<Finding> {
    let finding = |holds, reason, message: String| {
        Some(Finding::new(conditions::READY, holds, reason, message))
    };
    let nodes = nodes.filter(|_| is_known(seen.daemon_set))?;
    if !is_observed(seen.daemon_set.ours()) {
        return finding(
            false,
            "DaemonSetPending",
            "The DaemonSet controller has not processed the latest DaemonSet yet.".into(),
        );
    }
    if nodes.desired == 0 {
        return finding(
            false,
            NO_NODES_MATCHED,
            "No node matches nodeSelector, affinity and tolerations in spec.workload, so no exporter runs. `kubectl get nodes --show-labels` shows the labels of the nodes.".into(),
        );
    }
    let message = format!("The exporter is ready on {} nodes.", nodes.summary);
    if nodes.ready < nodes.desired {
        return finding(false, "DaemonSetNotReady", message);
    }
    finding(true, "AllNodesServing", message)
}

/// Returns the condition `Available`.
pub(crate) fn available(seen: &Seen<'_>, status: &SecureExporterStatus) -> Verdict {
    const TYPE: &str = conditions::AVAILABLE;
    let Some(nodes) = status.nodes.as_ref().filter(|_| is_known(seen.daemon_set)) else {
        return match seen.blindness() {
            Some(problem) => seen.not_known(TYPE, problem),
            None => Verdict::AsBefore(TYPE),
        };
    };
    let (holds, reason, message) = if nodes.ready > 0 {
        let message = format!(
            "The exporter is ready on {} of {} nodes.",
            nodes.ready, nodes.desired
        );
        (true, "ExportersServing", message)
    } else {
        let message = "No node has a ready exporter, so there are no node metrics.".to_owned();
        (false, "NoExporterServes", message)
    };
    Finding::new(TYPE, holds, reason, message).into()
}

/// Returns the condition `PortConflict`.
pub(crate) fn port_conflict(seen: &Seen<'_>) -> Verdict {
    const TYPE: &str = conditions::PORT_CONFLICT;
    if seen.complaints.contains(&Complaint::PortTaken) {
        let (_, message) = explain(&Complaint::PortTaken, seen);
        return Finding::new(TYPE, true, "PortTaken", message).into();
    }
    match seen.blindness() {
        Some(problem) => seen.not_known(TYPE, problem),
        None if !seen.complaints_are_known => Verdict::AsBefore(TYPE),
        None => {
            let message = "No node reports that the port is in use.";
            Finding::new(TYPE, false, "PortFree", message).into()
        }
    }
}

/// Returns the condition `Stalled`.
pub(crate) fn stalled(seen: &Seen<'_>, trouble: Option<Trouble>) -> Verdict {
    const TYPE: &str = conditions::STALLED;
    if let Some(problem) = seen.lasting() {
        return Finding::new(TYPE, true, problem.category(), problem.to_string()).into();
    }
    match trouble {
        Some((reason, message)) => Finding::new(TYPE, true, reason, message).into(),
        // Without all information the condition stays as it was.
        None if !seen.complaints_are_known || !seen.problems.is_empty() => Verdict::AsBefore(TYPE),
        None => {
            let message = "Nothing needs the attention of a user.";
            Finding::new(TYPE, false, "Progressing", message).into()
        }
    }
}

fn is_known(daemon_set: &Child<DaemonSet>) -> bool {
    !matches!(daemon_set, Child::Unknown(_))
}

fn is_observed(daemon_set: Option<&DaemonSet>) -> bool {
    daemon_set.is_some_and(|set| {
        set.status.as_ref().is_some_and(|status| {
            status.observed_generation.unwrap_or_default()
                >= set.metadata.generation.unwrap_or_default()
        })
    })
}

/// Returns the reason and the message of a pod problem, including how to fix it.
fn explain(complaint: &Complaint, seen: &Seen<'_>) -> Trouble {
    let namespace = &seen.owner.namespace;
    let port = seen.spec.map(|spec| spec.port);
    let port = port.map_or_else(String::new, |port| format!(" {port}"));
    match complaint {
        Complaint::PortTaken => ("PortConflict", port_taken(&port, seen.port_rivals)),
        Complaint::PortForbidden => (
            "PortForbidden",
            format!(
                "The exporter may not listen on port{port}: ports below 1024 need a privilege that its container does not have. Set spec.exporter.port to a port from 1024."
            ),
        ),
        Complaint::PodSecurity => (
            "PodSecurityForbidden",
            format!(
                "Pod Security in namespace {namespace} forbids the host access that a node exporter needs, so no exporter can start. To allow it: kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite"
            ),
        ),
        Complaint::Refused(message) => (
            "PodsRefused",
            format!(
                "The API server refuses to create the exporter's pods, so nodes are without metrics: {message}. Change the quota, priority class or admission policy that refuses them. Kubernetes then creates them automatically, after up to 17 minutes, or at once after: kubectl annotate daemonset {} -n {namespace} --overwrite retried=\"$(date)\"",
                seen.owner.workload()
            ),
        ),
        Complaint::Image(image) => (
            "ImageUnavailable",
            format!(
                "The image {image} cannot be pulled, so the exporter cannot start. Check spec.image and spec.image.pullSecrets."
            ),
        ),
        Complaint::Crashing(words) => (
            "ExporterCrashing",
            format!("The exporter keeps exiting, so at least one node is without metrics. {words}"),
        ),
        Complaint::Unschedulable(message) => (
            "PodsUnschedulable",
            format!(
                "The scheduler does not place an exporter's pod on its node: {message} Make room there, lower spec.workload.resources, set spec.workload.priorityClassName, or exclude the node by spec.workload.nodeSelector or affinity."
            ),
        ),
    }
}

fn port_taken(port: &str, rivals: &[Owner]) -> String {
    let fix = "set spec.exporter.port to a free port, or set spec.hostAccess.network to Pod";
    let names: Vec<String> = rivals
        .iter()
        .map(|rival| format!("{}/{}", rival.namespace, rival.name))
        .collect();
    let cause = if names.is_empty() {
        "Stop the process that uses it (node_exporter, for example)".to_owned()
    } else {
        format!(
            "It is also the port of SecureExporter {}: delete one of them",
            names.join(", ")
        )
    };
    format!(
        "Port{port} is in use on at least one node, so the exporter cannot start there. {cause}, {fix}."
    )
}
