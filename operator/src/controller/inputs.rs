//! Reads what a pass needs besides the generated objects: user-supplied Secrets, certificates of other issuers, and the answers
//! of the exporters.

use crate::{
    controller::{pass::Pass, schedule::sample_ages},
    observe::{
        self,
        children::Child,
        exporters::{Asking, HearError},
    },
    report::problem::{Problem, Reading},
    rotation::{evidence::Heard, order::Order, plan::Issued, recall::Known},
    spec::{ValidSpec, issuer::ValidIssuer},
    supplied::{
        certificate::{SupplyProblem, check},
        credentials::{SuppliedCredentials, UserSecret},
    },
};

impl Pass<'_> {
    /// Reads what users and other issuers supply; `None` if the pass cannot continue without it.
    pub(super) async fn read_supplied(
        &mut self,
        spec: &ValidSpec,
        known: &Known,
    ) -> Result<Option<(SuppliedCredentials, Issued)>, Problem> {
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

    /// Asks the exporters: often if a rotation waits for them, otherwise rarely. `None` if they could not be asked.
    pub(super) async fn hear(&mut self, spec: &ValidSpec, known: &Known) -> Option<Heard> {
        let context = self.context;
        let state = known.state.as_ref()?;
        let daemon_set = match &self.observed.daemon_set {
            Child::Ours(daemon_set) => daemon_set,
            Child::Unknown(_) => return None,
            Child::Absent | Child::Foreign | Child::Restored(_) | Child::Leftover => {
                return Some(Heard::default());
            }
        };
        let asking = Asking {
            client: &context.client,
            owner: self.owner,
            daemon_set,
            samples: &context.samples,
        };
        let ages = sample_ages(state, spec, &context.timers, self.now);
        match asking.hear(state, spec, ages, self.now).await {
            Ok((heard, expire_in)) => {
                self.ask_in = expire_in;
                Some(heard)
            }
            Err(error) => {
                let problem = match error {
                    HearError::Pods(source) => Problem::read(Reading::Pods, &source),
                    HearError::Question(error) => error.into(),
                };
                // Where exporters are not ready, the pods were read before.
                let is_known = self.problems.iter().any(Problem::hides_pods);
                if !(problem.hides_pods() && is_known) {
                    self.problems.push(problem);
                }
                None
            }
        }
    }
}
