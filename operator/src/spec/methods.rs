//! The validated authentication methods: at least one, by construction.

use serde::{Deserialize, Serialize};

use crate::{api::AuthenticationMethod, spec::error::SpecError};

/// How scrapers authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Methods {
    /// User name and password.
    Password,
    /// A client certificate.
    Certificate,
    /// User name and password, and a client certificate.
    PasswordAndCertificate,
}

impl Methods {
    /// Whether user name and password are required.
    pub fn ask_password(self) -> bool {
        self != Self::Certificate
    }

    /// Whether a client certificate is required.
    pub fn ask_certificate(self) -> bool {
        self != Self::Password
    }

    pub(crate) fn parse(methods: &[AuthenticationMethod]) -> Result<Self, SpecError> {
        let asks = |method| methods.contains(&method);
        match (
            asks(AuthenticationMethod::BasicAuth),
            asks(AuthenticationMethod::ClientCertificate),
        ) {
            (true, true) => Ok(Self::PasswordAndCertificate),
            (true, false) => Ok(Self::Password),
            (false, true) => Ok(Self::Certificate),
            (false, false) => Err(SpecError::new(
                "spec.authentication.methods",
                "must contain BasicAuth, ClientCertificate or both: authentication cannot be switched off",
            )),
        }
    }
}
