//! Reads what a pass needs besides the generated objects: user-supplied Secrets and certificates of other issuers. Takes the
//! answers of the exporters, and says whom to ask next.

use std::collections::BTreeSet;

use crate::{
    api::Advance,
    controller::pass::Pass,
    observe::{
        self,
        agenda::Topic,
        children::{Child, wanted_nodes},
        probe::Question,
    },
    report::problem::{Problem, Reading},
    rotation::{
        evidence::{Heard, Waiting},
        order::Order,
        plan::Issued,
        recall::Known,
        state::State,
    },
    spec::{ValidSpec, issuer::ValidIssuer},
    supplied::{
        certificate::{SupplyProblem, check},
        credentials::{SuppliedCredentials, UserSecret},
    },
};
use secure_exporter_pki::inspect::inspect;

impl Pass<'_> {
    /// Reads what users and other issuers supply; `None` if the pass cannot continue without it.
    pub(super) async fn read_supplied(
        &mut self,
        spec: &ValidSpec,
        known: &Known,
    ) -> Result<Option<(SuppliedCredentials, Issued)>, Problem> {
        // Before they are read, so that no later change is missed.
        self.context.dependents.set(self.owner, spec);
        let (client, namespace) = (&self.context.client, &self.owner.namespace);
        let policy = self.context.references;
        let own = observe::supplied_credentials(client, policy, namespace, spec).await;
        let own = own.unwrap_or_else(|source| {
            let problem = Problem::read(Reading::SuppliedCredentials, &source);
            self.problems.push(problem);
            SuppliedCredentials::unreadable(spec)
        });
        self.own = Some(own.clone());
        match (&known.state, &own.password) {
            (None, UserSecret::Invalid(problem)) => {
                return Err(Problem::NoPassword(problem.clone()));
            }
            (None, UserSecret::Unreadable) => return Ok(None),
            _ => {}
        }
        let issued = self.read_issued(spec, known.order.as_ref()).await;
        Ok(Some((own, issued)))
    }

    async fn read_issued(&mut self, spec: &ValidSpec, order: Option<&Order>) -> Issued {
        let (context, owner) = (self.context, self.owner);
        let provided = match &spec.issuer {
            ValidIssuer::Provided {
                secret_name,
                bundle,
            } => {
                let (client, policy) = (&context.client, context.references);
                let namespace = &owner.namespace;
                let read =
                    observe::supplied::provided(client, policy, namespace, secret_name, bundle);
                Some(match read.await {
                    Ok(material) => check(&material, &spec.server_name, self.now),
                    Err(source) => {
                        let problem = Problem::read(Reading::SuppliedCertificate, &source);
                        let unread = SupplyProblem::unread(problem.to_string());
                        self.problems.push(problem);
                        Err(unread)
                    }
                })
            }
            ValidIssuer::Managed | ValidIssuer::CertManager { .. } => None,
        };
        let (client, policy) = (&context.client, context.references);
        let read = observe::certificate_requests::read(client, policy, owner, spec, order).await;
        if let Some(source) = read.failure {
            let problem = Problem::read(Reading::CertificateRequests, &source);
            self.problems.push(problem);
        }
        Issued {
            provided,
            requests: read.requests,
            bundle: read.bundle,
        }
    }

    /// Takes what the exporters have answered; `None` if that is not known. They are asked in the background.
    pub(super) fn hear(&mut self) -> Option<Heard> {
        let daemon_set = match &self.observed.daemon_set {
            Child::Ours(daemon_set) => daemon_set,
            Child::Unknown(_) => return None,
            Child::Absent | Child::Foreign | Child::Restored(_) | Child::Leftover => {
                self.context.prober.forget(&self.owner.uid);
                return Some(Heard::default());
            }
        };
        let uid = daemon_set.metadata.uid.as_deref().unwrap_or_default();
        match self.context.prober.heard(self.owner, uid) {
            Ok(evidence) => {
                let evidence = evidence?;
                self.is_confirmed = evidence.is_confirmed;
                Some(Heard {
                    wanted: wanted_nodes(daemon_set),
                    exporters: evidence.exporters,
                })
            }
            Err(source) => {
                // Where exporters are not ready, the pods were read before.
                if !self.problems.iter().any(Problem::hides_pods) {
                    self.problems.push(Problem::read(Reading::Pods, &source));
                }
                None
            }
        }
    }

    /// Has the exporters asked about what is published now: often those that hold up a rotation, the others rarely.
    pub(super) fn direct_prober(&self, state: &State, spec: &ValidSpec) -> Result<(), Problem> {
        let Child::Ours(daemon_set) = &self.observed.daemon_set else {
            return Ok(());
        };
        // Where the questions cannot be prepared, nobody would ever be asked.
        Question::new(state, spec, self.now)?;
        let topic = Topic {
            daemon_set: daemon_set.metadata.uid.clone().unwrap_or_default(),
            generation: state.generation,
            serial_number: inspect(&state.leaf.certificate_pem)?.serial_number,
            is_asked: spec.rotation.advance == Advance::Observed,
        };
        let held = match &self.waiting {
            Waiting::NotKnown => None,
            Waiting::Nobody => Some(BTreeSet::new()),
            Waiting::For(tally) => {
                Some(tally.holding.iter().map(|(node, _)| node.clone()).collect())
            }
        };
        self.context.prober.direct(self.owner, topic, held);
        Ok(())
    }
}
