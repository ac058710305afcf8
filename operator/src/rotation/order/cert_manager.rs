//! What is asked of an issuer of cert-manager, and what it has supplied. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use crate::{
    api::IssuerRef,
    names::Owner,
    rotation::{
        annotations::{Requests, Subject},
        because::Because,
        order::{Ask, LeafRequest, OrderStep, decide},
        state::State,
        timing::{Timers, renewal_time},
    },
    spec::{
        ValidSpec,
        issuer::{Place, PlaceKind},
    },
    supplied::{
        cert_manager::{Answer, Asked, CertificateRequest},
        certificate::{Found, Material, Supplied, Supply, SupplyProblem, check},
    },
};
use secure_exporter_pki::{InspectError, inspect::inspect};

/// Why what was issued can never be served, however long one waits: it is asked for anew.
const NEVER_USABLE: [&str; 5] = [
    "KeyMismatch",
    "NotALeaf",
    "SuppliedExpired",
    "NameMissing",
    "UsageMissing",
];

/// An issuer, and what was found of it in this pass.
pub struct Correspondence<'a> {
    /// What is asked for.
    pub spec: &'a ValidSpec,
    /// For whom.
    pub owner: &'a Owner,
    /// Who is asked.
    pub issuer: &'a IssuerRef,
    /// Every request that is there.
    pub asked: &'a Asked,
    /// When somebody was asked last, as far as this process knows.
    pub last_asked: Option<Timestamp>,
    /// The bundle that the spec names; `None` where the issuer names its authority itself.
    pub bundle: Option<&'a Found>,
    /// The waits.
    pub timers: &'a Timers,
    /// The time.
    pub now: Timestamp,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet: what stands in the way may end by itself, or by a person.
    Waiting(SupplyProblem),
    /// It was refused, or brought what can never be served.
    Refused(SupplyProblem),
    /// A certificate that may be served.
    Issued(Supplied),
}

impl Correspondence<'_> {
    /// A fingerprint of what is asked for, and of whom: where it differs from that of the leaf or of the request, another
    /// one is asked for.
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

    /// What became of `request`.
    pub fn outcome(&self, request: &LeafRequest) -> Outcome {
        let name = &self.owner.certificate_request(&request.hash());
        let found = match self.find(name) {
            Ok(found) => found,
            Err(problem) => return Outcome::Waiting(problem),
        };
        let Some(answer) = found.map(Answer::of) else {
            let message = format!("CertificateRequest {name} is being made");
            return Outcome::Waiting(SupplyProblem::new("IssuerNotReady", message));
        };
        match answer {
            Answer::Pending { message } => Outcome::Waiting(SupplyProblem::new(
                "IssuerNotReady",
                format!("{}: {message}", self.subject(name)),
            )),
            Answer::Refused { message } => self.refused(request, name, &message),
            Answer::Issued {
                certificate_pem,
                authority_pem,
            } => self.issued(request, name, certificate_pem, authority_pem),
        }
    }

    /// What happens to the request.
    ///
    /// # Errors
    /// The leaf in the state cannot be read.
    pub fn step(
        &self,
        outcome: Option<&(&LeafRequest, Outcome)>,
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

    /// Why the held leaf must be followed by another.
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

    /// When the leaf reaches its renewal time. An issuer whose certificates have reached it when they come is not asked
    /// again and again without a pause.
    ///
    /// # Errors
    /// The leaf in the state cannot be read.
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

    /// What the machine is to go by: the certificate that was issued, else the leaf that is held, unless a person should
    /// know why no other comes.
    pub fn supply(
        &self,
        outcome: Option<(&LeafRequest, Outcome)>,
        state: Option<&State>,
    ) -> Supply {
        let supplied = match outcome {
            Some((_, Outcome::Issued(supplied))) => Ok(supplied),
            Some((_, Outcome::Refused(problem))) => Err(problem),
            Some((request, Outcome::Waiting(problem))) => {
                // Most issuers answer a renewal within seconds, and a condition that comes and goes is noise.
                let is_young = request.attempt == 1
                    && self.now.duration_since(request.made) < self.timers.request_retry;
                state
                    .filter(|state| is_young && state.authority_progress.is_none())
                    .and_then(|state| self.held(state))
                    .unwrap_or(Err(problem))
            }
            None => state.and_then(|state| self.held(state)).unwrap_or_else(|| {
                let message = format!("{} is about to be asked", self.issuer_text());
                Err(SupplyProblem::new("IssuerNotReady", message))
            }),
        };
        Supply::External(supplied)
    }

    /// The leaf that is held, where it is what would be asked for, under the bundle that the spec names.
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
                "CertManagerMissing",
                "cert-manager is not installed: this cluster has no CertificateRequests. Install it, or set another spec.tls.issuer.type",
            )),
            Asked::Forbidden => Err(SupplyProblem::new(
                "CertManagerForbidden",
                format!(
                    "the operator may not ask cert-manager for certificates in namespace {}: upgrade its chart, whose role allows it",
                    self.owner.namespace
                ),
            )),
        }
    }

    fn refused(&self, request: &LeafRequest, name: &str, message: &str) -> Outcome {
        let again = match request.next_attempt(self.timers) {
            Some(next) => format!("; to be asked anew at {}", whole_seconds(next)),
            None => String::new(),
        };
        Outcome::Refused(SupplyProblem::new(
            "RequestRefused",
            format!("{}: {message}{again}", self.subject(name)),
        ))
    }

    fn issued(
        &self,
        request: &LeafRequest,
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
                    "BundleMissing",
                    format!(
                        "{} does not say which authority signs for it: set spec.tls.issuer.certManager.caBundleRef",
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
            Err(problem) if NEVER_USABLE.contains(&problem.reason) => {
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
