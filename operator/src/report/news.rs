//! Which problems are new, found by comparing two statuses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    api::SecureExporterStatus,
    report::{conditions, exporters, pods, requests},
};

/// Returns the condition's message if a rotation has become blocked since `previous`.
pub fn newly_blocked<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<&'a str> {
    let blocked = |condition: &&Condition| {
        condition.type_ == conditions::ROTATION_BLOCKED && condition.status == "True"
    };
    let now = current.conditions.iter().find(blocked)?;
    let before = previous.conditions.iter().find(blocked);
    before.is_none().then_some(now.message.as_str())
}

/// Returns the condition's reason and message if a user-supplied Secret has another problem than in `previous`.
pub fn newly_unaccepted<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<(&'a str, &'a str)> {
    let differs = |before: &Condition, now: &Condition| before.message != now.message;
    newly_false(conditions::CREDENTIALS_ACCEPTED, previous, current, differs)
}

/// Returns the condition's reason and message if the certificate has another problem than in `previous`. Compares the
/// reasons, because the message also contains times.
pub fn newly_invalid<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<(&'a str, &'a str)> {
    let differs = |before: &Condition, now: &Condition| before.reason != now.reason;
    newly_false(conditions::CERTIFICATE_VALID, previous, current, differs)
}

/// Returns the condition's reason and message if a request by annotation has another problem than in `previous`. That it was
/// declined is announced with the step.
pub fn newly_refused<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<(&'a str, &'a str)> {
    let differs = |before: &Condition, now: &Condition| before.message != now.message;
    let news = newly_false(conditions::REQUESTS_ACCEPTED, previous, current, differs);
    news.filter(|(reason, _)| *reason != requests::DECLINED)
}

/// Returns the reason and message of `Ready` if the exporters do not run for another reason than in `previous`.
pub fn newly_troubled<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<(&'a str, &'a str)> {
    let differs = |before: &Condition, now: &Condition| before.reason != now.reason;
    let news = newly_false(conditions::READY, previous, current, differs);
    news.filter(|(reason, _)| pods::TROUBLES.contains(reason))
}

/// Returns the condition's reason and message if exporters have begun to refuse the published credentials since `previous`.
/// The other reasons are usual for a short time.
pub fn newly_refusing<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<(&'a str, &'a str)> {
    let differs = |before: &Condition, now: &Condition| before.reason != now.reason;
    let news = newly_false(conditions::EXPORTERS_VERIFIED, previous, current, differs);
    news.filter(|(reason, _)| *reason == exporters::CREDENTIALS_REFUSED)
}

fn newly_false<'a>(
    name: &str,
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
    differs: impl Fn(&Condition, &Condition) -> bool,
) -> Option<(&'a str, &'a str)> {
    let is_false = |condition: &&Condition| condition.type_ == name && condition.status == "False";
    let now = current.conditions.iter().find(is_false)?;
    let before = previous.conditions.iter().find(is_false);
    let is_news = before.is_none_or(|before| differs(before, now));
    is_news.then_some((now.reason.as_str(), now.message.as_str()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::report::conditions::Finding;

    fn with(type_: &'static str, reason: &'static str, holds: bool) -> SecureExporterStatus {
        let finding = Finding::new(type_, holds, reason, "why");
        SecureExporterStatus {
            conditions: conditions::merge(&[], vec![finding.into()], None, Timestamp::UNIX_EPOCH),
            ..SecureExporterStatus::default()
        }
    }

    #[test]
    fn what_keeps_exporters_from_running_is_announced_once() {
        let ready = with(conditions::READY, "AllNodesServing", true);
        for reason in pods::TROUBLES {
            let troubled = with(conditions::READY, reason, false);
            assert_eq!(newly_troubled(&ready, &troubled), Some((reason, "why")));
            assert_eq!(newly_troubled(&troubled, &troubled), None);
            assert_eq!(newly_troubled(&troubled, &ready), None);
        }
        // Expected during every rollout.
        let rolling = with(conditions::READY, "DaemonSetNotReady", false);
        assert_eq!(newly_troubled(&ready, &rolling), None);
    }

    #[test]
    fn a_declined_request_has_one_event() {
        let accepted = with(conditions::REQUESTS_ACCEPTED, "Handled", true);
        let declined = with(conditions::REQUESTS_ACCEPTED, requests::DECLINED, false);
        assert_eq!(newly_refused(&accepted, &declined), None);
        let invalid = with(conditions::REQUESTS_ACCEPTED, "InvalidRequest", false);
        assert!(newly_refused(&accepted, &invalid).is_some());
    }

    #[test]
    fn only_another_problem_is_news() {
        let status = |reason, holds| with(conditions::CERTIFICATE_VALID, reason, holds);
        let (valid, wrong) = (status("Valid", true), status("KeyMismatch", false));
        assert_eq!(newly_invalid(&valid, &wrong), Some(("KeyMismatch", "why")));
        assert_eq!(newly_invalid(&wrong, &wrong), None);
        assert_eq!(newly_invalid(&wrong, &valid), None);
        let missing = status("SecretMissing", false);
        assert!(newly_invalid(&wrong, &missing).is_some());
    }
}
