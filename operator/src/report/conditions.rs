//! The conditions of a resource: their names, and how they change. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Every node that should run an exporter has a ready one, and nothing blocks the resource.
pub const READY: &str = "Ready";
/// At least one exporter is ready.
pub const AVAILABLE: &str = "Available";
/// The published certificate is valid and does not expire soon.
pub const CERTIFICATE_VALID: &str = "CertificateValid";
/// The published credentials and scrape configuration match the current state.
pub const CREDENTIALS_PUBLISHED: &str = "CredentialsPublished";
/// Every exporter serves the published certificate and accepts the published credentials, as the operator last found.
pub const EXPORTERS_VERIFIED: &str = "ExportersVerified";
/// Another process uses the exporter's port on at least one node.
pub const PORT_CONFLICT: &str = "PortConflict";
/// The CA or the password is being rotated.
pub const ROTATING: &str = "Rotating";
/// A rotation waits for exporters or clients that have fallen behind, cannot be published, or is paused. No scrape fails: the
/// old credential keeps working.
pub const ROTATION_BLOCKED: &str = "RotationBlocked";
/// The user-supplied Secrets in `spec.authentication.basicAuth` are usable. Only present if there are any.
pub const CREDENTIALS_ACCEPTED: &str = "CredentialsAccepted";
/// The rotations that a user requested by annotation are valid: they were handled, or are queued. Only present while the
/// resource has such an annotation.
pub const REQUESTS_ACCEPTED: &str = "RequestsAccepted";
/// Another release of the operator watches the namespace, too. Only present while that is so.
pub const CONTENDED: &str = "Contended";
/// The operator cannot continue until a user changes something.
pub const STALLED: &str = "Stalled";

/// All of them.
pub const ALL: [&str; 12] = [
    READY,
    AVAILABLE,
    CERTIFICATE_VALID,
    CREDENTIALS_PUBLISHED,
    EXPORTERS_VERIFIED,
    PORT_CONFLICT,
    ROTATING,
    ROTATION_BLOCKED,
    CREDENTIALS_ACCEPTED,
    REQUESTS_ACCEPTED,
    CONTENDED,
    STALLED,
];

/// A condition before it is merged with the previous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of the names of this module.
    pub type_: &'static str,
    /// `None` is Unknown.
    pub holds: Option<bool>,
    /// A word in CamelCase, for programs.
    pub reason: &'static str,
    /// Complete sentences, for users.
    pub message: String,
}

impl Finding {
    /// A condition that is True or False.
    pub fn new(
        type_: &'static str,
        holds: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            holds: Some(holds),
            reason,
            message: message.into(),
        }
    }

    /// A condition whose status is Unknown.
    pub fn unknown(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            type_,
            holds: None,
            reason,
            message: message.into(),
        }
    }
}

/// The result of a pass for one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pass determined it.
    Found(Finding),
    /// The pass could not determine it. It stays as it was, so that a temporary failure changes nothing.
    AsBefore(&'static str),
}

impl From<Finding> for Verdict {
    fn from(finding: Finding) -> Self {
        Self::Found(finding)
    }
}

/// Merges the results of a pass into the previous conditions. The transition time changes only with the status.
pub fn merge(
    previous: &[Condition],
    verdicts: Vec<Verdict>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let find = |type_: &str| previous.iter().find(|condition| condition.type_ == type_);
    verdicts
        .into_iter()
        .map(|verdict| match verdict {
            Verdict::Found(finding) => found(find(finding.type_), finding, generation, now),
            Verdict::AsBefore(type_) => find(type_).cloned().unwrap_or_else(|| {
                let finding =
                    Finding::unknown(type_, "NotObserved", "It has not been observed yet.");
                found(None, finding, generation, now)
            }),
        })
        .collect()
}

fn found(
    previous: Option<&Condition>,
    finding: Finding,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = match finding.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let since = previous
        .filter(|condition| condition.status == status)
        .map_or_else(
            || Time(whole_seconds(now)),
            |same| same.last_transition_time.clone(),
        );
    Condition {
        type_: finding.type_.to_owned(),
        status: status.to_owned(),
        reason: finding.reason.to_owned(),
        message: finding.message,
        observed_generation: generation,
        last_transition_time: since,
    }
}

/// The API server stores times in whole seconds. A finer time would differ from the stored one at each pass.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(holds: bool, message: &str) -> Vec<Verdict> {
        vec![Finding::new(READY, holds, "Reason", message).into()]
    }

    #[test]
    fn a_condition_that_was_not_determined_stays_as_it_was() {
        let first = merge(&[], ready(true, "a"), Some(1), at(10));
        let blind = merge(&first, vec![Verdict::AsBefore(READY)], Some(2), at(20));
        assert_eq!(blind, first);
        let never = merge(&[], vec![Verdict::AsBefore(READY)], Some(1), at(10));
        assert_eq!(never[0].status, "Unknown");
    }

    #[test]
    fn the_transition_time_changes_only_with_the_status() {
        let first = merge(&[], ready(false, "a"), Some(1), at(10));
        let same = merge(&first, ready(false, "b"), Some(2), at(20));
        assert_eq!(same[0].last_transition_time.0, at(10));
        assert_eq!(same[0].message, "b");
        let other = merge(&same, ready(true, "b"), Some(2), at(30));
        assert_eq!(other[0].last_transition_time.0, at(30));
    }

    #[test]
    fn times_are_whole_seconds_as_the_api_server_stores_them() {
        let now = at(10) + jiff::SignedDuration::from_millis(300);
        assert_eq!(
            merge(&[], ready(true, ""), None, now)[0]
                .last_transition_time
                .0,
            at(10)
        );
    }
}
