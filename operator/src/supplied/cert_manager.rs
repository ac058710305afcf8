//! The part of cert-manager's `CertificateRequest` that the operator uses. Pure.
//!
//! The operator creates a `CertificateRequest` and not a `Certificate`, so that the key never leaves the operator, and so
//! that the operator decides when a new certificate is served.

use k8s_openapi::ByteString;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::api::IssuerRef;

/// What is requested from an issuer. The issuer may return something else, so its certificate is checked.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "CertificateRequest",
    namespaced,
    status = "CertificateRequestStatus",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestSpec {
    /// The certificate signing request, PEM.
    pub request: ByteString,
    /// The requested lifetime, in Go's duration format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The requested key usages.
    #[serde(default)]
    pub usages: Vec<String>,
    /// The issuer that should sign.
    pub issuer_ref: IssuerRef,
}

/// The response of the issuer.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct CertificateRequestStatus {
    /// Approved, Denied, InvalidRequest, Ready.
    #[serde(default)]
    pub conditions: Vec<RequestCondition>,
    /// The certificate followed by its intermediates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ByteString>,
    /// The CA that signed it, PEM. Not every issuer returns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<ByteString>,
}

/// One condition of a request.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RequestCondition {
    /// The type of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// The reason, in CamelCase.
    #[serde(default)]
    pub reason: String,
    /// The message for users.
    #[serde(default)]
    pub message: String,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is no outcome yet. It usually still follows, for example when the issuer is created later.
    Pending {
        /// Why, in cert-manager's words.
        message: String,
    },
    /// There will never be a certificate: the request was denied, failed, or is invalid.
    Refused {
        /// Why, in cert-manager's words.
        message: String,
    },
    /// A certificate, not yet checked.
    Issued {
        /// The certificate followed by its intermediates, PEM.
        certificate_pem: String,
        /// The CA, PEM, if the issuer returned it.
        authority_pem: Option<String>,
    },
}

/// The requests of one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// The existing requests.
    Open(Vec<CertificateRequest>),
    /// cert-manager is not installed, so no request can be created.
    NotInstalled,
    /// The operator's role does not allow reading them.
    Forbidden,
    /// They could not be read, with the cause.
    Unread(String),
}

impl Answer {
    /// Reads the outcome from the status of a request.
    pub fn of(request: &CertificateRequest) -> Self {
        let nothing = CertificateRequestStatus::default();
        let status = request.status.as_ref().unwrap_or(&nothing);
        let condition = |type_: &str| status.conditions.iter().find(|it| it.type_ == type_);
        let holds = |type_: &str| condition(type_).filter(|it| it.status == "True");
        let ready = condition("Ready");
        let failed = ready.filter(|it| matches!(it.reason.as_str(), "Failed" | "Denied"));
        if let Some(refusal) = holds("InvalidRequest")
            .or_else(|| holds("Denied"))
            .or(failed)
        {
            let message = format!("{}: {}", refusal.reason, refusal.message);
            return Self::Refused { message };
        }
        if let (Some(_), Some(certificate_pem)) = (holds("Ready"), text(&status.certificate)) {
            return Self::Issued {
                certificate_pem,
                authority_pem: text(&status.ca),
            };
        }
        let message = match ready {
            Some(ready) => ready.message.clone(),
            None if holds("Approved").is_some() => {
                "the request is approved but not signed: check that the issuer's controller is running"
                    .to_owned()
            }
            None => "the request is not approved: check that cert-manager or your approver is running"
                .to_owned(),
        };
        Self::Pending { message }
    }
}

fn text(bytes: &Option<ByteString>) -> Option<String> {
    let text = String::from_utf8(bytes.as_ref()?.0.clone()).ok()?;
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(status: Value) -> Answer {
        let request = json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "CertificateRequest",
            "metadata": {"name": "nodes-1"},
            "spec": {"request": "Q1NS", "issuerRef": {"name": "ca"}},
            "status": status,
        });
        Answer::of(&serde_json::from_value(request).unwrap())
    }

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-24T22:59:26Z"})
    }

    #[test]
    fn an_issued_certificate_comes_with_its_ca_if_the_issuer_returns_it() {
        let ready = condition("Ready", "True", "Issued", "fetched");
        let issued = |authority_pem| Answer::Issued {
            certificate_pem: "CERT".into(),
            authority_pem,
        };
        assert_eq!(
            answer(json!({"conditions": [ready], "certificate": "Q0VSVA==", "ca": "Q0E="})),
            issued(Some("CA".into()))
        );
        assert_eq!(
            answer(json!({"conditions": [ready], "certificate": "Q0VSVA==", "ca": ""})),
            issued(None)
        );
    }

    #[test]
    fn refused_requests_are_distinguished_from_pending_ones() {
        let approved = condition("Approved", "True", "cert-manager.io", "approved");
        let refusals = [
            condition("Ready", "False", "Failed", "no such role"),
            condition("Ready", "False", "Denied", "no such role"),
            condition("Denied", "True", "Policy", "no such role"),
            condition("InvalidRequest", "True", "Policy", "no such role"),
        ];
        for refusal in refusals {
            let Answer::Refused { message } = answer(json!({"conditions": [approved, refusal]}))
            else {
                panic!("{refusal} is a refusal");
            };
            assert!(message.ends_with(": no such role"), "{message}");
        }
        let missing = condition("Ready", "False", "Pending", "issuer \"ca\" not found");
        let pending = |status| match answer(status) {
            Answer::Pending { message } => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            pending(json!({"conditions": [approved, missing]})),
            "issuer \"ca\" not found"
        );
        assert!(pending(json!({"conditions": [approved]})).contains("approved but not signed"));
        assert!(pending(json!({})).contains("not approved"));
        // Ready without a certificate is not ready.
        let ready = condition("Ready", "True", "Issued", "fetched");
        assert_eq!(pending(json!({"conditions": [ready]})), "fetched");
    }
}
