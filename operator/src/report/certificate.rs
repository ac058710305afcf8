//! What the status tells of the certificate that is served: the condition `CertificateValid`. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::CertificateStatus,
    report::{
        conditions::{self, Finding},
        seen::Served,
    },
    supplied::certificate::{Supply, SupplyProblem},
};
use secure_exporter_pki::BACKDATING;

/// A certificate that ends sooner than this should have been renewed long ago. Short certificates (in tests) are never
/// this long; for them a tenth of their life counts.
const EXPIRING: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Reason of [`conditions::CERTIFICATE_VALID`] where no scrape succeeds any more.
pub const EXPIRED: &str = "Expired";

/// The condition of the served certificate, unless that is well and the client certificate is not: without either, no
/// scrape succeeds. `supply` is `None` where nobody could look at what comes next.
pub fn validity(
    served: &Served<'_>,
    certificate: &CertificateStatus,
    client: Option<&CertificateStatus>,
    supply: Option<&Supply>,
    now: Timestamp,
) -> Finding {
    let end = certificate.not_after.0;
    let (state, spec) = (served.state, served.spec);
    let backdating = state.backdating(state.leaf.authority_generation);
    let finding = certificate_finding("certificate", certificate, backdating, now);
    if let Some(Supply::External(supply)) = supply {
        let problem = supply.as_ref().err().filter(|problem| !problem.is_passing);
        return supplied_finding(finding, problem, &spec.issuer.source(), end);
    }
    let client =
        client.map(|client| certificate_finding("client certificate", client, BACKDATING, now));
    match client {
        Some(client) if finding.holds == Some(true) && client.holds == Some(false) => client,
        _ => finding,
    }
}

/// The condition of the certificate that was served when the state could be read last.
pub fn remembered(certificate: &CertificateStatus, now: Timestamp) -> Finding {
    certificate_finding("certificate", certificate, BACKDATING, now)
}

/// The same of a certificate that somebody else supplies, with what is wrong with the next one.
fn supplied_finding(
    served: Finding,
    problem: Option<&SupplyProblem>,
    source: &str,
    end: Timestamp,
) -> Finding {
    let is_over = served.reason == EXPIRED;
    let (holds, reason, message) = match problem {
        Some(problem) if is_over => (false, EXPIRED, format!("{}. {problem}", served.message)),
        Some(problem) => (
            false,
            problem.reason,
            format!("{problem}. The certificate from before goes on being served, until {end}"),
        ),
        None if served.holds == Some(true) => (
            true,
            served.reason,
            format!("until {end}; the next one comes from {source}"),
        ),
        None => (
            false,
            served.reason,
            format!("{}: the next one has to come from {source}", served.message),
        ),
    };
    Finding::new(conditions::CERTIFICATE_VALID, holds, reason, message)
}

/// `backdating` is how much earlier than its issue its validity begins, which does not count as life.
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
        finding(false, EXPIRED, format!("the {what} ended at {end}"))
    } else if end.duration_since(now) < soon {
        finding(
            false,
            "Expiring",
            format!("the {what} ends at {end} and should have been renewed"),
        )
    } else {
        finding(
            true,
            "Valid",
            format!(
                "until {end}; to be renewed at {}",
                certificate.renewal_time.0
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supplied(reason: &'static str, holds: bool, problem: Option<&SupplyProblem>) -> Finding {
        let served = Finding::new(
            conditions::CERTIFICATE_VALID,
            holds,
            reason,
            "it was looked at",
        );
        supplied_finding(served, problem, "Secret corporate", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_problem_of_the_next_certificate_hides_no_end_of_the_served_one() {
        let problem = SupplyProblem::new("KeyMismatch", "key tls.key of Secret corporate is wrong");
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
