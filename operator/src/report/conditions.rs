//! The conditions of a resource: their names, their reasons, and how they change. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Every wanted node has an exporter that serves, with a valid certificate, published credentials and scrape
/// configuration.
pub const READY: &str = "Ready";
/// At least one exporter serves.
pub const AVAILABLE: &str = "Available";
/// The published certificate is valid, and not about to end.
pub const CERTIFICATE_VALID: &str = "CertificateValid";
/// Credentials and scrape configuration are published from the current state.
pub const CREDENTIALS_PUBLISHED: &str = "CredentialsPublished";
/// The exporter's port is in use by something else on at least one node.
pub const PORT_CONFLICT: &str = "PortConflict";
/// An authority or a password is on its way to the next one.
pub const ROTATING: &str = "Rotating";
/// Exporters or scrapers that do not come along hold a rotation up, or it is paused. Nothing fails by it: the old
/// credential goes on working.
pub const ROTATION_BLOCKED: &str = "RotationBlocked";
/// The Secrets that `spec.authentication.basicAuth` names can be used. There only where it names any.
pub const CREDENTIALS_ACCEPTED: &str = "CredentialsAccepted";
/// A person must change something before this goes on.
pub const STALLED: &str = "Stalled";

/// A condition before it is compared with the one that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of the names of this module.
    pub type_: &'static str,
    /// `None` is Unknown.
    pub holds: Option<bool>,
    /// One word, for programs.
    pub reason: &'static str,
    /// A sentence, for people.
    pub message: String,
}

impl Finding {
    /// A condition that holds or does not.
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

    /// A condition of which nothing is known.
    pub fn unknown(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            type_,
            holds: None,
            reason,
            message: message.into(),
        }
    }
}

/// What a pass makes of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was looked at.
    Found(Finding),
    /// It could not be looked at: it stays as it was, so that a passing failure is no news.
    AsBefore(&'static str),
}

impl From<Finding> for Verdict {
    fn from(finding: Finding) -> Self {
        Self::Found(finding)
    }
}

/// The conditions after these verdicts. The time of a condition changes only where its status does.
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

/// The API server stores times in seconds; a finer one would differ from its own copy at each pass.
fn whole_seconds(time: Timestamp) -> Timestamp {
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
    fn what_could_not_be_looked_at_stays_as_it_was() {
        let first = merge(&[], ready(true, "a"), Some(1), at(10));
        let blind = merge(&first, vec![Verdict::AsBefore(READY)], Some(2), at(20));
        assert_eq!(blind, first);
        let never = merge(&[], vec![Verdict::AsBefore(READY)], Some(1), at(10));
        assert_eq!(never[0].status, "Unknown");
    }

    #[test]
    fn the_time_moves_with_the_status_alone() {
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
