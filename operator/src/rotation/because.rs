//! Why a certificate is issued.

/// Why a leaf or a client certificate is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// There is none yet.
    First,
    /// It has reached its renewal time.
    Due,
    /// The spec asks for another one: other names, key, subject or duration.
    SpecChanged,
    /// Another authority signs now.
    NewAuthority,
    /// Somebody asked for it.
    Requested,
    /// The issuer refused the one that was asked for before.
    Refused,
}

impl Because {
    /// For events and logs.
    pub fn text(self) -> &'static str {
        match self {
            Self::First => "the first one",
            Self::Due => "renewal time reached",
            Self::SpecChanged => "the spec asks for another one",
            Self::NewAuthority => "a new authority signs",
            Self::Requested => "asked for by annotation",
            Self::Refused => "the issuer refused the one before",
        }
    }
}
