//! Common problems of the exporter's pods, recognised in the pods' status and in the DaemonSet's events. Pure.

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ContainerStateTerminated, ContainerStatus, Event, PodCondition},
};

/// What other programs say is cut to this many characters.
const MAX_QUOTED: usize = 300;

/// A problem that keeps exporters from running. The first of several is reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Complaint {
    /// The port is in use on a node.
    PortTaken,
    /// The exporter may not listen on the port.
    PortForbidden,
    /// Pod Security of the namespace forbids what the exporter needs.
    PodSecurity,
    /// The API server refuses to create a pod, with this message.
    Refused(String),
    /// This image cannot be pulled.
    Image(String),
    /// The container keeps exiting; this says why.
    Crashing(String),
    /// The scheduler finds no place for a pod on its node, with this message.
    Unschedulable(String),
}

/// Whether there are fewer pods than nodes that should have one. Otherwise an event that a pod was refused is older than the
/// solution.
pub fn is_short_of_pods(alive: usize, daemon_set: &DaemonSet) -> bool {
    let status = daemon_set.status.as_ref();
    let desired = status.map_or(0, |status| status.desired_number_scheduled);
    usize::try_from(desired).is_ok_and(|desired| alive < desired)
}

/// Returns the latest refusal to create a pod of this DaemonSet.
pub fn refusal(events: &[Event], daemon_set: &DaemonSet) -> Option<Complaint> {
    let uid = daemon_set.metadata.uid.as_deref();
    let refusals = events.iter().filter(|event| {
        event.reason.as_deref() == Some("FailedCreate")
            && event.involved_object.uid.as_deref() == uid
    });
    let message = refusals
        .max_by_key(|event| last_seen(event))?
        .message
        .as_deref()?;
    if message.contains("violates PodSecurity") {
        return Some(Complaint::PodSecurity);
    }
    let name = daemon_set.metadata.name.as_deref().unwrap_or_default();
    Some(Complaint::Refused(quoted(&without_pod_name(message, name))))
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref();
    let in_series = series.and_then(|series| series.last_observed_time.as_ref());
    [
        event.last_timestamp.as_ref().map(|time| time.0),
        in_series.map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
    ]
    .into_iter()
    .flatten()
    .max()
}

/// Each attempt has another pod name. A message that changed with it would be written, and announced, each time.
fn without_pod_name(message: &str, daemon_set: &str) -> String {
    let message = message.strip_prefix("Error creating: ").unwrap_or(message);
    let begin = format!("\"{daemon_set}-");
    let parts = message.split_once(&begin);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once('"')?.1)));
    match parts {
        Some((before, after)) => format!("{before}{begin}…\"{after}"),
        None => message.to_owned(),
    }
}

/// Returns why the scheduler finds no place for a pod.
pub fn of_scheduling(conditions: &[PodCondition]) -> Option<Complaint> {
    let refused = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let message = refused.message.as_deref().unwrap_or_default();
    if message.contains("free ports") {
        return Some(Complaint::PortTaken);
    }
    (refused.reason.as_deref() == Some("Unschedulable"))
        .then(|| Complaint::Unschedulable(quoted(message)))
}

/// Returns why the exporter's container does not run.
pub fn of_container(status: &ContainerStatus) -> Option<Complaint> {
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
    let log = ended.message.as_deref().unwrap_or_default();
    let words = log.to_lowercase();
    if words.contains("address already in use") || words.contains("address in use") {
        return Some(Complaint::PortTaken);
    }
    if words.contains("cannot listen on") && words.contains("permission denied") {
        return Some(Complaint::PortForbidden);
    }
    Some(Complaint::Crashing(why(ended, log)))
}

/// Why a container ended, in a sentence, as far as that is known.
fn why(ended: &ContainerStateTerminated, log: &str) -> String {
    if ended.reason.as_deref() == Some("OOMKilled") {
        return "It needed more memory than its limit allows (OOMKilled). Raise spec.workload.resources.limits.memory.".to_owned();
    }
    match log.lines().last() {
        Some(last) => format!("The last line of its log: {}", quoted(last)),
        None => format!(
            "It logged nothing, and its exit code is {}.",
            ended.exit_code
        ),
    }
}

fn quoted(words: &str) -> String {
    words.trim().chars().take(MAX_QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of_conditions(condition: serde_json::Value) -> Option<Complaint> {
        of_scheduling(&[serde_json::from_value(condition).unwrap()])
    }

    fn of_status(status: serde_json::Value) -> Option<Complaint> {
        of_container(&serde_json::from_value(status).unwrap())
    }

    fn set(desired: i32) -> DaemonSet {
        serde_json::from_value(json!({"metadata": {"name": "nodes", "uid": "u"}, "status": {
            "desiredNumberScheduled": desired, "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}}))
        .unwrap()
    }

    fn failed_create(uid: &str, time: &str, message: &str) -> Event {
        serde_json::from_value(
            json!({"metadata": {}, "involvedObject": {"uid": uid}, "reason": "FailedCreate",
            "lastTimestamp": time, "message": message}),
        )
        .unwrap()
    }

    #[test]
    fn a_port_conflict_reported_by_the_scheduler() {
        let condition = json!({"type": "PodScheduled", "status": "False",
            "message": "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."});
        assert_eq!(of_conditions(condition), Some(Complaint::PortTaken));
    }

    #[test]
    fn a_port_conflict_reported_by_the_exporter() {
        let terminated = json!({"terminated": {"exitCode": 1, "message":
            "level=ERROR msg=\"cannot listen on [::]:9100: Address already in use (os error 98)\"\n"}});
        let status = json!({"name": "exporter", "image": "i", "imageID": "", "ready": false,
            "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": terminated});
        assert_eq!(of_status(status), Some(Complaint::PortTaken));
    }

    #[test]
    fn an_image_that_cannot_be_pulled() {
        let status = json!({"name": "exporter", "image": "r/i:1", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}});
        assert_eq!(of_status(status), Some(Complaint::Image("r/i:1".into())));
    }

    #[test]
    fn a_ready_container_that_once_exited_is_no_problem() {
        let status = json!({"name": "exporter", "image": "i", "imageID": "", "ready": true,
            "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1, "message": "x"}}});
        assert_eq!(of_status(status), None);
    }

    #[test]
    fn a_crash_says_why() {
        let crash = |terminated| {
            let status = json!({"name": "exporter", "image": "i", "imageID": "", "ready": false,
                "restartCount": 2, "state": {"terminated": terminated}});
            match of_status(status) {
                Some(Complaint::Crashing(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        let logged = crash(json!({"exitCode": 1, "message": "first\nlast\n"}));
        assert_eq!(logged, "The last line of its log: last");
        let silent = crash(json!({"exitCode": 139}));
        assert_eq!(silent, "It logged nothing, and its exit code is 139.");
        let killed = crash(json!({"exitCode": 137, "reason": "OOMKilled"}));
        assert!(
            killed.contains("spec.workload.resources.limits.memory"),
            "{killed}"
        );
    }

    #[test]
    fn a_privileged_port_is_not_a_crash() {
        let terminated = json!({"terminated": {"exitCode": 1, "message":
            "level=ERROR msg=\"cannot listen on [::]:22: Permission denied (os error 13); choose another with --web.listen-address\"\n"}});
        let status = json!({"name": "exporter", "image": "i", "imageID": "", "ready": false,
            "restartCount": 2, "state": terminated});
        assert_eq!(of_status(status), Some(Complaint::PortForbidden));
    }

    #[test]
    fn a_pod_that_no_node_has_room_for() {
        let message = "0/1 nodes are available: 1 Insufficient memory.";
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": message});
        let unschedulable = Complaint::Unschedulable(message.into());
        assert_eq!(of_conditions(condition), Some(unschedulable));
    }

    #[test]
    fn a_refused_pod_is_read_from_the_latest_event() {
        let events = [
            failed_create("other", "2027-01-03T00:00:00Z", "of an earlier DaemonSet"),
            failed_create(
                "u",
                "2027-01-02T00:00:00Z",
                "Error creating: pods \"nodes-x7k2p\" is forbidden: exceeded quota: pods",
            ),
            failed_create(
                "u",
                "2027-01-01T00:00:00Z",
                "Error creating: pods \"nodes-aaaaa\" is forbidden: violates PodSecurity",
            ),
        ];
        let refused =
            Complaint::Refused("pods \"nodes-…\" is forbidden: exceeded quota: pods".into());
        assert_eq!(refusal(&events, &set(1)), Some(refused));
    }

    #[test]
    fn events_are_about_the_present_only_while_pods_are_missing() {
        assert!(is_short_of_pods(0, &set(1)) && is_short_of_pods(1, &set(2)));
        assert!(!is_short_of_pods(1, &set(1)), "it was solved");
        assert!(!is_short_of_pods(0, &DaemonSet::default()));
    }

    #[test]
    fn pod_security_is_read_from_the_events() {
        let message = "Error creating: pods \"nodes-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces";
        let events = [failed_create("u", "2027-01-01T00:00:00Z", message)];
        assert_eq!(refusal(&events, &set(1)), Some(Complaint::PodSecurity));
    }
}
