//! The client certificate that one of the methods asks for.

use crate::spec::ValidSpec;
use secure_exporter_pki::{LeafParameters, Subject};

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
