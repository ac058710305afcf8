//! Which Secrets a resource may reference. Pure.
//!
//! The operator reads Secrets with its own permissions, so the author of a resource can use a Secret that only the operator
//! may read. The content of a Secret that may not be referenced is not read, so that no message reveals it.

use k8s_openapi::api::core::v1::Secret;

use crate::names::{GENERATION_ANNOTATION, GROUP, MANAGED_BY, MANAGED_BY_LABEL, USABLE_LABEL};

/// What the content of a Secret is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The password of the scrapers.
    Password,
    /// Additional users with the hashes of their passwords.
    Users,
    /// A certificate with its key, or a CA bundle.
    Certificate,
}

impl Purpose {
    /// The types of Secrets that fit. A Secret of any other type, such as a token of a ServiceAccount, belongs to the program
    /// that defined the type.
    fn types(self) -> &'static [&'static str] {
        match self {
            Self::Password => &["Opaque", "kubernetes.io/basic-auth"],
            Self::Users => &["Opaque"],
            Self::Certificate => &["Opaque", "kubernetes.io/tls"],
        }
    }
}

/// Which Secrets a resource may reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferencePolicy {
    /// Every user-supplied Secret of an allowed type.
    #[default]
    AnyFitting,
    /// Of these, only those with the label [`USABLE_LABEL`].
    Labelled,
}

/// Why a Secret may not be referenced, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceProblem {
    /// The operator generated it.
    #[error(
        "it was generated for a SecureExporter, whose credentials must not be used by another one: reference a Secret that you supply"
    )]
    Generated,
    /// Its type does not fit.
    #[error("its type is {found:?}: use a Secret of type {}", purpose.types().join(" or "))]
    Type {
        /// Its type.
        found: String,
        /// What it should be used as.
        purpose: Purpose,
    },
    /// It does not have the label that the operator's administrator requires.
    #[error(
        "it does not have the label that the operator's administrator requires (--require-reference-label): if SecureExporters may use it, label it {USABLE_LABEL}: \"true\""
    )]
    Unlabelled,
}

impl ReferencePolicy {
    /// Checks whether a resource may use `secret` as this.
    ///
    /// # Errors
    /// [`ReferenceProblem`]
    pub fn check(self, secret: &Secret, purpose: Purpose) -> Result<(), ReferenceProblem> {
        if is_generated(secret) {
            return Err(ReferenceProblem::Generated);
        }
        let type_ = secret.type_.as_deref().unwrap_or("Opaque");
        if !purpose.types().contains(&type_) {
            return Err(ReferenceProblem::Type {
                found: type_.to_owned(),
                purpose,
            });
        }
        if self == Self::Labelled && label(secret, USABLE_LABEL) != Some("true") {
            return Err(ReferenceProblem::Unlabelled);
        }
        Ok(())
    }
}

/// Whether the operator generated the Secret, for any resource. A backup may restore it without owner.
fn is_generated(secret: &Secret) -> bool {
    let owners = secret.metadata.owner_references.iter().flatten();
    let is_ours = |api_version: &str| api_version.split('/').next() == Some(GROUP);
    let annotations = secret.metadata.annotations.as_ref();
    label(secret, MANAGED_BY_LABEL) == Some(MANAGED_BY)
        || annotations.is_some_and(|it| it.contains_key(GENERATION_ANNOTATION))
        || owners.into_iter().any(|owner| is_ours(&owner.api_version))
}

fn label<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    let labels = secret.metadata.labels.as_ref()?;
    labels.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(policy: ReferencePolicy, secret: Value) -> Result<(), ReferenceProblem> {
        policy.check(
            &serde_json::from_value(secret).unwrap(),
            Purpose::Certificate,
        )
    }

    #[test]
    fn a_generated_secret_is_refused_by_each_of_its_marks() {
        for metadata in [
            json!({"labels": {"app.kubernetes.io/managed-by": "secure-exporter-operator"}}),
            json!({"annotations": {"secureexporter.dev/state-generation": "3"}}),
            json!({"ownerReferences": [{"apiVersion": "secureexporter.dev/v1alpha1", "kind": "SecureExporter",
                "name": "other", "uid": "1"}]}),
        ] {
            let secret = json!({"type": "kubernetes.io/tls", "metadata": metadata});
            for policy in [ReferencePolicy::AnyFitting, ReferencePolicy::Labelled] {
                let refused = check(policy, secret.clone()).unwrap_err();
                assert_eq!(refused, ReferenceProblem::Generated, "{secret}");
            }
        }
        let owner = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "name": "x", "uid": "1"});
        let of_others = json!({
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "ownerReferences": [owner],
        });
        check(ReferencePolicy::AnyFitting, json!({"metadata": of_others})).unwrap();
    }

    #[test]
    fn only_a_type_for_the_purpose_fits() {
        let fits = |purpose, type_: Value| {
            let secret = json!({"metadata": {}, "type": type_});
            ReferencePolicy::AnyFitting.check(&serde_json::from_value(secret).unwrap(), purpose)
        };
        let (tls, basic) = ("kubernetes.io/tls", "kubernetes.io/basic-auth");
        for (purpose, fitting, others) in [
            (Purpose::Password, &["Opaque", basic][..], &[tls][..]),
            (Purpose::Users, &["Opaque"], &[tls, basic]),
            (Purpose::Certificate, &["Opaque", tls], &[basic]),
        ] {
            fits(purpose, json!(null)).unwrap();
            for type_ in fitting {
                fits(purpose, json!(type_)).unwrap();
            }
            for found in others.iter().chain(&[
                "kubernetes.io/service-account-token",
                "kubernetes.io/dockerconfigjson",
                "kubernetes.io/ssh-auth",
                "bootstrap.kubernetes.io/token",
                "helm.sh/release.v1",
                "secureexporter.dev/state",
            ]) {
                let refused = fits(purpose, json!(found)).unwrap_err();
                assert!(matches!(refused, ReferenceProblem::Type { .. }));
                let (text, named) = (refused.to_string(), fitting.join(" or "));
                assert!(
                    text.ends_with(&format!("use a Secret of type {named}")),
                    "{text}"
                );
                assert!(text.contains(found), "{text}");
            }
        }
    }

    #[test]
    fn where_a_label_is_required_only_its_value_true_counts() {
        let labelled = |labels: Value| {
            check(
                ReferencePolicy::Labelled,
                json!({"metadata": {"labels": labels}}),
            )
        };
        labelled(json!({"secureexporter.dev/usable": "true"})).unwrap();
        for labels in [
            json!({}),
            json!({"secureexporter.dev/usable": "false"}),
            json!({"usable": "true"}),
        ] {
            let refused = labelled(labels).unwrap_err();
            assert_eq!(refused, ReferenceProblem::Unlabelled);
            for words in [
                "--require-reference-label",
                "secureexporter.dev/usable: \"true\"",
            ] {
                assert!(refused.to_string().contains(words), "{refused}");
            }
        }
    }
}
