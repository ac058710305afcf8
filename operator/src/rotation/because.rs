//! Why a certificate is issued.

/// Why a serving or client certificate is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// There is none yet.
    First,
    /// Its renewal time has been reached.
    Due,
    /// The names, key, subject or duration in the spec changed.
    SpecChanged,
    /// A new CA signs now.
    NewAuthority,
    /// A user requested it by annotation.
    Requested,
    /// The issuer refused the previous request.
    Refused,
}

impl Because {
    /// The reason for events and logs.
    pub fn text(self) -> &'static str {
        match self {
            Self::First => "it is the first one",
            Self::Due => "its renewal time has been reached",
            Self::SpecChanged => "the spec changed",
            Self::NewAuthority => "a new CA signs now",
            Self::Requested => "it was requested by annotation",
            Self::Refused => "the issuer refused the previous request",
        }
    }
}
