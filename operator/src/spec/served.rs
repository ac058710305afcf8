//! The spec to go by where none was ever accepted under this operator's eyes: a state that an earlier version has written, or
//! that was lost, beside a resource whose spec is invalid now.

use crate::{
    api::SecureExporterSpec,
    names::Owner,
    spec::{
        SpecError, ValidCertificate, ValidSpec, basic_auth, certificate::renew_before_percentage,
        issuer::ValidIssuer, methods::Methods, port, rotation, scrape, server_name,
    },
};
use secure_exporter_pki::{LeafParameters, inspect::inspect, issue::authority_generation};

impl ValidSpec {
    /// What the served certificate `leaf_pem` says of itself (names, key and lifetime), and of everything else what of
    /// `spec` is valid, and the default for the rest.
    ///
    /// # Errors
    /// The name of the resource, or an issuer other than the operator.
    pub fn of_served(
        spec: &SecureExporterSpec,
        owner: &Owner,
        leaf_pem: &str,
    ) -> Result<Self, SpecError> {
        let default = Self::parse(&SecureExporterSpec::default(), owner)?;
        let (username, bcrypt_cost) =
            basic_auth(&spec.authentication).unwrap_or((default.username, default.bcrypt_cost));
        let basic_auth = &spec.authentication.basic_auth;
        let users = basic_auth.users_secret_ref.as_ref();
        Ok(Self {
            port: port(&spec.exporter).unwrap_or(default.port),
            network: spec.host_access.network,
            min_tls_version: spec.tls.min_version,
            server_name: server_name(spec, owner).unwrap_or(default.server_name),
            issuer: issuer(spec, owner, leaf_pem)?,
            certificate: ValidCertificate {
                parameters: LeafParameters::of_certificate(leaf_pem)
                    .unwrap_or(default.certificate.parameters),
                renew_before_percentage: renew_before_percentage(&spec.tls.certificate)
                    .unwrap_or(default.certificate.renew_before_percentage),
            },
            methods: Methods::parse(&spec.authentication.methods).unwrap_or(default.methods),
            username,
            bcrypt_cost,
            // As they are: a Secret that cannot be used changes nothing, and one that is not named any more would.
            password_secret: basic_auth.password_secret_ref.clone(),
            users_secret: users.map(|users| users.name.clone()),
            rotation: rotation(&spec.rotation, &spec.authentication).unwrap_or(default.rotation),
            scrape: scrape(&spec.scrape, owner).unwrap_or(default.scrape),
        })
    }
}

/// What is served by the operator's own authority is renewed by it, whatever is wrong with `spec.tls.issuer`.
fn issuer(
    spec: &SecureExporterSpec,
    owner: &Owner,
    leaf_pem: &str,
) -> Result<ValidIssuer, SpecError> {
    ValidIssuer::parse(spec, owner).or_else(|error| {
        let issuer = inspect(leaf_pem).map(|facts| facts.issuer);
        let is_ours = issuer.is_ok_and(|issuer| authority_generation(&issuer).is_some());
        if is_ours {
            Ok(ValidIssuer::Managed)
        } else {
            Err(error)
        }
    })
}
