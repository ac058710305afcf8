//! The condition that two releases of the operator watch one namespace. The release that does not serve it sets the condition
//! and confirms it every few minutes, and the one that serves it removes it when it has not been confirmed for a while. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::SecureExporterStatus,
    report::conditions::{self, CONTENDED, Finding, Verdict, whole_seconds},
};

/// How long the condition stays after it was confirmed.
const LASTS: SignedDuration = SignedDuration::from_mins(15);

/// How often it is confirmed.
const CONFIRMED_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// Returns the message of a release that leaves the namespace to another one.
pub fn message(release: &str, holder: &str) -> String {
    format!(
        "The operator of release {holder} serves this namespace: it holds the Lease secure-exporter-operator. The operator of release {release} watches the namespace, too, but changes nothing in it. Remove the namespace from the watchNamespaces of one of them. {release} takes over one minute after {holder} is stopped, or 15 minutes after it disappears"
    )
}

/// Whether the status has the condition with this message.
pub fn is_said(status: &SecureExporterStatus, message: &str) -> bool {
    let is_said = |one: &Condition| one.type_ == CONTENDED && one.message == message;
    status.conditions.iter().any(is_said)
}

/// Returns the status with the condition, confirmed now; `None` if that was done a short time ago.
pub fn contended(
    previous: &SecureExporterStatus,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<SecureExporterStatus> {
    let is_recent = |at: &Time| now.duration_since(at.0) < CONFIRMED_EVERY;
    if is_said(previous, message) && previous.contended_time.as_ref().is_some_and(is_recent) {
        return None;
    }
    let finding = Finding::new(CONTENDED, true, "ServedByAnotherRelease", message);
    let mut status = previous.clone();
    status.contended_time = Some(Time(whole_seconds(now)));
    status.conditions.retain(|one| one.type_ != CONTENDED);
    status.conditions.extend(conditions::merge(
        &previous.conditions,
        vec![finding.into()],
        generation,
        now,
    ));
    Some(status)
}

/// Returns the condition for the release that serves the namespace since `ours_since`; `None` if it is not confirmed any more.
/// One that was confirmed before this release acquired the Lease was set by this release itself, or is about an earlier holder.
pub fn verdict(
    previous: &SecureExporterStatus,
    ours_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<Verdict> {
    let set = |one: &Condition| one.type_ == CONTENDED;
    let at = previous.contended_time.as_ref()?.0;
    let is_current = ours_since.is_none_or(|since| at >= since) && now.duration_since(at) < LASTS;
    (is_current && previous.conditions.iter().any(set)).then_some(Verdict::AsBefore(CONTENDED))
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
        assert!(is_said(&status, &said) && !is_said(&previous, &said));
        assert_eq!(contended(&status, &said, Some(2), at(9)), None);
        assert!(contended(&status, "other", Some(2), at(9)).is_some());
    }

    #[test]
    fn the_condition_stays_as_long_as_both_releases_run() {
        let since = Some(at(0));
        let mut status = contended(&SecureExporterStatus::default(), "m", None, at(10)).unwrap();
        let mut written = 0;
        // Both look at it every 30 seconds, for three hours.
        for now in (0..360).map(|look| at(10 + 30 * look)) {
            if let Some(confirmed) = contended(&status, "m", None, now) {
                assert!(is_said(&status, "m"), "it would be announced again");
                (status, written) = (confirmed, written + 1);
            }
            assert!(verdict(&status, since, now).is_some(), "it is dropped");
        }
        let [condition] = &status.conditions[..] else {
            panic!("{:?}", status.conditions);
        };
        assert_eq!(condition.last_transition_time.0, at(10));
        assert_eq!(written, 35);
    }

    #[test]
    fn the_holder_drops_the_condition_when_the_other_release_is_gone() {
        let said = contended(&SecureExporterStatus::default(), "m", None, at(1000)).unwrap();
        let verdict = |since, now| verdict(&said, since, at(now)).is_some();
        assert!(verdict(Some(at(10)), 1010));
        assert!(verdict(None, 1010));
        assert!(!verdict(Some(at(10)), 1000 + 15 * 60));
        // The release that set it has taken over.
        assert!(!verdict(Some(at(1001)), 1010));
    }
}
