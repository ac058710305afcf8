//! The spec for renewals if no accepted spec is stored: the state was written by an earlier version or was lost, and the
//! resource's spec is invalid.

use crate::{
    api::SecureExporterSpec,
    names::Owner,
    spec::{
        SpecError, ValidCertificate, ValidSpec, basic_auth, certificate::renew_before_percentage,
        credentials::BcryptCost, issuer::ValidIssuer, methods::Methods, port, rotation, scrape,
        server_name,
    },
};
use secure_exporter_pki::{LeafParameters, inspect::inspect, issue::authority_generation};

impl ValidSpec {
    /// Takes names, key and lifetime from the serving certificate `leaf_pem`, every other field from `spec` where it is
    /// valid, and the default otherwise.
    ///
    /// # Errors
    /// The name of the resource is invalid, or the issuer is invalid and the operator did not sign the certificate.
    pub fn of_served(
        spec: &SecureExporterSpec,
        owner: &Owner,
        leaf_pem: &str,
    ) -> Result<Self, SpecError> {
        let default = Self::parse(&SecureExporterSpec::default(), owner)?;
        let default_cost = BcryptCost::default_of(&spec.authentication.basic_auth);
        let (username, bcrypt_cost) =
            basic_auth(&spec.authentication).unwrap_or((default.username, default_cost));
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
            bcrypt_cost: bcrypt_cost.cost,
            has_default_bcrypt_cost: bcrypt_cost.is_default,
            // Taken over unchecked: an unusable Secret changes nothing, but a reference that is gone would.
            password_secret: basic_auth.password_secret_ref.clone(),
            users_secret: users.map(|users| users.name.clone()),
            rotation: rotation(&spec.rotation, &spec.authentication).unwrap_or(default.rotation),
            scrape: scrape(&spec.scrape, owner).unwrap_or(default.scrape),
        })
    }
}

/// A certificate that the operator's own CA signed is renewed by it, even if `spec.tls.issuer` is invalid.
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
