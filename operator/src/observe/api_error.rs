//! Failed requests to the API server. Pure.

use kube::core::response::StatusCause;

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
    /// The API server did not answer, or failed (5xx, timeouts, broken connections).
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

/// Returns the causes that the API server gave, each usually with a field of the object.
pub fn causes(error: &kube::Error) -> impl Iterator<Item = &StatusCause> {
    let status = match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    };
    let details = status.and_then(|status| status.details.as_ref());
    details.into_iter().flat_map(|details| &details.causes)
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
        other => other.to_string(),
    }
}
