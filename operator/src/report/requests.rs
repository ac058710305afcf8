//! The condition `RequestsAccepted`: the rotations that a user requested by annotation. Pure.

use std::collections::BTreeMap;

use crate::{
    names::{ADOPT_ANNOTATION, DISTRUST_ANNOTATION, Owner},
    report::{
        conditions::{self, Finding, Verdict},
        seen::Served,
    },
    rotation::{
        adoption::Adoption,
        annotations::{Requests, Subject},
        password::{self, Obstacle},
    },
    spec::{ValidSpec, issuer::ValidIssuer},
    supplied::credentials::{PASSWORD_FIELD, SuppliedCredentials},
};

/// Reason of [`conditions::REQUESTS_ACCEPTED`] if a request was declined. The step itself was announced.
pub(crate) const DECLINED: &str = "Declined";

/// Reason of [`conditions::REQUESTS_ACCEPTED`] if exporters still accept a password that has leaked.
const NOT_REPLACED: &str = "PasswordNotReplaced";

/// What the answer to a request depends on.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// What is served; `None` if it is not known.
    pub served: Option<&'a Served<'a>>,
    /// The content of the user-supplied Secrets; `None` if the pass ended before it read them.
    pub own: Option<&'a SuppliedCredentials>,
    /// The handled requests whose outcome is published.
    pub published: &'a BTreeMap<String, String>,
}

/// Returns the condition `RequestsAccepted`; `None` if the resource has no such annotation.
pub fn accepted(
    requests: &Requests,
    adoption: &Adoption,
    owner: &Owner,
    progress: Progress<'_>,
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
    let Some(served) = progress.served else {
        return Some(Verdict::AsBefore(TYPE));
    };
    let obstacle = obstacle(served, progress.own);
    let answers: Vec<(Subject, Answer)> = requests
        .asked()
        .map(|subject| {
            (
                subject,
                answer(subject, requests, served, obstacle, progress.published),
            )
        })
        .collect();
    let sentences = Answer::ALL.into_iter().filter_map(|wanted| {
        let subjects = answers.iter().filter(|(_, answer)| *answer == wanted);
        let names: Vec<&str> = subjects.map(|(subject, _)| subject.name()).collect();
        let names = names.join(", ");
        (!names.is_empty()).then(|| wanted.sentence(&names, served.spec, obstacle))
    });
    let sentences: Vec<String> = sentences.collect();
    let worst = answers.iter().map(|(_, answer)| answer.reason()).max();
    let reason = worst.unwrap_or(Reason::Handled);
    let holds = !matches!(reason, Reason::Declined | Reason::NotReplaced);
    finding(holds, reason.text(), sentences.join(" "))
}

/// What has become of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Handled,
    Declined,
    /// It is decided, and not published yet.
    Unpublished,
    /// The trust should have ended in this pass, which could not store it.
    Due,
    /// A rotation waits for another one, or for the user.
    Queued,
    /// What the user wants cannot be read.
    Unread,
    /// The password that has leaked had to stay.
    NotReplaced,
}

/// The reasons of the condition. Of several, it has the last one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Handled,
    Declined,
    Queued,
    NotReplaced,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Handled => "Handled",
            Self::Declined => DECLINED,
            Self::Queued => "Queued",
            Self::NotReplaced => NOT_REPLACED,
        }
    }
}

impl Answer {
    const ALL: [Self; 7] = [
        Self::Handled,
        Self::Declined,
        Self::Unpublished,
        Self::Due,
        Self::Queued,
        Self::Unread,
        Self::NotReplaced,
    ];

    fn reason(self) -> Reason {
        match self {
            Self::Handled => Reason::Handled,
            Self::Declined => Reason::Declined,
            Self::Unpublished | Self::Due | Self::Queued | Self::Unread => Reason::Queued,
            Self::NotReplaced => Reason::NotReplaced,
        }
    }

    fn sentence(self, names: &str, spec: &ValidSpec, obstacle: Option<Obstacle<'_>>) -> String {
        let secret = spec.password_secret.as_ref();
        let secret = secret.map_or("", |secret| secret.name.as_str());
        match self {
            Self::Handled => format!("Handled: {names}."),
            Self::Declined => format!(
                "Declined: {names}. Only the issuer in spec.tls.issuer can do this; the event RequestDeclined says what to do there."
            ),
            Self::Unpublished => format!(
                "Queued: {names}. The new credentials are not published yet, so the old ones are still in use; the condition CredentialsPublished shows what prevents this."
            ),
            Self::Due => format!(
                "Queued: {names}. The old credentials are still in use; the conditions CredentialsPublished and Ready show what prevents their replacement."
            ),
            Self::Queued => format!(
                "Queued: {names}. A rotation in progress must end first, and spec.rotation.state must be Active. See status.rotation for the current stage."
            ),
            Self::Unread => format!(
                "Queued: {names}. Secret {secret} in {PASSWORD_FIELD} could not be read; the operator tries again."
            ),
            Self::NotReplaced => format!(
                "Not finished: {names}. Exporters still accept the password that leaked. {}",
                obstacle.map_or_else(String::new, |obstacle| way_out(obstacle, secret))
            ),
        }
    }
}

/// Why the password had to stay, and what the user can do.
fn way_out(obstacle: Obstacle<'_>, secret: &str) -> String {
    const THEN: &str = "As soon as the Secret contains another password, the operator drops the old one, without an overlap.";
    match obstacle {
        Obstacle::Unreadable => format!(
            "Secret {secret} in {PASSWORD_FIELD} could not be read; the operator tries again, and CredentialsAccepted says why if this lasts. {THEN}"
        ),
        Obstacle::Invalid(problem) => format!("It could not be replaced: {problem}. {THEN}"),
        Obstacle::Unchanged => format!(
            "Secret {secret} in {PASSWORD_FIELD} still contains it: put another password into the Secret. {THEN} If this password has not leaked, remove the annotation {DISTRUST_ANNOTATION}."
        ),
    }
}

/// Why a leaked password must stay for now.
fn obstacle<'a>(served: &Served<'_>, own: Option<&'a SuppliedCredentials>) -> Option<Obstacle<'a>> {
    let own = own.filter(|_| served.spec.methods.ask_password())?;
    password::obstacle(served.state, &own.password)
}

fn answer(
    subject: Subject,
    requests: &Requests,
    served: &Served<'_>,
    obstacle: Option<Obstacle<'_>>,
    published: &BTreeMap<String, String>,
) -> Answer {
    if requests.is_pending(subject, &served.state.handled) {
        match (subject, obstacle) {
            (Subject::DistrustAll, Some(_)) => Answer::NotReplaced,
            (Subject::DistrustAll | Subject::DistrustAuthority, _) => Answer::Due,
            (Subject::Password, Some(Obstacle::Unreadable)) => Answer::Unread,
            _ => Answer::Queued,
        }
    } else if requests.is_pending(subject, published) {
        Answer::Unpublished
    } else if is_of_issuer(subject, &served.spec.issuer) {
        Answer::Declined
    } else {
        Answer::Handled
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ROTATE_ANNOTATION;

    fn requests(value: &str) -> Requests {
        let annotations = BTreeMap::from([(ROTATE_ANNOTATION.to_owned(), value.to_owned())]);
        Requests::read(Some(&annotations))
    }

    #[test]
    fn a_request_is_answered_before_there_is_a_state() {
        let accepted = |requests: &Requests| {
            let published = BTreeMap::new();
            accepted(requests, &Adoption::NotAsked, &owner(), nothing(&published))
        };
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

    fn nothing(published: &BTreeMap<String, String>) -> Progress<'_> {
        Progress {
            served: None,
            own: None,
            published,
        }
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
        let published = BTreeMap::new();
        let requests = Requests::default();
        let verdict = accepted(&requests, &mistaken, &owner(), nothing(&published));
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
