//! Why a pass could not do everything that a resource asks for, with the text for users and the category for metrics and
//! conditions.

use crate::{
    apply::{error::ApplyError, restorations::Restoration},
    lease::error::LeaseError,
    names::ChildKind,
    observe::api_error::{self, Class},
    render::RenderError,
    rotation::{carry_out::make::RotationError, state::format::StateError},
    spec::SpecError,
    supplied::{certificate::SupplyProblem, credentials::CredentialsProblem},
};
use secure_exporter_pki::InspectError;

/// A problem of a pass. It only stops the steps that depend on it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The spec is invalid, and an earlier one was accepted.
    #[error(
        "{0}. The spec was not accepted: the exporters keep running unchanged, and the operator still renews their certificates and passwords according to the last accepted spec"
    )]
    Spec(#[source] SpecError),
    /// The spec is invalid, and none was accepted before.
    #[error("{0}. The spec was not accepted, and no earlier one was, so nothing is issued")]
    FirstSpec(#[source] SpecError),
    /// The operator's policy forbids the pods of this spec.
    #[error(
        "{0}. The DaemonSet stays as it is, and the operator still renews certificates and passwords"
    )]
    Workload(#[source] SpecError),
    /// There is no password yet.
    #[error("nothing can be published yet, because there is no usable password: {0}")]
    NoPassword(#[source] CredentialsProblem),
    /// There is no serving certificate yet.
    #[error("nothing can be published yet, because there is no usable serving certificate: {0}")]
    IssuerNotReady(#[source] SupplyProblem),
    /// The state Secret is damaged.
    #[error(
        "cannot use Secret {name}: {source}. The exporters keep serving what they have, but nothing is renewed, and scrapes fail when the certificate expires. Restore the Secret from a backup; or delete it: the operator then writes it again from memory, or, if it was restarted since, rebuilds it from the Secrets {server} and {scrape}, and a new CA follows with overlap. Do not delete those two"
    )]
    State {
        /// Its name.
        name: String,
        /// Name of the Secret that the exporters mount.
        server: String,
        /// Name of the Secret that scrapers mount.
        scrape: String,
        /// What is wrong.
        #[source]
        source: StateError,
    },
    /// A certificate in the state cannot be read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The next state could not be created.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// Nothing safe could be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// An object could not be read.
    #[error("cannot read {}: {said}", what.text())]
    Read {
        /// The object or objects.
        what: Reading,
        /// The kind of failure.
        class: Class,
        /// The API server's message.
        said: String,
    },
    /// The Lease of the namespace could not be held.
    #[error(
        "cannot hold the Lease secure-exporter-operator, by which only one release of the operator serves the namespace: {said}"
    )]
    Lease {
        /// Whether another release may hold it.
        is_unread: bool,
        /// The kind of failure.
        class: Class,
        /// The API server's message.
        said: String,
    },
    /// A generated object could not be written.
    #[error("{source}")]
    Child {
        /// The object.
        child: ChildKind,
        /// The cause.
        #[source]
        source: ApplyError,
    },
    /// Another client deletes or changes a generated object again and again. It was restored each time.
    #[error("{}", repeated(.0))]
    Repeated(Restoration),
    /// The cluster has no PodMonitors, and the spec demands one.
    #[error(
        "spec.scrape.prometheusOperator.mode is Enabled, but the cluster has no PodMonitors: install the CustomResourceDefinitions of prometheus-operator, or set the mode to Auto"
    )]
    NoPodMonitors,
    /// Another object could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The task that generates keys was cancelled.
    #[error("cannot generate keys: the task was cancelled")]
    Interrupted,
}

/// What a pass reads besides the generated objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The pods of the DaemonSet.
    Pods,
    /// Its events, which say why a pod could not be created.
    Events,
    /// The user-supplied password and users.
    SuppliedCredentials,
    /// The user-supplied certificate.
    SuppliedCertificate,
    /// The certificates that are on order from cert-manager.
    CertificateRequests,
}

impl Reading {
    fn text(self) -> &'static str {
        match self {
            Self::Pods => "the pods of the DaemonSet",
            Self::Events => "the events of the DaemonSet",
            Self::SuppliedCredentials => "the Secrets in spec.authentication.basicAuth",
            Self::SuppliedCertificate => "the certificate in spec.tls.issuer",
            Self::CertificateRequests => "the CertificateRequests",
        }
    }
}

impl Problem {
    /// A failed read of `what`.
    pub fn read(what: Reading, source: &kube::Error) -> Self {
        Self::Read {
            what,
            class: api_error::class(source),
            said: api_error::text_of_read(source),
        }
    }

    /// A Lease that could not be held.
    pub fn lease(source: &LeaseError) -> Self {
        let (LeaseError::Unread(cause)
        | LeaseError::Unconfirmed(cause)
        | LeaseError::Unwritten(cause)) = source;
        Self::Lease {
            is_unread: matches!(source, LeaseError::Unread(_)),
            class: api_error::class(cause),
            said: match source {
                LeaseError::Unread(_) | LeaseError::Unconfirmed(_) => {
                    api_error::text_of_read(cause)
                }
                LeaseError::Unwritten(_) => api_error::text(cause),
            },
        }
    }

    /// Whether another release may serve the namespace, and it will be known soon.
    pub fn hides_holder(&self) -> bool {
        matches!(self, Self::Lease { is_unread: true, class, .. } if class.is_passing())
    }

    /// A generated object that could not be written.
    pub fn child(child: ChildKind, source: ApplyError) -> Self {
        Self::Child { child, source }
    }

    /// Whether only a change of the spec or of the operator's policy can solve it.
    pub fn is_of_spec(&self) -> bool {
        matches!(self, Self::Spec(_) | Self::FirstSpec(_) | Self::Workload(_))
    }

    /// Whether the state of the pods is unknown because of this: they, or their DaemonSet, could not be read.
    pub fn hides_pods(&self) -> bool {
        match self {
            Self::Read { what, .. } => *what == Reading::Pods,
            Self::Child { child, source } => *child == ChildKind::DaemonSet && source.is_unread(),
            _ => false,
        }
    }

    /// Whether the content of a generated object is not known because of this.
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Child { source, .. } if source.is_unread())
    }

    /// Whether the two published Secrets may not contain what the state prescribes because of this.
    pub fn is_of_publication(&self) -> bool {
        match self {
            Self::Child { child, .. } => matches!(
                child,
                ChildKind::State | ChildKind::Server | ChildKind::Scrape
            ),
            Self::Rotation(_) | Self::Render(_) | Self::State { .. } | Self::Inspect(_) => true,
            _ => false,
        }
    }

    /// Whether no rotation can continue because of this: each stage begins when everything of it is published.
    pub fn stops_rotations(&self) -> bool {
        match self {
            // Nobody reads the CA bundle from another's ConfigMap, so nothing waits for it.
            Self::Child {
                child: ChildKind::Bundle,
                source,
            } => !matches!(
                source,
                ApplyError::Taken { .. } | ApplyError::Restored { .. }
            ),
            _ => self.is_of_publication(),
        }
    }

    /// Whether another writer was faster, so that reading and deciding again solves it.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Child { source, .. } | Self::Apply(source) => source.is_conflict(),
            _ => false,
        }
    }

    /// The category, for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Spec(_) | Self::FirstSpec(_) => "InvalidSpec",
            Self::Workload(_) => "WorkloadRefused",
            Self::NoPassword(_) => "PasswordUnusable",
            Self::IssuerNotReady(_) => "IssuerNotReady",
            Self::State { .. } | Self::Inspect(_) => "StateDamaged",
            Self::Rotation(_) => "IssuanceFailed",
            Self::Render(_) => "NothingSafeToPublish",
            Self::Read { class, .. } => of_class(*class, "ReadFailed"),
            Self::Lease { class, .. } => of_class(*class, "LeaseFailed"),
            Self::Child { source, .. } | Self::Apply(source) => of_apply(source),
            Self::NoPodMonitors => "NoPodMonitors",
            Self::Repeated(_) => "RestoredRepeatedly",
            Self::Interrupted => "Interrupted",
        }
    }

    /// Whether a retry may succeed without any action of a user. Such a problem is logged and counted, but does not change
    /// conditions.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Read { class, .. } | Self::Lease { class, .. } => class.is_passing(),
            Self::Child { source, .. } | Self::Apply(source) => source.is_passing(),
            Self::Interrupted => true,
            _ => false,
        }
    }
}

fn repeated(last: &Restoration) -> String {
    let Restoration { kind, name, .. } = last;
    let (happens, fields) = match &last.fields[..] {
        [] => ("deletes", String::new()),
        fields => ("changes", format!(": {}", fields.join(", "))),
    };
    format!(
        "another client {happens} {kind} {name} again and again{fields}{}. The operator restores it at once each time, but until then exporters or scrapers may read something else. Find the client, and exclude objects with the label app.kubernetes.io/managed-by=secure-exporter-operator there. This message disappears ten minutes after that has ended",
        last.set_by()
    )
}

fn of_apply(error: &ApplyError) -> &'static str {
    match error {
        ApplyError::Taken { .. } => "ForeignObject",
        ApplyError::Orphaned { .. } => "NotFound",
        ApplyError::Restored { .. } => "RestoredObject",
        ApplyError::Leftover { .. } => "WaitingForGarbageCollector",
        ApplyError::Older { .. } => "OlderState",
        ApplyError::Immutable { .. } => "ImmutableField",
        ApplyError::Drift { .. } => "ForeignFields",
        ApplyError::Overtaken { .. } => "Conflict",
        ApplyError::Unread { class, .. } => of_class(*class, "ReadFailed"),
        ApplyError::Api { source, .. } => of_api(source, "WriteFailed"),
    }
}

fn of_api(error: &kube::Error, otherwise: &'static str) -> &'static str {
    of_class(api_error::class(error), otherwise)
}

fn of_class(class: Class, otherwise: &'static str) -> &'static str {
    match class {
        Class::Conflict => "Conflict",
        Class::Forbidden => "Forbidden",
        Class::Unauthorized => "Unauthorized",
        Class::NamespaceTerminating => "NamespaceTerminating",
        Class::NotFound => "NotFound",
        Class::Timeout => "ApiServerTimeout",
        Class::TooManyRequests => "ApiServerBusy",
        Class::Unavailable => "ApiServerUnavailable",
        Class::Refused => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_state_says_what_happens_when_it_is_deleted() {
        let problem = Problem::State {
            name: "nodes-state".into(),
            server: "nodes-server".into(),
            scrape: "nodes-scrape".into(),
            source: StateError::Missing {
                key: "leaf.key".into(),
            },
        };
        let text = problem.to_string();
        assert!(
            text.ends_with(
                "Restore the Secret from a backup; or delete it: the operator then writes it again from memory, or, if it was restarted since, rebuilds it from the Secrets nodes-server and nodes-scrape, and a new CA follows with overlap. Do not delete those two"
            ),
            "{text}"
        );
    }
}
