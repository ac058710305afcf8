//! The condition `CertificateValid`. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::CertificateStatus,
    report::{
        conditions::{self, Finding, Verdict},
        seen::Served,
    },
    supplied::certificate::{Supply, SupplyProblem},
};
use secure_exporter_pki::BACKDATING;

/// A certificate that expires sooner than this should have been renewed long ago. For short-lived certificates, a tenth of
/// their lifetime counts instead.
const EXPIRING: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Reason of [`conditions::CERTIFICATE_VALID`] when a certificate has expired, so that every scrape fails.
const EXPIRED: &str = "Expired";

/// Returns the condition of the serving certificate, or that of the client certificate if only that one is invalid: scrapes
/// need both. `supply` is `None` where the next certificate could not be read.
pub fn validity(
    served: &Served<'_>,
    certificate: &CertificateStatus,
    client: Option<&CertificateStatus>,
    supply: Option<&Supply>,
    now: Timestamp,
) -> Verdict {
    let end = certificate.not_after.0;
    let (state, spec) = (served.state, served.spec);
    let backdating = state.backdating(state.leaf.authority_generation);
    let finding = certificate_finding("serving certificate", certificate, backdating, now);
    let next = match supply {
        Some(Supply::External(Err(problem))) if problem.is_passing() => None,
        Some(Supply::External(supplied)) => Some(supplied.as_ref().err()),
        _ if spec.issuer.is_managed() => return managed(finding, client, now).into(),
        _ => None,
    };
    match next {
        Some(problem) => {
            supplied_finding(finding, problem, &spec.issuer.source(), end, end <= now).into()
        }
        // What comes next could not be read: what was known of it stays, unless the current one is about to end.
        None if finding.holds == Some(true) => Verdict::AsBefore(conditions::CERTIFICATE_VALID),
        None => finding.into(),
    }
}

fn managed(finding: Finding, client: Option<&CertificateStatus>, now: Timestamp) -> Finding {
    let client =
        client.map(|client| certificate_finding("client certificate", client, BACKDATING, now));
    match client {
        Some(client) if finding.holds == Some(true) && client.holds == Some(false) => client,
        _ => finding,
    }
}

/// Returns the condition of the certificate that was served when the state was last readable. Whether and when it is renewed is
/// not known.
pub fn remembered(certificate: &CertificateStatus, now: Timestamp) -> Finding {
    let mut finding = certificate_finding("serving certificate", certificate, BACKDATING, now);
    if finding.holds == Some(true) {
        let end = certificate.not_after.0;
        finding.message = format!("The serving certificate is valid until {end}.");
    }
    finding
}

/// The condition of a certificate from another issuer, including the problem with the next one.
fn supplied_finding(
    served: Finding,
    problem: Option<&SupplyProblem>,
    source: &str,
    end: Timestamp,
    is_over: bool,
) -> Finding {
    let (holds, reason, message) = match problem {
        Some(problem) if is_over => (
            false,
            EXPIRED,
            format!("{} The next one cannot be used: {problem}.", served.message),
        ),
        Some(problem) => (
            false,
            problem.reason.text(),
            format!(
                "The next certificate cannot be used: {problem}. The exporters keep serving the current one, which expires at {end}."
            ),
        ),
        None if served.holds == Some(true) => (
            true,
            served.reason,
            format!(
                "The serving certificate is valid until {end}. The next one comes from {source}."
            ),
        ),
        None => (
            false,
            served.reason,
            format!("{} The next one must come from {source}.", served.message),
        ),
    };
    Finding::new(conditions::CERTIFICATE_VALID, holds, reason, message)
}

/// `backdating` is how long before its issue the validity of the certificate begins. It does not count as lifetime.
fn certificate_finding(
    what: &str,
    certificate: &CertificateStatus,
    backdating: SignedDuration,
    now: Timestamp,
) -> Finding {
    let end = certificate.not_after.0;
    let life = end.duration_since(certificate.not_before.0) - backdating;
    let soon = EXPIRING.min(SignedDuration::from_secs(life.as_secs() / 10));
    let finding = |holds, reason, message| {
        Finding::new(conditions::CERTIFICATE_VALID, holds, reason, message)
    };
    if end <= now {
        finding(
            false,
            EXPIRED,
            format!("The {what} expired at {end}, so every scrape fails."),
        )
    } else if end.duration_since(now) < soon {
        finding(
            false,
            "Expiring",
            format!("The {what} expires at {end} and should have been renewed by now."),
        )
    } else {
        finding(
            true,
            "Valid",
            format!(
                "The {what} is valid until {end} and will be renewed at {}.",
                certificate.renewal_time.0
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::supplied::certificate::SupplyReason;

    fn supplied(reason: &'static str, holds: bool, problem: Option<&SupplyProblem>) -> Finding {
        let served = Finding::new(
            conditions::CERTIFICATE_VALID,
            holds,
            reason,
            "The certificate was checked.",
        );
        supplied_finding(
            served,
            problem,
            "Secret corporate",
            Timestamp::UNIX_EPOCH,
            reason == EXPIRED,
        )
    }

    #[test]
    fn a_state_that_cannot_be_read_promises_no_renewal() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        let certificate = CertificateStatus {
            serial_number: "1".to_owned(),
            sha256_fingerprint: "1".to_owned(),
            not_before: at(0),
            not_after: at(1_000_000),
            renewal_time: at(600_000),
            ca_generation: 1,
            subject: String::new(),
            issuer: String::new(),
        };
        let message = |now| remembered(&certificate, at(now).0).message;
        let valid = "The serving certificate is valid until 1970-01-12T13:46:40Z.";
        assert_eq!(message(1), valid);
        assert!(message(1_000_000).contains("so every scrape fails"));
    }

    #[test]
    fn a_problem_with_the_next_certificate_does_not_hide_that_the_current_one_expired() {
        let problem = SupplyProblem::new(
            SupplyReason::KeyMismatch,
            "key tls.key of Secret corporate is wrong",
        );
        for (reason, holds, found, expected) in [
            ("Valid", true, None, "Valid"),
            ("Expiring", false, None, "Expiring"),
            ("Valid", true, Some(&problem), "KeyMismatch"),
            ("Expiring", false, Some(&problem), "KeyMismatch"),
            (EXPIRED, false, Some(&problem), EXPIRED),
        ] {
            let finding = supplied(reason, holds, found);
            assert_eq!(finding.reason, expected);
            assert_eq!(finding.holds, Some(found.is_none() && holds));
            assert!(finding.message.contains("Secret corporate"), "{finding:?}");
        }
    }
}
