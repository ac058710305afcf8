//! One pass over one resource: parse → observe → recall → plan → carry out → apply → report.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::ByteString;
use kube::{Resource, runtime::controller::Action};

use crate::{
    api::SecureExporter,
    apply::{Wanted, ownership::own},
    controller::{
        context::{Context, Remembered},
        pass::Pass,
        recall::recall,
        schedule::{AFTER_A_STEP, LONGEST_PAUSE, pause, retry_after, sample_age, until},
        telling::{report, tell},
    },
    names::{ChildKind, Owner},
    observe::{
        self,
        children::{Child, Observed},
        exporters::{Asking, HearError},
    },
    render,
    report::{problem::Problem, seen::Served, status},
    rotation::{
        annotations::read_handled,
        evidence::{Heard, Waiting},
        order::Order,
        plan::{Circumstances, Issued, Next, carry_out, plan},
        recall::{Known, Memory, Stored},
        spec_in_force::spec_in_force,
        state::{State, format::StateError},
        step::Step,
    },
    spec::{ParsedSpec, ValidSpec, issuer::ValidIssuer},
    supplied::{
        certificate::{Supply, SupplyProblem, check},
        credentials::{SuppliedCredentials, UserSecret},
    },
};

/// Runs and reports one pass. A pass never fails as a whole: problems are reported, and the rest is done.
///
/// # Errors
/// None.
pub async fn reconcile(
    resource: Arc<SecureExporter>,
    context: Arc<Context>,
) -> Result<Action, Infallible> {
    let begin = Instant::now();
    let owner = Owner::of(&resource);
    let (Some(owner), None) = (owner, &resource.meta().deletion_timestamp) else {
        return Ok(Action::await_change());
    };
    context.metrics.begun(&owner, context.clock.now());
    let observed = observe::observe(&context.client, &owner).await;
    let mut pass = Pass::begin(&resource, &owner, &context, &observed);
    if let Err(problem) = pass.run().await {
        pass.problems.push(problem);
    }
    if let Err(error) = report(&pass).await {
        pass.problems.push(Problem::Apply(error));
    }
    let outcome = pass.problems.first().map_or("Success", Problem::category);
    context
        .metrics
        .passed(outcome, begin.elapsed().as_secs_f64());
    let retry = retry_after(&pass.problems, &owner, &context).unwrap_or(Duration::MAX);
    Ok(Action::requeue(pass.due.min(retry)))
}

impl Pass<'_> {
    /// Does what the resource asks for as far as possible. An error ends the pass, but it is still reported.
    async fn run(&mut self) -> Result<(), Problem> {
        let Some((spec, known)) = self.recall().await? else {
            return Ok(());
        };
        let Some((own, issued)) = self.read_supplied(&spec, &known).await? else {
            return Ok(());
        };
        let (requests, published) = (self.requests.clone(), self.observed.published());
        self.heard = self.hear(&spec, &known).await;
        let heard = self.heard.clone().unwrap_or_default();
        let it = Circumstances {
            spec: &spec,
            owner: self.owner,
            requests: &requests,
            own: &own,
            issued: &issued,
            published: &published,
            heard: &heard,
            timers: &self.context.timers,
            now: self.now,
            clock_jumped: self.clock_jumped(),
        };
        let plan = plan(&known, &it)?;
        self.supply = Some(plan.supply.clone());
        let next = self.make(&plan.steps, known.clone(), &spec).await?;
        if !self.apply(&spec, &known, &next, &issued).await? {
            return Ok(());
        }
        self.is_complete = true;
        tell(self.resource, self.context, &plan.steps, known.is_rebuilt).await;
        let Some(state) = &next.state else {
            // There is nothing to serve before the first certificate.
            self.due = self.due_without_state(&next);
            return match &plan.supply {
                Supply::External(Err(problem)) if !problem.is_passing() => {
                    Err(Problem::IssuerNotReady(problem.clone()))
                }
                _ => Ok(()),
            };
        };
        let outlook = plan.outlook(&known, (state, next.order.as_ref()), &it)?;
        self.waiting = outlook.waiting;
        let is_watched = plan.supply == Supply::Managed && !spec.has_supplied_secrets();
        let awaits = self.waiting != Waiting::Nobody;
        self.due = if plan.steps.is_empty() {
            pause(
                outlook.deadline,
                self.now,
                awaits,
                is_watched,
                &self.context.timers,
            )
        } else {
            AFTER_A_STEP
        };
        Ok(())
    }

    /// The spec to go by, and what is known; `None` where no spec was ever accepted.
    async fn recall(&mut self) -> Result<Option<(ValidSpec, Known)>, Problem> {
        let (owner, observed) = (self.owner, self.observed);
        let stored = stored(observed, owner);
        let stored_state = stored.as_ref().ok().and_then(|it| it.state.as_ref());
        let remembered = self.memory.as_ref().and_then(|it| it.stored.state.as_ref());
        let asked = ParsedSpec::parse(&self.resource.spec, owner, &self.context.policy);
        self.spec = spec_in_force(
            asked.as_ref().ok().map(|asked| &asked.spec),
            stored_state,
            remembered,
            &observed.published(),
            (&self.resource.spec, owner),
        );
        self.state = stored_state.or(remembered).cloned();
        self.note_asked(asked);
        if let Some(Err(source)) = &observed.complaints {
            let problem = Problem::read("the pods and events of the DaemonSet", source);
            self.problems.push(problem);
        }
        let stored = stored?;
        let Some(spec) = self.spec.clone() else {
            return Ok(None);
        };
        let known = recall(
            stored,
            self.memory.as_ref(),
            &observed.published(),
            read_handled(&self.previous.handled_requests),
            &spec,
            self.now,
        )
        .await?;
        if known.state.is_none() || known.is_rebuilt || self.memory.is_none() {
            // An object that could not be read may contain what must not be lost.
            check_readable(observed, owner)?;
        }
        self.state.clone_from(&known.state);
        self.note_certificates(&spec)?;
        Ok(Some((spec, known)))
    }

    fn note_asked(&mut self, asked: Result<ParsedSpec, crate::spec::SpecError>) {
        match asked {
            Ok(ParsedSpec {
                workload: Ok(workload),
                ..
            }) => self.workload = Some(workload),
            Ok(ParsedSpec {
                workload: Err(refused),
                ..
            }) => self.problems.push(Problem::Workload(refused)),
            Err(error) if self.spec.is_some() => self.problems.push(Problem::Spec(error)),
            Err(error) => self.problems.push(Problem::FirstSpec(error)),
        }
    }

    /// Called before anything that may fail or take long, so that alerts have their series and the next renewal is not
    /// missed.
    fn note_certificates(&mut self, spec: &ValidSpec) -> Result<(), Problem> {
        let Some(state) = &self.state else {
            return Ok(());
        };
        let served = Served { spec, state };
        let (certificate, client) = status::certificates(&served, self.owner)?;
        let metrics = &self.context.metrics;
        metrics.certificates(self.owner, &certificate, client.as_ref());
        // One that is due already is tried again by the backoff.
        let renewal = certificate.renewal_time.0;
        if renewal > self.now {
            self.due = until(renewal, self.now).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Reads what users and other issuers supply; `None` if the pass cannot continue without it.
    async fn read_supplied(
        &mut self,
        spec: &ValidSpec,
        known: &Known,
    ) -> Result<Option<(SuppliedCredentials, Issued)>, Problem> {
        let (client, namespace) = (&self.context.client, &self.owner.namespace);
        let policy = self.context.references;
        let own = observe::supplied_credentials(client, policy, namespace, spec).await;
        let own = own.unwrap_or_else(|source| {
            let problem = Problem::read("the Secrets in spec.authentication.basicAuth", &source);
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
                        let problem = Problem::read("the certificate in spec.tls.issuer", &source);
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
            let problem = Problem::read("the CertificateRequests", &source);
            self.problems.push(problem);
        }
        Issued {
            provided,
            requests: read.requests,
            bundle: read.bundle,
        }
    }

    /// Asks the exporters: often if a rotation waits for them, otherwise rarely. `None` if they could not be asked.
    async fn hear(&mut self, spec: &ValidSpec, known: &Known) -> Option<Heard> {
        let context = self.context;
        let state = known.state.as_ref()?;
        let daemon_set = match &self.observed.daemon_set {
            Child::Ours(daemon_set) => daemon_set,
            Child::Unknown(_) => return None,
            Child::Absent | Child::Foreign | Child::Leftover => return Some(Heard::default()),
        };
        let asking = Asking {
            client: &context.client,
            owner: self.owner,
            daemon_set,
            samples: &context.samples,
        };
        let age = sample_age(state, spec, &context.timers, self.now);
        match asking.hear(state, spec, age, self.now).await {
            Ok(heard) => Some(heard),
            Err(error) => {
                self.problems.push(match error {
                    HearError::Pods(source) => Problem::read("the pods of the DaemonSet", &source),
                    HearError::Question(error) => error.into(),
                });
                None
            }
        }
    }

    /// Generates keys and hashes outside the async workers.
    async fn make(&self, steps: &[Step], known: Known, spec: &ValidSpec) -> Result<Next, Problem> {
        let (steps, spec, owner, now) =
            (steps.to_vec(), spec.clone(), self.owner.clone(), self.now);
        tokio::task::spawn_blocking(move || carry_out(&steps, known, &spec, &owner, now))
            .await
            .map_err(|_| Problem::Interrupted)?
            .map_err(Problem::Rotation)
    }

    /// Writes the state before everything that depends on it, and then each generated object that differs. Returns whether
    /// the state was stored; if not, nothing has changed.
    async fn apply(
        &mut self,
        spec: &ValidSpec,
        known: &Known,
        next: &Next,
        issued: &Issued,
    ) -> Result<bool, Problem> {
        let (owner, observed, writer) = (self.owner, self.observed, self.context.writer());
        let children = next.state.as_ref().and_then(|state| {
            let rendered = render::children(spec, self.workload.as_ref(), owner, state);
            // The state is stored all the same: the way out of it is planned from there.
            let problem = |error| self.problems.push(Problem::Render(error));
            rendered.map_err(problem).ok()
        });
        let stored = Stored {
            state: next.state.clone(),
            order: next.order.clone(),
        };
        let is_changed = stored != known.stored;
        let wanted = Wanted {
            state: is_changed
                .then(|| render::state_secret(owner, stored.state.as_ref(), stored.order.as_ref())),
            children,
        };
        let failed = writer.write(&wanted, observed).await;
        let is_stored = !failed.iter().any(|(child, _)| *child == ChildKind::State);
        let failed = failed.into_iter();
        self.problems
            .extend(failed.map(|(child, source)| Problem::child(child, source)));
        if !is_stored {
            return Ok(false);
        }
        self.state.clone_from(&stored.state);
        let memory = Memory {
            stored,
            last_ordered: next.last_ordered,
            clock_jumps: self.clock_jumps,
        };
        let remembered = Remembered {
            owner: owner.clone(),
            memory,
        };
        self.context
            .remembered()
            .insert(owner.uid.clone(), remembered);
        let wanted = match (&spec.issuer, &next.order) {
            (ValidIssuer::CertManager { issuer, .. }, Some(order)) => {
                Some(render::certificate_request(spec, owner, issuer, order))
            }
            _ => None,
        };
        let asked = writer.certificate_requests(wanted, &issued.requests).await;
        self.problems.extend(asked.err().map(Problem::from));
        Ok(true)
    }

    fn clock_jumped(&self) -> bool {
        let memory = self.memory.as_ref();
        memory.is_some_and(|memory| memory.clock_jumps != self.clock_jumps)
    }

    /// When the first certificate may have been issued.
    fn due_without_state(&self, next: &Next) -> Duration {
        let timers = &self.context.timers;
        let patience = next.order.as_ref().map(|it| it.patience(timers, self.now));
        patience.map_or(LONGEST_PAUSE, |patience| patience.unsigned_abs())
    }
}

/// Checks that every object could be read from which the state can be rebuilt.
fn check_readable(observed: &Observed, owner: &Owner) -> Result<(), Problem> {
    use crate::apply::error::ApplyError;
    let check = |child, found: Result<(), ApplyError>| match found {
        Err(source @ ApplyError::Unread { .. }) => Err(Problem::child(child, source)),
        _ => Ok(()),
    };
    let (server, scrape) = (owner.server_secret(), owner.scrape_secret());
    check(ChildKind::Server, own(&observed.server, &server).map(drop))?;
    check(ChildKind::Scrape, own(&observed.scrape, &scrape).map(drop))
}

/// Returns the stored state. An error forbids every write, because what is unknown must not be overwritten.
fn stored(observed: &Observed, owner: &Owner) -> Result<Stored, Problem> {
    let secret = own(&observed.state, &owner.state_secret())
        .map_err(|source| Problem::child(ChildKind::State, source))?;
    let Some(secret) = secret else {
        return Ok(Stored::default());
    };
    let nothing = Default::default();
    read_stored(secret.data.as_ref().unwrap_or(&nothing), owner)
}

fn read_stored(data: &BTreeMap<String, ByteString>, owner: &Owner) -> Result<Stored, Problem> {
    if data.is_empty() {
        // An order was withdrawn before there was a certificate, or everything in it was deleted.
        return Ok(Stored::default());
    }
    let damaged = |source: StateError| Problem::State {
        name: owner.state_secret(),
        source,
    };
    let order = Order::from_data(data).map_err(damaged)?;
    let state = if Order::is_alone_in(data) {
        None
    } else {
        Some(State::from_data(data).map_err(damaged)?)
    };
    Ok(Stored { state, order })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_secret_is_no_damaged_state() {
        let owner = Owner {
            name: "nodes".into(),
            namespace: "monitoring".into(),
            uid: "u".into(),
        };
        let stored = read_stored(&BTreeMap::new(), &owner).unwrap();
        assert_eq!(stored, Stored::default());
        let damaged = BTreeMap::from([("ca-1.crt".to_owned(), ByteString(Vec::new()))]);
        assert!(matches!(
            read_stored(&damaged, &owner),
            Err(Problem::State { .. })
        ));
    }
}
