//! The parameters of client certificates.

use crate::spec::ValidSpec;
use secure_exporter_pki::{LeafParameters, Subject};

impl ValidSpec {
    /// The parameters of client certificates: key type and duration of the serving certificate, and the user name as common
    /// name. They contain no DNS names, because the exporters accept every client certificate that the CA signed.
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
