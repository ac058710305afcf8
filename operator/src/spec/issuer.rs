//! The validated issuer: where the serving certificate and its CA bundle come from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    api::{
        AuthenticationMethod, CaBundleRef, IssuerRef, IssuerSpec, IssuerType, KeyRef,
        SecureExporterSpec,
    },
    names::Owner,
    spec::error::SpecError,
};

/// Who signs the serving certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ValidIssuer {
    /// The operator's own CA.
    Managed,
    /// Any other issuer; the user supplies the certificate in a Secret.
    Provided {
        /// Name of the Secret.
        secret_name: String,
        /// Where the CA bundle is.
        bundle: Place,
    },
    /// A cert-manager issuer.
    CertManager {
        /// The issuer.
        issuer: IssuerRef,
        /// Where the CA bundle is; `None` if the issuer returns the CA with each certificate.
        bundle: Option<Place>,
    },
}

/// A key of an object in the namespace of the resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Kind of the object.
    pub kind: PlaceKind,
    /// Name of the object.
    pub name: String,
    /// The key in its data.
    pub key: String,
}

/// The kinds of objects that a [`Place`] is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PlaceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A CertificateRequest of cert-manager.
    CertificateRequest,
}

impl fmt::Display for PlaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::CertificateRequest => "CertificateRequest",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} of {} {}", self.key, self.kind, self.name)
    }
}

impl Place {
    /// A key of a Secret.
    pub fn in_secret(name: &str, key: &str) -> Self {
        Self {
            kind: PlaceKind::Secret,
            name: name.to_owned(),
            key: key.to_owned(),
        }
    }
}

const FIELD: &str = "spec.tls.issuer";

impl ValidIssuer {
    /// Whether the operator's own CA signs.
    pub fn is_managed(&self) -> bool {
        *self == Self::Managed
    }

    /// Where the serving certificate comes from, for messages.
    pub fn source(&self) -> String {
        match self {
            Self::Managed => "the operator's own CA".to_owned(),
            Self::Provided { secret_name, .. } => format!("Secret {secret_name}"),
            Self::CertManager { issuer, .. } => format!("{} {}", issuer.kind, issuer.name),
        }
    }

    pub(crate) fn parse(spec: &SecureExporterSpec, owner: &Owner) -> Result<Self, SpecError> {
        let issuer = Self::union(&spec.tls.issuer, owner)?;
        let methods = &spec.authentication.methods;
        if !issuer.is_managed() && methods.contains(&AuthenticationMethod::ClientCertificate) {
            return Err(SpecError::new(
                format!("{FIELD}.type"),
                "must be Managed when spec.authentication.methods contains ClientCertificate: the operator's own CA signs the client certificates",
            ));
        }
        Ok(issuer)
    }

    fn union(spec: &IssuerSpec, owner: &Owner) -> Result<Self, SpecError> {
        match (spec.type_, &spec.provided, &spec.cert_manager) {
            (IssuerType::Managed, None, None) => Ok(Self::Managed),
            (IssuerType::Provided, Some(provided), None) => {
                const PROVIDED: &str = "spec.tls.issuer.provided";
                let field = format!("{PROVIDED}.secretName");
                check_object(&field, PlaceKind::Secret, &provided.secret_name, owner)?;
                let named = provided.ca_bundle_ref.as_ref();
                let bundle = named.map(|reference| place(PROVIDED, reference, owner));
                let beside = || Place::in_secret(&provided.secret_name, "ca.crt");
                Ok(Self::Provided {
                    secret_name: provided.secret_name.clone(),
                    bundle: bundle.transpose()?.unwrap_or_else(beside),
                })
            }
            (IssuerType::CertManager, None, Some(cert_manager)) => {
                const CERT_MANAGER: &str = "spec.tls.issuer.certManager";
                let named = cert_manager.ca_bundle_ref.as_ref();
                let bundle = named.map(|reference| place(CERT_MANAGER, reference, owner));
                Ok(Self::CertManager {
                    issuer: cert_manager.issuer_ref.clone(),
                    bundle: bundle.transpose()?,
                })
            }
            _ => Err(SpecError::new(
                FIELD,
                "provided must be set if and only if type is Provided, and certManager if and only if type is CertManager",
            )),
        }
    }
}

fn place(field: &str, reference: &CaBundleRef, owner: &Owner) -> Result<Place, SpecError> {
    let field = format!("{field}.caBundleRef");
    let (kind, KeyRef { name, key }) =
        match (&reference.secret_key_ref, &reference.config_map_key_ref) {
            (Some(secret), None) => (PlaceKind::Secret, secret),
            (None, Some(config_map)) => (PlaceKind::ConfigMap, config_map),
            _ => {
                return Err(SpecError::new(
                    field,
                    "exactly one of secretKeyRef and configMapKeyRef must be set",
                ));
            }
        };
    check_object(&field, kind, name, owner)?;
    Ok(Place {
        kind,
        name: name.clone(),
        key: key.clone(),
    })
}

/// Refuses the resource's own generated objects as the source of its certificate, because nothing would renew it.
fn check_object(field: &str, kind: PlaceKind, name: &str, owner: &Owner) -> Result<(), SpecError> {
    let generated = match kind {
        PlaceKind::Secret => vec![
            owner.state_secret(),
            owner.server_secret(),
            owner.scrape_secret(),
        ],
        PlaceKind::ConfigMap => vec![owner.ca_config_map()],
        PlaceKind::CertificateRequest => Vec::new(),
    };
    if name.is_empty() || generated.iter().any(|own| own == name) {
        return Err(SpecError::new(
            field,
            format!(
                "{kind} {name:?} is generated for this SecureExporter: name one that you supply"
            ),
        ));
    }
    Ok(())
}
