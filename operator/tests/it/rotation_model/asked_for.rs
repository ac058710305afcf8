//! What the resource asks for.

use secure_exporter_operator::{
    api::SecureExporterSpec,
    names::Owner,
    spec::{ValidSpec, issuer::ValidIssuer, methods::Methods},
};
use serde_json::{Value, json};

use super::{OVERLAP, World, own};

impl World {
    /// The resource's own spec, where it cannot be accepted: what of it is valid is what is asked for.
    pub(super) fn asked_for(&self) -> SecureExporterSpec {
        let mut spec = raw_spec(self.spec.methods);
        let basic_auth = &mut spec.authentication.basic_auth;
        basic_auth
            .password_secret_ref
            .clone_from(&self.spec.password_secret);
        let issuer = match &self.spec.issuer {
            ValidIssuer::Managed => json!({"type": "Managed"}),
            ValidIssuer::Provided { secret_name, .. } => {
                json!({"type": "Provided", "provided": {"secretName": secret_name}})
            }
            ValidIssuer::CertManager { issuer, .. } => {
                json!({"type": "CertManager", "certManager": {"issuerRef": issuer}})
            }
        };
        spec.tls.issuer = serde_json::from_value(issuer).unwrap();
        spec.exporter.collectors.enabled = vec!["cpuu".into()];
        spec
    }
}

pub fn spec(owner: &Owner, methods: Methods) -> ValidSpec {
    ValidSpec::parse(&raw_spec(methods), owner).unwrap()
}

fn raw_spec(methods: Methods) -> SecureExporterSpec {
    let users = match methods {
        Methods::Certificate => Value::Null,
        Methods::Password | Methods::PasswordAndCertificate => json!({"name": own::USERS}),
    };
    let methods = match methods {
        Methods::Password => json!(["BasicAuth"]),
        Methods::Certificate => json!(["ClientCertificate"]),
        Methods::PasswordAndCertificate => json!(["BasicAuth", "ClientCertificate"]),
    };
    let spec = json!({
        "tls": {"certificate": {"duration": "20h", "renewBeforePercentage": 33}},
        "authentication": {"methods": methods, "basicAuth": {"bcryptCost": 4, "rotationInterval": "12h", "usersSecretRef": users}},
        "rotation": {"clientOverlap": format!("{OVERLAP}m")},
    });
    serde_json::from_value(spec).unwrap()
}
