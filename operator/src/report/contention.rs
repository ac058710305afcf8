//! The condition that two releases of the operator watch one namespace. The release that does not serve it sets the condition,
//! and the one that serves it removes it, when it has not been set again for a while. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    api::SecureExporterStatus,
    report::conditions::{self, CONTENDED, Finding, Verdict},
};

/// How long the condition stays after it was set.
const LASTS: SignedDuration = SignedDuration::from_mins(15);

/// Returns the message of a release that leaves the namespace to another one.
pub fn message(release: &str, holder: &str) -> String {
    format!(
        "The operator of release {holder} serves this namespace: it holds the Lease secure-exporter-operator. The operator of release {release} watches the namespace, too, but changes nothing in it. Remove the namespace from the watchNamespaces of one of them. {release} takes over a minute after {holder} was stopped, or 15 minutes after it disappeared without having stopped"
    )
}

/// Returns the status with the condition; `None` if it has it already.
pub fn contended(
    previous: &SecureExporterStatus,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<SecureExporterStatus> {
    let is_said = |one: &Condition| one.type_ == CONTENDED && one.message == message;
    if previous.conditions.iter().any(is_said) {
        return None;
    }
    let finding = Finding::new(CONTENDED, true, "ServedByAnotherRelease", message);
    let mut status = previous.clone();
    status.conditions.retain(|one| one.type_ != CONTENDED);
    status.conditions.extend(conditions::merge(
        &[],
        vec![finding.into()],
        generation,
        now,
    ));
    Some(status)
}

/// Returns the condition for the release that serves the namespace since `ours_since`. It stays for a while; one that is older
/// than the Lease was set by this release itself, or is about an earlier holder.
pub fn verdict(
    previous: &[Condition],
    ours_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<Verdict> {
    let set = previous.iter().find(|one| one.type_ == CONTENDED)?;
    let at = set.last_transition_time.0;
    let is_current = ours_since.is_none_or(|since| at >= since) && now.duration_since(at) < LASTS;
    is_current.then_some(Verdict::AsBefore(CONTENDED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_condition_is_added_once_and_changes_nothing_else() {
        let ready = Finding::new(conditions::READY, true, "Ready", "");
        let previous = SecureExporterStatus {
            conditions: conditions::merge(&[], vec![ready.into()], Some(1), at(1)),
            ..SecureExporterStatus::default()
        };
        let said = message("b/second", "a/first");
        let status = contended(&previous, &said, Some(2), at(5)).unwrap();
        assert_eq!(status.conditions.first(), previous.conditions.first());
        assert_eq!(status.conditions.len(), 2);
        assert_eq!(contended(&status, &said, Some(2), at(9)), None);
    }

    #[test]
    fn the_holder_keeps_the_condition_for_a_while() {
        let said = contended(&SecureExporterStatus::default(), "m", None, at(1000)).unwrap();
        let verdict = |since, now| verdict(&said.conditions, since, at(now)).is_some();
        assert!(verdict(Some(at(10)), 1010));
        assert!(verdict(None, 1010));
        assert!(!verdict(Some(at(10)), 1000 + 15 * 60));
        // The release that set it has taken over.
        assert!(!verdict(Some(at(1001)), 1010));
    }
}
