//! The issuer after its check: which objects of whom the certificate and its authorities come from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    api::{
        AuthenticationMethod, CaBundleRef, IssuerRef, IssuerSpec, IssuerType, KeyRef,
        SecureExporterSpec,
    },
    names::Owner,
    spec::SpecError,
};

/// Who signs what the exporters serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ValidIssuer {
    /// The operator's own authority.
    Managed,
    /// Somebody else; a Secret holds what they signed.
    Provided {
        /// Name of the Secret.
        secret_name: String,
        /// Where the authorities are.
        bundle: Place,
    },
    /// An issuer of cert-manager.
    CertManager {
        /// Which.
        issuer: IssuerRef,
        /// Where the authorities are; `None` where the issuer names them.
        bundle: Option<Place>,
    },
}

/// A key of an object in the namespace of the resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Of which kind the object is.
    pub kind: PlaceKind,
    /// Name of the object.
    pub name: String,
    /// The key in its data.
    pub key: String,
}

/// What holds keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// What cert-manager was asked.
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
    /// Whether the operator signs itself.
    pub fn is_managed(&self) -> bool {
        *self == Self::Managed
    }

    /// Where the certificate comes from, for messages.
    pub fn source(&self) -> String {
        match self {
            Self::Managed => "the operator's own authority".to_owned(),
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
                "must be Managed where spec.authentication.methods holds ClientCertificate: client certificates are signed by the operator's own authority",
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
                "provided must be set if, and only if, type is Provided, and certManager if, and only if, it is CertManager",
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

/// What is generated from the resource cannot be where its certificate comes from: nobody would ever renew it.
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
            format!("{kind} {name:?} is made from this SecureExporter: name one of your own"),
        ));
    }
    Ok(())
}
