//! Common problems of the exporter's pods, recognised in the pods' status and in the DaemonSet's events. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};

/// A problem that keeps exporters from running.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Complaint {
    /// The port is in use on a node.
    PortTaken,
    /// Pod Security of the namespace forbids what the exporter needs.
    PodSecurity,
    /// This image cannot be pulled.
    Image(String),
    /// The container keeps exiting, with this as the last line of its log.
    Crashing(String),
}

/// Finds the problems in the pods' status and the DaemonSet's events, each once.
pub fn find<'a>(
    pods: &[Pod],
    events: impl Iterator<Item = &'a Event>,
    container: &str,
) -> Vec<Complaint> {
    let mut found = BTreeSet::new();
    // Where there are pods, Pod Security does not refuse them; the event may be older than the fix.
    if pods.is_empty() && events.into_iter().any(is_pod_security) {
        found.insert(Complaint::PodSecurity);
    }
    for pod in pods {
        let Some(status) = &pod.status else { continue };
        let unschedulable = status.conditions.iter().flatten().any(|condition| {
            condition.type_ == "PodScheduled"
                && condition.status == "False"
                && condition
                    .message
                    .as_deref()
                    .is_some_and(|message| message.contains("free ports"))
        });
        if unschedulable {
            found.insert(Complaint::PortTaken);
        }
        let ours = |status: &&ContainerStatus| status.name == container;
        if let Some(complaint) = status
            .container_statuses
            .iter()
            .flatten()
            .find(ours)
            .and_then(of_container)
        {
            found.insert(complaint);
        }
    }
    found.into_iter().collect()
}

fn is_pod_security(event: &Event) -> bool {
    event.reason.as_deref() == Some("FailedCreate")
        && event
            .message
            .as_deref()
            .is_some_and(|message| message.contains("violates PodSecurity"))
}

fn of_container(status: &ContainerStatus) -> Option<Complaint> {
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    if let Some(waiting) = waiting
        && matches!(
            waiting.reason.as_deref(),
            Some("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName")
        )
    {
        return Some(Complaint::Image(status.image.clone()));
    }
    let ended = [&status.state, &status.last_state]
        .into_iter()
        .flatten()
        .find_map(|state| state.terminated.as_ref())?;
    if status.ready || ended.exit_code == 0 {
        return None;
    }
    let words = ended.message.as_deref().unwrap_or_default();
    if words.to_lowercase().contains("address already in use") || words.contains("address in use") {
        return Some(Complaint::PortTaken);
    }
    let last = words.lines().last().unwrap_or("(no log output)");
    Some(Complaint::Crashing(last.chars().take(300).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
    }

    fn of(pods: &[Pod]) -> Vec<Complaint> {
        find(pods, std::iter::empty(), "exporter")
    }

    #[test]
    fn a_port_conflict_reported_by_the_scheduler() {
        let status = json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "message": "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."}]});
        assert_eq!(
            of(&[pod(status.clone()), pod(status)]),
            [Complaint::PortTaken]
        );
    }

    #[test]
    fn a_port_conflict_reported_by_the_exporter() {
        let terminated = json!({"terminated": {"exitCode": 1, "message":
            "level=ERROR msg=\"cannot listen on [::]:9100: Address already in use (os error 98)\"\n"}});
        let status = json!({"containerStatuses": [{"name": "exporter", "image": "i", "imageID": "", "ready": false,
            "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": terminated}]});
        assert_eq!(of(&[pod(status)]), [Complaint::PortTaken]);
    }

    #[test]
    fn an_image_that_cannot_be_pulled() {
        let status = json!({"containerStatuses": [{"name": "exporter", "image": "r/i:1", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
        assert_eq!(of(&[pod(status)]), [Complaint::Image("r/i:1".into())]);
    }

    #[test]
    fn a_ready_container_that_once_exited_is_no_problem() {
        let status = json!({"containerStatuses": [{"name": "exporter", "image": "i", "imageID": "", "ready": true,
            "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1, "message": "x"}}}]});
        assert_eq!(of(&[pod(status)]), []);
    }

    #[test]
    fn pod_security_is_read_from_the_events_while_there_are_no_pods() {
        let event: Event = serde_json::from_value(json!({"metadata": {}, "involvedObject": {}, "reason": "FailedCreate",
            "message": "Error creating: pods \"n-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces"}))
        .unwrap();
        assert_eq!(
            find(&[], [&event].into_iter(), "exporter"),
            [Complaint::PodSecurity]
        );
        let running = pod(json!({"phase": "Running"}));
        assert_eq!(find(&[running], [&event].into_iter(), "exporter"), []);
    }
}
