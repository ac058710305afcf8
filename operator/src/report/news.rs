//! Which problems are new, found by comparing two statuses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{api::SecureExporterStatus, report::conditions};

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

/// Returns the condition's reason and message if a request by annotation has another problem than in `previous`.
pub fn newly_refused<'a>(
    previous: &SecureExporterStatus,
    current: &'a SecureExporterStatus,
) -> Option<(&'a str, &'a str)> {
    let differs = |before: &Condition, now: &Condition| before.message != now.message;
    newly_false(conditions::REQUESTS_ACCEPTED, previous, current, differs)
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

    #[test]
    fn only_another_problem_is_news() {
        let status = |reason, holds| {
            let finding = Finding::new(conditions::CERTIFICATE_VALID, holds, reason, "why");
            SecureExporterStatus {
                conditions: conditions::merge(
                    &[],
                    vec![finding.into()],
                    None,
                    Timestamp::UNIX_EPOCH,
                ),
                ..SecureExporterStatus::default()
            }
        };
        let (valid, wrong) = (status("Valid", true), status("KeyMismatch", false));
        assert_eq!(newly_invalid(&valid, &wrong), Some(("KeyMismatch", "why")));
        assert_eq!(newly_invalid(&wrong, &wrong), None);
        assert_eq!(newly_invalid(&wrong, &valid), None);
        let missing = status("SecretMissing", false);
        assert!(newly_invalid(&wrong, &missing).is_some());
    }
}
