//! The condition `RequestsAccepted`: the rotations that a user requested by annotation. Pure.

use crate::{
    report::conditions::{self, Finding},
    rotation::{
        annotations::{Requests, Subject},
        state::State,
    },
};

/// Returns the condition `RequestsAccepted`; `None` if the resource has no such annotation.
pub fn accepted(requests: &Requests, state: Option<&State>) -> Option<Finding> {
    let finding = |holds, reason, message: String| {
        Some(Finding::new(
            conditions::REQUESTS_ACCEPTED,
            holds,
            reason,
            message,
        ))
    };
    if let Some(problem) = &requests.problem {
        return finding(
            false,
            "InvalidRequest",
            format!("{problem}. This part of the annotation is ignored."),
        );
    }
    let asked = || requests.asked();
    asked().next()?;
    let is_queued =
        |subject: &Subject| state.is_none_or(|state| requests.is_pending(*subject, &state.handled));
    let names = |subjects: &mut dyn Iterator<Item = Subject>| {
        let names: Vec<&str> = subjects.map(Subject::name).collect();
        names.join(", ")
    };
    let queued = names(&mut asked().filter(is_queued));
    let done = names(&mut asked().filter(|subject| !is_queued(subject)));
    match (queued.is_empty(), done.is_empty()) {
        (true, _) => finding(true, "Handled", format!("Handled: {done}.")),
        (false, true) => finding(true, "Queued", queue(&queued)),
        (false, false) => finding(
            true,
            "Queued",
            format!("Handled: {done}. {}", queue(&queued)),
        ),
    }
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
    fn every_request_is_reported_at_once() {
        assert_eq!(accepted(&Requests::default(), None), None);
        let invalid = accepted(&requests("leaf"), None).unwrap();
        assert_eq!(
            (invalid.holds, invalid.reason),
            (Some(false), "InvalidRequest")
        );
        let queued = accepted(&requests("ca, password:2"), None).unwrap();
        assert_eq!((queued.holds, queued.reason), (Some(true), "Queued"));
        assert!(
            queued.message.contains("ca, password"),
            "{}",
            queued.message
        );
    }
}
