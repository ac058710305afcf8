//! The methods of authentication after their check (at least one, by construction), and the client certificate that one
//! of them asks for.

use serde::{Deserialize, Serialize};

use crate::{
    api::AuthenticationMethod,
    spec::{SpecError, ValidSpec},
};
use secure_exporter_pki::{LeafParameters, Subject};

/// What a scraper must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Methods {
    /// User name and password.
    Password,
    /// A client certificate.
    Certificate,
    /// Both.
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
                "must hold BasicAuth, ClientCertificate or both: nothing is served to everybody",
            )),
        }
    }
}

impl ValidSpec {
    /// What client certificates are issued with: the kind of key and the life of the served one, and the user's name.
    /// Nobody looks for a name in them: whom the authority signed for is let in.
    pub fn client_parameters(&self) -> LeafParameters {
        let served = &self.certificate.parameters;
        LeafParameters {
            key_type: served.key_type,
            subject: Subject {
                common_name: self.username.clone(),
                organization: None,
                organizational_unit: None,
                country: None,
                province: None,
                locality: None,
            },
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            duration: served.duration,
        }
    }
}
