//! Certificates from a cert-manager issuer: what is requested, and the outcome. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use crate::{
    api::IssuerRef,
    names::Owner,
    rotation::{
        annotations::{Requests, Subject},
        because::Because,
        order::{Ask, Order, OrderStep, decide},
        state::State,
        timing::{Timers, renewal_time},
    },
    spec::{
        ValidSpec,
        issuer::{Place, PlaceKind},
    },
    supplied::{
        cert_manager::{Answer, Asked, CertificateRequest},
        certificate::{Found, Material, Supplied, Supply, SupplyProblem, SupplyReason, check},
    },
};
use secure_exporter_pki::{InspectError, inspect::inspect};

/// An issuer, and its requests as observed in this pass.
pub struct Correspondence<'a> {
    /// The spec.
    pub spec: &'a ValidSpec,
    /// The resource.
    pub owner: &'a Owner,
    /// The issuer.
    pub issuer: &'a IssuerRef,
    /// All existing requests of the resource.
    pub asked: &'a Asked,
    /// When a certificate was last requested, as far as this process knows.
    pub last_asked: Option<Timestamp>,
    /// The CA bundle in the spec; `None` if the issuer returns its CA.
    pub bundle: Option<&'a Found>,
    /// The timers.
    pub timers: &'a Timers,
    /// The current time.
    pub now: Timestamp,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is no certificate yet, for a reason that may still go away.
    Waiting(SupplyProblem),
    /// The request was refused, or its certificate can never be served.
    Refused(SupplyProblem),
    /// A certificate that may be served.
    Issued(Supplied),
}

impl Correspondence<'_> {
    /// Returns a fingerprint of the requested parameters and the issuer. If it differs from that of the serving certificate
    /// or of the request, another certificate is requested.
    pub fn parameters(&self) -> String {
        let IssuerRef { name, kind, group } = self.issuer;
        let wanted = self.spec.certificate.parameters.fingerprint();
        let digest = Sha256::digest(format!("{group}/{kind}/{name}\n{wanted}"));
        digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Returns the outcome of `request`.
    pub fn outcome(&self, request: &Order) -> Outcome {
        let name = &self.owner.certificate_request(&request.hash());
        let found = match self.find(name) {
            Ok(found) => found,
            Err(problem) => return Outcome::Waiting(problem),
        };
        let Some(answer) = found.map(Answer::of) else {
            let message = format!("CertificateRequest {name} is being created");
            return Outcome::Waiting(SupplyProblem::new(SupplyReason::IssuerNotReady, message));
        };
        match answer {
            Answer::Pending { message } => Outcome::Waiting(SupplyProblem::new(
                SupplyReason::IssuerNotReady,
                format!("{}: {message}", self.subject(name)),
            )),
            Answer::Refused { message } => self.refused(request, name, &message),
            Answer::Issued {
                certificate_pem,
                authority_pem,
            } => self.issued(request, name, certificate_pem, authority_pem),
        }
    }

    /// Returns the next step for the request.
    ///
    /// # Errors
    /// The serving certificate in the state cannot be parsed.
    pub fn step(
        &self,
        outcome: Option<&(&Order, Outcome)>,
        state: Option<&State>,
        requests: &Requests,
    ) -> Result<Option<OrderStep>, InspectError> {
        let pending = |state: &State| requests.is_pending(Subject::Certificate, &state.handled);
        let ask = Ask {
            parameters: Some(&self.parameters()),
            wanted: self.wanted(state, requests)?,
            requested: state.is_some_and(pending),
            is_refused: matches!(outcome, Some((_, Outcome::Refused(_)))),
            timers: self.timers,
            now: self.now,
        };
        Ok(decide(outcome.map(|(request, _)| *request), &ask))
    }

    /// Returns why the current serving certificate must be replaced.
    fn wanted(
        &self,
        state: Option<&State>,
        requests: &Requests,
    ) -> Result<Option<Because>, InspectError> {
        let Some(state) = state else {
            return Ok(Some(Because::First));
        };
        if state.leaf.parameters != self.parameters() {
            return Ok(Some(Because::SpecChanged));
        }
        if self.due(state)? <= self.now {
            return Ok(Some(Because::Due));
        }
        let requested = requests.is_pending(Subject::Certificate, &state.handled);
        Ok(requested.then_some(Because::Requested))
    }

    /// Returns when the serving certificate must be renewed. If an issuer's certificates are due as soon as they are issued,
    /// there is a pause between the requests.
    ///
    /// # Errors
    /// The serving certificate in the state cannot be parsed.
    pub fn due(&self, state: &State) -> Result<Timestamp, InspectError> {
        let leaf = &state.leaf;
        let due = renewal_time(
            &inspect(&leaf.certificate_pem)?,
            state.backdating(leaf.authority_generation),
            self.spec.certificate.renew_before_percentage,
            &self.owner.uid,
        );
        let asked = self.last_asked.filter(|asked| *asked <= self.now);
        let pause = asked.and_then(|asked| asked.checked_add(self.timers.request_retry).ok());
        Ok(pause.map_or(due, |pause| pause.max(due)))
    }

    /// Returns the supply for the rotation: the certificate that was issued, otherwise the current one, unless the user
    /// should know why no other one was issued.
    pub fn supply(&self, outcome: Option<(&Order, Outcome)>, state: Option<&State>) -> Supply {
        let supplied = match outcome {
            Some((_, Outcome::Issued(supplied))) => Ok(supplied),
            Some((_, Outcome::Refused(problem))) => Err(problem),
            Some((request, Outcome::Waiting(problem))) => {
                // Most issuers sign a renewal within seconds, and a condition that changes for seconds is noise.
                let is_young = request.attempt == 1
                    && self.now.duration_since(request.made) < self.timers.request_retry;
                state
                    .filter(|state| is_young && state.authority_progress.is_none())
                    .and_then(|state| self.held(state))
                    .unwrap_or(Err(problem))
            }
            None => state.and_then(|state| self.held(state)).unwrap_or_else(|| {
                let message = format!(
                    "a certificate is about to be requested from {}",
                    self.issuer_text()
                );
                Err(SupplyProblem::new(SupplyReason::IssuerNotReady, message))
            }),
        };
        Supply::External(supplied)
    }

    /// Returns the current serving certificate if it has the requested parameters, with the CA bundle in the spec.
    fn held(&self, state: &State) -> Option<Result<Supplied, SupplyProblem>> {
        let leaf = &state.leaf;
        if leaf.parameters != self.parameters() {
            return None;
        }
        let authority = state.authorities.get(&leaf.authority_generation);
        let bundle_pem = authority.map(|authority| authority.certificate_pem.clone());
        let held = Supplied {
            chain_pem: leaf.certificate_pem.clone(),
            key_pem: leaf.key_pem.clone(),
            bundle_pem: bundle_pem.unwrap_or_default(),
            parameters: leaf.parameters.clone(),
        };
        let Some(bundle) = self.bundle else {
            return Some(Ok(held));
        };
        let server = |key| Place::in_secret(&self.owner.server_secret(), key);
        let material = Material {
            chain: Found::text(server("tls.crt"), &leaf.certificate_pem),
            key: Found::text(server("tls.key"), leaf.key_pem.expose()),
            bundle: bundle.clone(),
        };
        let checked = check(&material, &self.spec.server_name, self.now);
        Some(checked.map(|checked| Supplied {
            bundle_pem: checked.bundle_pem,
            ..held
        }))
    }

    fn find(&self, name: &str) -> Result<Option<&CertificateRequest>, SupplyProblem> {
        match self.asked {
            Asked::Unread(why) => Err(SupplyProblem::unread(why)),
            Asked::Open(all) => Ok(all.iter().find(|one| one.name_any() == name)),
            Asked::NotInstalled => Err(SupplyProblem::new(
                SupplyReason::CertManagerMissing,
                "the cluster has no CertificateRequests, so cert-manager is not installed: install it, or change spec.tls.issuer.type",
            )),
            Asked::Forbidden => Err(SupplyProblem::new(
                SupplyReason::CertManagerForbidden,
                format!(
                    "the operator is not allowed to list the CertificateRequests in namespace {}: the chart's Role or ClusterRole grants this right; restore it, for example by helm upgrade",
                    self.owner.namespace
                ),
            )),
        }
    }

    fn refused(&self, request: &Order, name: &str, message: &str) -> Outcome {
        let again = match request.next_attempt(self.timers) {
            Some(next) => format!("; the next request follows at {}", whole_seconds(next)),
            None => String::new(),
        };
        Outcome::Refused(SupplyProblem::new(
            SupplyReason::RequestRefused,
            format!("{}: {message}{again}", self.subject(name)),
        ))
    }

    fn issued(
        &self,
        request: &Order,
        name: &str,
        certificate_pem: String,
        authority_pem: Option<String>,
    ) -> Outcome {
        let place = |kind, key: &str| Place {
            kind,
            name: name.to_owned(),
            key: key.to_owned(),
        };
        let answered = |key| place(PlaceKind::CertificateRequest, key);
        let bundle = match (self.bundle, authority_pem) {
            (Some(bundle), _) => bundle.clone(),
            (None, Some(pem)) => Found::text(answered("status.ca"), &pem),
            (None, None) => {
                return Outcome::Waiting(SupplyProblem::new(
                    SupplyReason::BundleMissing,
                    format!(
                        "{} does not return its CA: set spec.tls.issuer.certManager.caBundleRef to its CA bundle",
                        self.issuer_text()
                    ),
                ));
            }
        };
        let material = Material {
            chain: Found::text(answered("status.certificate"), &certificate_pem),
            key: Found::text(
                Place::in_secret(&self.owner.state_secret(), "request.key"),
                request.signing.key_pem.expose(),
            ),
            bundle,
        };
        match check(&material, &self.spec.server_name, self.now) {
            Ok(supplied) => Outcome::Issued(Supplied {
                parameters: request.parameters.clone(),
                ..supplied
            }),
            Err(problem) if problem.reason.is_final() => {
                self.refused(request, name, &problem.message)
            }
            Err(problem) => Outcome::Waiting(problem),
        }
    }

    fn subject(&self, name: &str) -> String {
        format!("CertificateRequest {name} to {}", self.issuer_text())
    }

    fn issuer_text(&self) -> String {
        format!("{} {}", self.issuer.kind, self.issuer.name)
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
