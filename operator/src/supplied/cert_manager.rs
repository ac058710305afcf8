//! cert-manager's `CertificateRequest`, as far as it is spoken here: what is asked for, and what became of it. Pure.
//!
//! It is asked by request and not by `Certificate`, so that the key never leaves the operator, and the operator alone
//! says when a new certificate is served.

use k8s_openapi::ByteString;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::api::IssuerRef;

/// What is asked of an issuer. An issuer may give something else: what it gives is checked.
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
    /// The signing request, PEM.
    pub request: ByteString,
    /// How long the certificate is to be valid, as Go writes durations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What the certificate is for.
    #[serde(default)]
    pub usages: Vec<String>,
    /// Who is to sign.
    pub issuer_ref: IssuerRef,
}

/// What the issuer said.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct CertificateRequestStatus {
    /// Approved, Denied, InvalidRequest, Ready.
    #[serde(default)]
    pub conditions: Vec<RequestCondition>,
    /// The certificate, and the intermediates behind it, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ByteString>,
    /// The authority that signed it, PEM. Not every issuer says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<ByteString>,
}

/// One condition of a request.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RequestCondition {
    /// Its name.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word.
    #[serde(default)]
    pub reason: String,
    /// A sentence.
    #[serde(default)]
    pub message: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None yet. Most often it still comes, as when the issuer is made later.
    Pending {
        /// Why, in cert-manager's words.
        message: String,
    },
    /// None will ever come: it was denied, it failed, or it was found invalid.
    Refused {
        /// Why, in cert-manager's words.
        message: String,
    },
    /// A certificate, not yet checked.
    Issued {
        /// The certificate, and the intermediates behind it, PEM.
        certificate_pem: String,
        /// The authority, PEM, where the issuer says it.
        authority_pem: Option<String>,
    },
}

impl Answer {
    /// What the status of a request says.
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
                "it is approved, and nobody has signed it: does the controller of the issuer run?"
                    .to_owned()
            }
            None => "nobody has approved it: does cert-manager run, or an approver of its own?"
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
    fn an_issued_certificate_comes_with_its_authority_where_the_issuer_says_it() {
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
    fn what_will_never_be_signed_is_told_from_what_may_still_be() {
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
        assert!(pending(json!({"conditions": [approved]})).contains("nobody has signed it"));
        assert!(pending(json!({})).contains("nobody has approved it"));
        // Ready without a certificate is not ready.
        let ready = condition("Ready", "True", "Issued", "fetched");
        assert_eq!(pending(json!({"conditions": [ready]})), "fetched");
    }
}
