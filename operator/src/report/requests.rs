//! The condition `RequestsAccepted`: the rotations that a user requested by annotation. Pure.

use crate::{
    names::{ADOPT_ANNOTATION, Owner},
    report::{
        conditions::{self, Finding, Verdict},
        seen::Served,
    },
    rotation::{
        adoption::Adoption,
        annotations::{Requests, Subject},
    },
    spec::issuer::ValidIssuer,
};

/// Reason of [`conditions::REQUESTS_ACCEPTED`] if a request was declined. The step itself was announced.
pub(crate) const DECLINED: &str = "Declined";

/// Returns the condition `RequestsAccepted`; `None` if the resource has no such annotation.
pub fn accepted(
    requests: &Requests,
    adoption: &Adoption,
    owner: &Owner,
    served: Option<&Served<'_>>,
) -> Option<Verdict> {
    const TYPE: &str = conditions::REQUESTS_ACCEPTED;
    let finding = |holds, reason, message: String| {
        Some(Verdict::Found(Finding::new(TYPE, holds, reason, message)))
    };
    if let Some(problem) = &requests.problem {
        return finding(
            false,
            "InvalidRequest",
            format!("{problem}. This part of the annotation is ignored."),
        );
    }
    if let Adoption::Mistaken(value) = adoption {
        return finding(
            false,
            "InvalidRequest",
            format!(
                "The annotation {ADOPT_ANNOTATION} has the value {value:?}, which is not the uid of this SecureExporter, so no restored object is adopted. Set it to {}, or remove it.",
                owner.uid
            ),
        );
    }
    requests.asked().next()?;
    let Some(served) = served else {
        return Some(Verdict::AsBefore(TYPE));
    };
    let answer = |subject: Subject| {
        if requests.is_pending(subject, &served.state.handled) {
            Answer::Queued
        } else if is_of_issuer(subject, &served.spec.issuer) {
            Answer::Declined
        } else {
            Answer::Handled
        }
    };
    let names = |wanted| {
        let subjects = requests
            .asked()
            .filter(|subject| answer(*subject) == wanted);
        let names: Vec<&str> = subjects.map(Subject::name).collect();
        names.join(", ")
    };
    let (queued, declined) = (names(Answer::Queued), names(Answer::Declined));
    let handled = names(Answer::Handled);
    let mut sentences = Vec::new();
    if !handled.is_empty() {
        sentences.push(format!("Handled: {handled}."));
    }
    if !declined.is_empty() {
        sentences.push(format!(
            "Declined: {declined}. Only the issuer in spec.tls.issuer can do this; the event RequestDeclined says what to do there."
        ));
    }
    if !queued.is_empty() {
        sentences.push(queue(&queued));
    }
    let reason = match (queued.is_empty(), declined.is_empty()) {
        (false, _) => "Queued",
        (true, false) => DECLINED,
        (true, true) => "Handled",
    };
    finding(reason != DECLINED, reason, sentences.join(" "))
}

/// What has become of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Queued,
    Declined,
    Handled,
}

/// Whether only the issuer can do what is requested.
fn is_of_issuer(subject: Subject, issuer: &ValidIssuer) -> bool {
    let is_ours = matches!(
        (subject, issuer),
        (_, ValidIssuer::Managed)
            | (Subject::Password, _)
            | (Subject::Certificate, ValidIssuer::CertManager { .. })
    );
    !is_ours
}

fn queue(queued: &str) -> String {
    format!(
        "Queued: {queued}. A rotation in progress must end first, and spec.rotation.state must be Active. See status.rotation for the current stage."
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::names::ROTATE_ANNOTATION;

    fn requests(value: &str) -> Requests {
        let annotations = BTreeMap::from([(ROTATE_ANNOTATION.to_owned(), value.to_owned())]);
        Requests::read(Some(&annotations))
    }

    #[test]
    fn a_request_is_answered_before_there_is_a_state() {
        let accepted =
            |requests: &Requests| accepted(requests, &Adoption::NotAsked, &owner(), None);
        assert_eq!(accepted(&Requests::default()), None);
        let Some(Verdict::Found(invalid)) = accepted(&requests("leaf")) else {
            panic!("an unknown word is answered at once");
        };
        assert_eq!(
            (invalid.holds, invalid.reason),
            (Some(false), "InvalidRequest")
        );
        let pending = accepted(&requests("ca"));
        assert_eq!(
            pending,
            Some(Verdict::AsBefore(conditions::REQUESTS_ACCEPTED))
        );
    }

    fn owner() -> Owner {
        Owner {
            name: "nodes".into(),
            namespace: "monitoring".into(),
            uid: "u-1".into(),
        }
    }

    #[test]
    fn a_mistaken_adoption_is_answered_with_the_right_uid() {
        let mistaken = Adoption::Mistaken("u-0".to_owned());
        let verdict = accepted(&Requests::default(), &mistaken, &owner(), None);
        let Some(Verdict::Found(finding)) = verdict else {
            panic!("not answered");
        };
        assert_eq!(finding.holds, Some(false));
        assert!(
            finding.message.contains("Set it to u-1"),
            "{}",
            finding.message
        );
    }

    #[test]
    fn only_the_issuer_can_replace_its_ca() {
        let provided = ValidIssuer::Provided {
            secret_name: "corporate".into(),
            bundle: crate::spec::issuer::Place::in_secret("corporate", "ca.crt"),
        };
        for (subject, declined) in [
            (Subject::Certificate, true),
            (Subject::Authority, true),
            (Subject::Password, false),
        ] {
            assert_eq!(is_of_issuer(subject, &provided), declined, "{subject:?}");
            assert!(!is_of_issuer(subject, &ValidIssuer::Managed));
        }
    }
}
