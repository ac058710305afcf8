//! One pass over one resource: observe → decide → render → apply → status.

mod asking;
mod telling;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{Resource, runtime::controller::Action};

use crate::{
    api::{Advance, SecureExporter, SecureExporterStatus},
    apply::{error::ApplyError, ownership::own},
    controller::{
        context::{Context, Remembered},
        reconcile::{
            asking::Desk,
            telling::{report, tell},
        },
        schedule::{AFTER_A_STEP, LONGEST_PAUSE, pause, retry_after, sample_age, until},
    },
    names::{ChildKind, Owner},
    observe::{
        children::Observed,
        exporters::{ask_all, running},
        observe, own_credentials,
        probe::Question,
        supplied::provided,
    },
    render,
    report::{problem::Problem, seen::Served, status},
    rotation::{
        annotations::{Requests, read_handled},
        carry_out::carry_out,
        decide::{self, awaits_exporters, next_deadline, tally},
        evidence::{Exporter, Tally},
        order::LeafRequest,
        situation::Situation,
        spec_in_force::spec_in_force,
        state::{State, rebuild::current_state},
        step::Step,
    },
    spec::{ParsedSpec, ValidSpec, ValidWorkload, issuer::ValidIssuer},
    supplied::{
        certificate::{Supply, SupplyProblem, check},
        credentials::{Own, OwnCredentials},
    },
};

/// One pass, counted and reported. It never fails as a whole: what cannot be carried out is reported, and the rest is done.
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
    let observed = observe(&context.client, &owner).await;
    let mut pass = Pass::begin(&resource, &owner, &context, &observed);
    if let Err(problem) = pass.run().await {
        pass.problems.push(problem);
    }
    report(&pass).await;
    let outcome = pass.problems.first().map_or("Success", Problem::category);
    context
        .metrics
        .passed(outcome, begin.elapsed().as_secs_f64());
    let retry = retry_after(&pass.problems, &owner, &context).unwrap_or(Duration::MAX);
    Ok(Action::requeue(pass.due.min(retry)))
}

/// A pass under way: what it found and did so far. Whatever stops it, this much is reported.
struct Pass<'a> {
    resource: &'a SecureExporter,
    owner: &'a Owner,
    context: &'a Context,
    observed: &'a Observed,
    now: Timestamp,
    clock_jumps: u64,
    /// What this process knew last.
    before: Option<Remembered>,
    /// What is asked for by annotation.
    requests: Requests,
    /// What the status said before.
    previous: SecureExporterStatus,
    /// The spec that is gone by; `None` where none was ever accepted.
    spec: Option<ValidSpec>,
    /// What the pods are made of; `None` where that is not accepted.
    workload: Option<ValidWorkload>,
    /// What is stored by now.
    state: Option<State>,
    /// What the user-supplied Secrets hold.
    own: Option<OwnCredentials>,
    /// Where the certificate comes from.
    supply: Option<Supply>,
    /// What exporters said.
    exporters: Vec<Exporter>,
    /// Whom a rotation waits for.
    waiting_for: Option<Tally>,
    /// What could not be carried out.
    problems: Vec<Problem>,
    /// When the next pass is due, whatever failed in this one.
    due: Duration,
}

impl<'a> Pass<'a> {
    fn begin(
        resource: &'a SecureExporter,
        owner: &'a Owner,
        context: &'a Context,
        observed: &'a Observed,
    ) -> Self {
        Self {
            resource,
            owner,
            context,
            observed,
            now: context.clock.now(),
            clock_jumps: context.clock.jumps(),
            before: context.remembered().get(&owner.uid).cloned(),
            requests: Requests::read(resource.meta().annotations.as_ref()),
            previous: resource.status.clone().unwrap_or_default(),
            spec: None,
            workload: None,
            state: None,
            own: None,
            supply: None,
            exporters: Vec::new(),
            waiting_for: None,
            problems: Vec::new(),
            due: LONGEST_PAUSE,
        }
    }

    /// What was asked for, as far as it can be carried out. An error ends the pass, and not its report.
    async fn run(&mut self) -> Result<(), Problem> {
        let (owner, context, observed, now) = (self.owner, self.context, self.observed, self.now);
        let stored = stored_state(observed, owner);
        let remembered = self.before.as_ref().map(|before| &before.state);
        let stored_ref = stored.as_ref().ok().and_then(|(state, _)| state.as_ref());
        let asked = ParsedSpec::parse(&self.resource.spec, owner, &context.images);
        self.spec = spec_in_force(
            asked.as_ref().ok().map(|asked| &asked.spec),
            stored_ref,
            remembered,
            &observed.published(),
            (&self.resource.spec, owner),
        );
        self.state = stored_ref.or(remembered).cloned();
        match asked {
            Ok(ParsedSpec {
                workload: Ok(workload),
                ..
            }) => self.workload = Some(workload),
            Ok(ParsedSpec {
                workload: Err(refused),
                ..
            }) => {
                self.problems.push(Problem::Workload(refused));
            }
            Err(error) if self.spec.is_some() => self.problems.push(Problem::Spec(error)),
            Err(error) => self.problems.push(Problem::FirstSpec(error)),
        }
        if let Err(source) = &observed.complaints {
            self.problems.push(Problem::read(
                "the pods and events of the DaemonSet",
                source,
            ));
        }
        let (stored, stored_request) = stored?;
        let Some(spec) = self.spec.clone() else {
            return Ok(());
        };
        let (known, rebuilt) = current_state(
            stored.as_ref(),
            remembered,
            &observed.published(),
            &read_handled(&self.previous.handled_requests),
            &spec,
            now,
        );
        if known.is_none() || rebuilt {
            // What could not be read may hold what must not be lost.
            check_readable(observed, owner)?;
        }
        self.state.clone_from(&known);
        if let Some(state) = &known {
            let served = Served { spec: &spec, state };
            let (certificate, client) = status::certificates(&served, owner)?;
            context
                .metrics
                .certificates(owner, &certificate, client.as_ref());
            // Whatever else goes wrong, the next renewal is not missed.
            self.due = until(certificate.renewal_time.0, now).min(LONGEST_PAUSE);
        }
        self.advance(spec, known, (stored, stored_request), rebuilt)
            .await
    }

    async fn advance(
        &mut self,
        spec: ValidSpec,
        known: Option<State>,
        (stored, stored_request): (Option<State>, Option<LeafRequest>),
        rebuilt: bool,
    ) -> Result<(), Problem> {
        let (owner, context, observed, now) = (self.owner, self.context, self.observed, self.now);
        let own = own_credentials(&context.client, &owner.namespace, &spec).await;
        let own = own.unwrap_or_else(|source| {
            self.problems
                .push(Problem::read("the Secrets of spec.authentication", &source));
            OwnCredentials::unread(&spec)
        });
        self.own = Some(own.clone());
        match (&known, &own.password) {
            (None, Own::Refused(problem)) => return Err(Problem::NoPassword(problem.clone())),
            (None, Own::Unread) => return Ok(()),
            _ => {}
        }
        let request = match (&stored, &self.before) {
            (None, Some(before)) if stored_request.is_none() => before.request.clone(),
            _ => stored_request.clone(),
        };
        let asked = self.before.as_ref().and_then(|before| before.asked);
        let mut desk = Desk::read(context, &spec, owner, request, asked).await;
        self.problems.extend(desk.problem.take());
        let (step, issued) = desk.look(known.as_ref(), &self.requests, now)?;
        if let Some(step) = step.filter(|_| stored == known) {
            self.supply = issued;
            desk.change(&step, stored, &self.requests, observed, now)
                .await?;
            desk.tell(self.resource, &step).await;
            self.due = AFTER_A_STEP;
            return Ok(());
        }
        if stored_request == desk.request {
            // One that was deleted is asked again as it was.
            self.problems
                .extend(desk.tidy().await.err().map(Problem::from));
        }
        let supply = match issued {
            Some(supply) => supply,
            None => self.supplied(&spec).await,
        };
        self.supply = Some(supply.clone());
        if let (None, Supply::External(Err(problem))) = (&known, &supply) {
            return if problem.is_passing {
                Ok(())
            } else {
                Err(Problem::IssuerNotReady(problem.clone()))
            };
        }
        let requests = self.requests.clone();
        let mut situation = Situation {
            spec: &spec,
            requests: &requests,
            own: &own,
            supply: &supply,
            uid: &owner.uid,
            published: is_published(stored.as_ref(), observed, &spec, owner),
            exporters: &[],
            timers: &context.timers,
            now,
            clock_jumped: self
                .before
                .as_ref()
                .is_some_and(|before| before.clock_jumps != self.clock_jumps),
        };
        let exporters = self.ask_exporters(known.as_ref(), &situation).await?;
        situation.exporters = &exporters;
        let steps = decide::decide(known.as_ref(), &situation)?;
        let state = next_state(&steps, known, &spec, owner, now).await?;
        let children = render::children(&spec, self.workload.as_ref(), owner, &state)?;

        desk.close(&state);
        let writer = context.writer();
        if stored.as_ref() != Some(&state) || stored_request != desk.request {
            // Ahead of everything that is made from it: after a crash the same material is found again.
            let secret = render::state_secret(owner, Some(&state), desk.request.as_ref());
            let written = writer.state(secret, &observed.state).await;
            written.map_err(|source| Problem::child(ChildKind::State, source))?;
        }
        self.state = Some(state.clone());
        let now_known = Remembered {
            owner: owner.clone(),
            state: state.clone(),
            request: desk.request.clone(),
            asked,
            clock_jumps: self.clock_jumps,
        };
        context.remembered().insert(owner.uid.clone(), now_known);
        let failed = writer.children(children, observed).await.into_iter();
        self.problems
            .extend(failed.map(|(child, source)| Problem::child(child, source)));
        self.problems
            .extend(desk.tidy().await.err().map(Problem::from));
        tell(self.resource, context, &steps, rebuilt).await;

        self.waiting_for =
            tally(&state, &situation).filter(|_| awaits_exporters(&state, &situation));
        let deadline = next_deadline(&state, &situation)?.min(desk.deadline(&state, now)?);
        self.due = pause(&steps, deadline, &state, &situation);
        Ok(())
    }

    /// What an issuer that is not asked has issued.
    async fn supplied(&mut self, spec: &ValidSpec) -> Supply {
        let ValidIssuer::Provided {
            secret_name,
            bundle,
        } = &spec.issuer
        else {
            return Supply::Managed;
        };
        let client = &self.context.client;
        let material = provided(client, &self.owner.namespace, secret_name, bundle).await;
        Supply::External(match material {
            Ok(material) => check(&material, &spec.server_name, self.now),
            Err(source) => {
                let problem = Problem::read("the certificate of spec.tls.issuer", &source);
                let unread = SupplyProblem::unread(problem.to_string());
                self.problems.push(problem);
                Err(unread)
            }
        })
    }

    /// What the exporters say: asked again where something waits for it, else now and then.
    async fn ask_exporters(
        &mut self,
        known: Option<&State>,
        situation: &Situation<'_>,
    ) -> Result<Vec<Exporter>, Problem> {
        let context = self.context;
        let (Some(state), Some(daemon_set)) = (known, self.observed.daemon_set.ours()) else {
            return Ok(Vec::new());
        };
        let age = sample_age(state, situation);
        if let Some(recent) = context.samples.recent(&self.owner.uid, age) {
            self.exporters.clone_from(&recent);
            return Ok(recent);
        }
        let running = match running(&context.client, self.owner, daemon_set).await {
            Ok(running) => running,
            Err(source) => {
                self.problems
                    .push(Problem::read("the pods of the DaemonSet", &source));
                // Nothing may be concluded from exporters that nobody could look for.
                return Ok(vec![Exporter::not_known()]);
            }
        };
        let spec = situation.spec;
        let question = match spec.rotation.advance {
            Advance::Timed => None,
            Advance::Observed => Some(Question::new(state, spec, situation.now)?),
        };
        let mut exporters = ask_all(running, question.as_ref()).await;
        context.samples.keep(&self.owner.uid, &mut exporters);
        self.exporters.clone_from(&exporters);
        Ok(exporters)
    }
}

fn is_published(
    stored: Option<&State>,
    observed: &Observed,
    spec: &ValidSpec,
    owner: &Owner,
) -> bool {
    stored
        .and_then(|state| render::children(spec, None, owner, state).ok())
        .is_some_and(|children| observed.shows(&children))
}

/// Whether everything that the state could be made again from could be read.
fn check_readable(observed: &Observed, owner: &Owner) -> Result<(), Problem> {
    let check = |child, found: Result<(), ApplyError>| match found {
        Err(source @ ApplyError::Unread { .. }) => Err(Problem::child(child, source)),
        _ => Ok(()),
    };
    let (server, scrape) = (owner.server_secret(), owner.scrape_secret());
    let bundle = owner.ca_config_map();
    check(
        ChildKind::Server,
        own(&observed.server, &server).map(|_| ()),
    )?;
    check(
        ChildKind::Scrape,
        own(&observed.scrape, &scrape).map(|_| ()),
    )?;
    check(
        ChildKind::Bundle,
        own(&observed.authority, &bundle).map(|_| ()),
    )
}

/// What is stored. An error forbids every write: what is not known must not be written over.
fn stored_state(
    observed: &Observed,
    owner: &Owner,
) -> Result<(Option<State>, Option<LeafRequest>), Problem> {
    let secret = own(&observed.state, &owner.state_secret())
        .map_err(|source| Problem::child(ChildKind::State, source))?;
    let Some(secret) = secret else {
        return Ok((None, None));
    };
    let nothing = Default::default();
    let data = secret.data.as_ref().unwrap_or(&nothing);
    let damaged = |source| Problem::State {
        name: owner.state_secret(),
        source,
    };
    let request = LeafRequest::from_data(data).map_err(damaged)?;
    if LeafRequest::is_alone_in(data) {
        return Ok((None, request));
    }
    let state = State::from_data(data).map_err(damaged)?;
    Ok((Some(state), request))
}

async fn next_state(
    steps: &[Step],
    known: Option<State>,
    spec: &ValidSpec,
    owner: &Owner,
    now: Timestamp,
) -> Result<State, Problem> {
    if let (true, Some(state)) = (steps.is_empty(), &known) {
        return Ok(state.clone());
    }
    let (steps, spec, owner) = (steps.to_vec(), spec.clone(), owner.clone());
    tokio::task::spawn_blocking(move || carry_out(&steps, known, &spec, &owner, now))
        .await
        .map_err(|_| Problem::Interrupted)?
        .map_err(Problem::Rotation)
}
