//! Failed requests to the API server. Pure.

use kube::core::response::StatusCause;

use crate::client::NoAnswer;

/// How to restore a right of the operator.
const MISSING_RIGHT: &str =
    "the chart's Role or ClusterRole grants this right: restore it, for example by helm upgrade";

/// The kind of failure, by the status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Another writer was faster (409).
    Conflict,
    /// The operator is not allowed to send the request, or an admission policy refused it (403).
    Forbidden,
    /// What the request is about does not exist (any more) (404).
    NotFound,
    /// The API server did not accept the operator's token (401).
    Unauthorized,
    /// The namespace is being deleted, so that nothing can be created in it.
    NamespaceTerminating,
    /// The API server is overloaded and asks to retry later (429).
    TooManyRequests,
    /// The API server did not answer in time.
    Timeout,
    /// The API server cannot be reached, or failed (5xx, broken connections).
    Unavailable,
    /// Any other status: the request itself is invalid.
    Refused,
}

impl Class {
    /// Whether a retry may succeed without any action of a user.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Conflict
            | Self::NamespaceTerminating
            | Self::NotFound
            | Self::Timeout
            | Self::TooManyRequests
            | Self::Unavailable => true,
            Self::Forbidden | Self::Unauthorized | Self::Refused => false,
        }
    }
}

/// Returns the class of an error.
pub fn class(error: &kube::Error) -> Class {
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::Service(error) if error.is::<NoAnswer>() => return Class::Timeout,
        // An object that this version cannot read stays so.
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => return Class::Refused,
        _ => return Class::Unavailable,
    };
    if causes(error).any(|cause| cause.reason == "NamespaceTerminating") {
        return Class::NamespaceTerminating;
    }
    match status.code {
        401 => Class::Unauthorized,
        403 => Class::Forbidden,
        404 => Class::NotFound,
        409 => Class::Conflict,
        429 => Class::TooManyRequests,
        500.. => Class::Unavailable,
        _ => Class::Refused,
    }
}

/// Returns the error of the API client that `error` is.
pub fn of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a kube::Error> {
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    error.downcast_ref::<kube::Error>().or_else(boxed)
}

/// Returns the error of the API client among an error and its causes. Its [`text`] is for users; the texts around it repeat
/// it with Rust's notation of the API server's whole answer.
pub fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a kube::Error> {
    std::iter::successors(Some(error), |error| error.source()).find_map(of)
}

/// Returns the causes that the API server gave, each usually with a field of the object.
pub fn causes(error: &kube::Error) -> impl Iterator<Item = &StatusCause> {
    let status = match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    };
    let details = status.and_then(|status| status.details.as_ref());
    details.into_iter().flat_map(|details| &details.causes)
}

/// Returns the API server's message about a failed read, and how to fix it. What may not be read is a matter of rights alone,
/// while a write may also be forbidden by an admission policy.
pub fn text_of_read(error: &kube::Error) -> String {
    match class(error) {
        Class::Forbidden => format!("{}; {MISSING_RIGHT}", text(error)),
        _ => text(error),
    }
}

/// Returns the API server's message.
pub fn text(error: &kube::Error) -> String {
    match error {
        // The text of this error repeats values of the answer, which may be secret.
        kube::Error::SerdeError(error) => format!(
            "the answer of the API server is not what was expected, at line {} column {}",
            error.line(),
            error.column()
        ),
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => {
            format!("the API server answered {} {}", status.code, status.reason)
        }
        kube::Error::Service(error) if error.is::<NoAnswer>() => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_missing_right_is_named_with_its_fix() {
        let refused = |code| {
            let status = Status::failure("secrets is forbidden", "").with_code(code);
            text_of_read(&kube::Error::Api(Box::new(status)))
        };
        assert_eq!(
            refused(403),
            format!("secrets is forbidden; {MISSING_RIGHT}")
        );
        assert_eq!(refused(500), "secrets is forbidden");
    }
}
