//! What the API server said when a request failed. Pure.

/// What kind of failure it is, by the status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Another writer was faster (409).
    Conflict,
    /// The operator, or what it writes, is not allowed (403).
    Forbidden,
    /// The operator is not known (401).
    Unauthorized,
    /// The namespace is being deleted, and nothing can be made in it.
    NamespaceTerminating,
    /// The API server asks for patience (429).
    TooManyRequests,
    /// It did not answer, or could not (5xx, timeouts, broken connections).
    Unavailable,
    /// Everything else: the request itself is refused.
    Refused,
}

impl Class {
    /// Whether the same request may succeed soon without anybody's help.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Conflict
            | Self::NamespaceTerminating
            | Self::TooManyRequests
            | Self::Unavailable => true,
            Self::Forbidden | Self::Unauthorized | Self::Refused => false,
        }
    }
}

/// The class of an error.
pub fn class(error: &kube::Error) -> Class {
    let kube::Error::Api(status) = error else {
        return Class::Unavailable;
    };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    if causes.any(|cause| cause.reason == "NamespaceTerminating") {
        return Class::NamespaceTerminating;
    }
    match status.code {
        401 => Class::Unauthorized,
        403 => Class::Forbidden,
        409 => Class::Conflict,
        429 => Class::TooManyRequests,
        500.. => Class::Unavailable,
        _ => Class::Refused,
    }
}

/// The API server's own words.
pub fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => {
            format!("the API server answered {} {}", status.code, status.reason)
        }
        other => other.to_string(),
    }
}
