//! One pass over one resource: observe → decide → render → apply → status.

mod asking;
mod telling;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{Client, Resource, runtime::controller::Action};

use crate::{
    api::{Advance, ImagePolicy, SecureExporter, ValidIssuer, ValidSpec},
    apply::Writer,
    backoff::PerObject,
    clock::Clock,
    events::Events,
    failure::ReconcileError,
    metrics::Metrics,
    names::Owner,
    observe::{
        Observed,
        exporters::{ask_all, running},
        observe, own_credentials,
        sample::Samples,
        status_request::Question,
        supply::provided,
    },
    own_credentials::Own,
    render,
    rotation::{
        Situation, Step, carry_out, decide,
        decide::{awaits_exporters, next_deadline, tally},
        evidence::Exporter,
        leaf_request::LeafRequest,
        rebuild::current_state,
        request::{Requests, read_handled},
        state::State,
        timing::Timers,
    },
    status::Published,
    supply::{Supply, check},
};

use self::{
    asking::Desk,
    telling::{report, tell, tell_status},
};

/// However quiet it is, each resource is looked at this often: a clock may have jumped, an event may have been lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How soon what was just written is read back.
const AFTER_A_STEP: Duration = Duration::from_secs(1);

/// How often the objects of another issuer and the Secrets of the user's own are read. They carry none of our labels, so no
/// watch tells of a change: to watch them, the operator would have to keep every Secret of the namespace in memory.
const FOREIGN_INTERVAL: Duration = Duration::from_secs(60);

/// What every pass needs.
pub struct Context {
    /// How to reach the API server.
    pub client: Client,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Which images may run.
    pub images: ImagePolicy,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is told.
    pub events: Events,
    /// Failures in a row.
    pub backoff: PerObject,
    /// The waits of the rotation.
    pub timers: Timers,
    /// What the exporters said last.
    pub samples: Samples,
    /// What was last known of each resource, by uid.
    pub remembered: Mutex<HashMap<String, Remembered>>,
}

impl Context {
    /// Forgets a resource that is gone: its secrets, its answers, its metrics.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.metrics.forget(namespace, name);
        self.remembered().retain(|uid, before| {
            let is_gone = before.owner.namespace == namespace && before.owner.name == name;
            if is_gone {
                self.samples.forget(uid);
            }
            !is_gone
        });
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            client: &self.client,
            metrics: &self.metrics,
        }
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was last known of a resource.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Whose it is.
    owner: Owner,
    /// Its state: what brings a deleted state Secret back as it was.
    state: State,
    /// What an issuer outside is asked for.
    request: Option<LeafRequest>,
    /// When that was asked for last.
    asked: Option<Timestamp>,
    /// How often the clock had jumped by then.
    clock_jumps: u64,
}

/// One pass, counted, told and reported.
///
/// # Errors
/// As [`ReconcileError`] says.
pub async fn reconcile(
    resource: Arc<SecureExporter>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let begin = Instant::now();
    let outcome = if resource.meta().deletion_timestamp.is_some() {
        Ok(Action::await_change())
    } else {
        pass(&resource, &context).await
    };
    let uid = resource.meta().uid.as_deref().unwrap_or_default();
    match &outcome {
        Ok(_) => {
            context.backoff.succeeded(uid);
            context.events.well(&resource);
            context
                .metrics
                .passed("Success", begin.elapsed().as_secs_f64());
        }
        Err(error) => {
            context
                .metrics
                .passed(error.category(), begin.elapsed().as_secs_f64());
            report(&resource, &context, error).await;
        }
    }
    outcome
}

/// How long to wait after a failure.
pub fn after_failure(
    resource: &SecureExporter,
    error: &ReconcileError,
    context: &Context,
) -> Action {
    let wait = match error.category() {
        "Conflict" => Duration::from_millis(200),
        "WaitingForGarbageCollector" => Duration::from_secs(1),
        category => {
            let uid = resource.meta().uid.as_deref().unwrap_or_default();
            let wait = context.backoff.failed(uid);
            match category {
                "IssuerNotReady" => wait.min(context.timers.probe_interval.unsigned_abs()),
                "PasswordUnusable" => wait.min(FOREIGN_INTERVAL),
                _ => wait,
            }
        }
    };
    Action::requeue(wait)
}

async fn pass(resource: &SecureExporter, context: &Context) -> Result<Action, ReconcileError> {
    let owner = Owner::of(resource).ok_or(ReconcileError::Nameless)?;
    let spec = ValidSpec::parse(&resource.spec, &owner, &context.images)?;
    let observed = observe(&context.client, &owner)
        .await
        .map_err(ReconcileError::Observe)?;
    check_ownership(&observed, &owner)?;

    let (now, clock_jumps) = (context.clock.now(), context.clock.jumps());
    let (stored, stored_request) = stored_state(&observed, &owner)?;
    let before = context.remembered().get(&owner.uid).cloned();
    let previous = resource.status.clone().unwrap_or_default();
    let (known, rebuilt) = current_state(
        stored.as_ref(),
        before.as_ref().map(|before| &before.state),
        &observed.published(),
        &read_handled(&previous.handled_requests),
        &spec,
        now,
    );
    let writer = context.writer();
    let requests = Requests::read(resource.meta().annotations.as_ref());
    let own = own_credentials(&context.client, &owner.namespace, &spec)
        .await
        .map_err(ReconcileError::Observe)?;
    if let (None, Own::Refused(problem)) = (&known, &own.password) {
        return Err(ReconcileError::NoPassword(problem.clone()));
    }
    let request = match (&observed.state, &before) {
        (None, Some(before)) => before.request.clone(),
        _ => stored_request.clone(),
    };
    let asked = before.as_ref().and_then(|before| before.asked);
    let mut desk = Desk::read(context, &spec, &owner, request, asked).await?;
    let (step, issued) = desk.look(known.as_ref(), &requests, now)?;
    if let Some(step) = step.filter(|_| stored == known) {
        desk.change(&step, stored, &requests, &observed, now)
            .await?;
        desk.tell(resource, &step).await;
        return Ok(Action::requeue(AFTER_A_STEP));
    }
    if stored_request == desk.request {
        // One that was deleted is asked again as it was.
        desk.tidy().await?;
    }
    let supply = match issued {
        Some(supply) => supply,
        None => supply(&context.client, &spec, &owner, now).await?,
    };
    if let (None, Supply::External(Err(problem))) = (&known, &supply) {
        return Err(ReconcileError::IssuerNotReady(problem.clone()));
    }
    let mut situation = Situation {
        spec: &spec,
        requests: &requests,
        own: &own,
        supply: &supply,
        uid: &owner.uid,
        published: is_published(stored.as_ref(), &observed, &spec, &owner),
        exporters: &[],
        timers: &context.timers,
        now,
        clock_jumped: before.is_some_and(|before| before.clock_jumps != clock_jumps),
    };
    let exporters = exporters(known.as_ref(), &situation, &observed, context, &owner).await?;
    situation.exporters = &exporters;
    let steps = decide(known.as_ref(), &situation)?;
    let state = next_state(&steps, known, &spec, &owner, now).await?;
    let children = render::children(&spec, &owner, &state)?;

    desk.close(&state);
    if stored.as_ref() != Some(&state) || stored_request != desk.request {
        // Ahead of everything that is made from it: after a crash the same material is found again.
        let secret = render::state_secret(&owner, Some(&state), desk.request.as_ref());
        writer.state(secret, observed.state.as_ref()).await?;
    }
    let now_known = Remembered {
        owner: owner.clone(),
        state: state.clone(),
        request: desk.request.clone(),
        asked,
        clock_jumps,
    };
    let uid = owner.uid.clone();
    context.remembered().insert(uid, now_known);
    writer.children(children, &observed).await?;
    desk.tidy().await?;
    tell(resource, context, &steps, rebuilt).await;

    let waiting_for = tally(&state, &situation).filter(|_| awaits_exporters(&state, &situation));
    let seen = Published {
        spec: &spec,
        owner: &owner,
        state: &state,
        daemon_set: observed.daemon_set.as_ref(),
        complaints: &observed.complaints,
        exporters: &exporters,
        waiting_for: waiting_for.as_ref(),
        requests: &requests,
        own: &own,
        supply: &supply,
    };
    tell_status(resource, context, &seen, &previous, now).await?;
    let deadline = next_deadline(&state, &situation)?.min(desk.deadline(&state, now)?);
    Ok(Action::requeue(pause(&steps, deadline, &state, &situation)))
}

/// What an issuer that is not asked has issued.
async fn supply(
    client: &Client,
    spec: &ValidSpec,
    owner: &Owner,
    now: Timestamp,
) -> Result<Supply, ReconcileError> {
    let ValidIssuer::Provided {
        secret_name,
        bundle,
    } = &spec.issuer
    else {
        return Ok(Supply::Managed);
    };
    let material = provided(client, &owner.namespace, secret_name, bundle)
        .await
        .map_err(ReconcileError::Observe)?;
    Ok(Supply::External(check(&material, &spec.server_name, now)))
}

fn is_published(
    stored: Option<&State>,
    observed: &Observed,
    spec: &ValidSpec,
    owner: &Owner,
) -> bool {
    stored
        .and_then(|state| render::children(spec, owner, state).ok())
        .is_some_and(|children| observed.shows(&children))
}

/// What the exporters say: asked anew where something waits for it, else now and then.
async fn exporters(
    known: Option<&State>,
    situation: &Situation<'_>,
    observed: &Observed,
    context: &Context,
    owner: &Owner,
) -> Result<Vec<Exporter>, ReconcileError> {
    let (Some(state), Some(daemon_set)) = (known, &observed.daemon_set) else {
        return Ok(Vec::new());
    };
    let age = sample_age(state, situation);
    if let Some(recent) = context.samples.recent(&owner.uid, age) {
        return Ok(recent);
    }
    let running = running(&context.client, owner, daemon_set)
        .await
        .map_err(ReconcileError::Observe)?;
    let spec = situation.spec;
    let question = match spec.rotation.advance {
        Advance::Timed => None,
        Advance::Observed => Some(Question::new(state, spec, situation.now)?),
    };
    let mut exporters = ask_all(running, question.as_ref()).await;
    context.samples.keep(&owner.uid, &mut exporters);
    Ok(exporters)
}

/// How old answers may be.
fn sample_age(state: &State, situation: &Situation<'_>) -> Duration {
    let timers = situation.timers;
    let age = if awaits_exporters(state, situation) {
        timers.probe_interval
    } else {
        timers.sample_interval
    };
    age.unsigned_abs()
}

fn check_ownership(observed: &Observed, owner: &Owner) -> Result<(), ReconcileError> {
    if let Some(object) = observed.leftover(owner) {
        return Err(ReconcileError::Leftover(object));
    }
    observed
        .foreign(owner)
        .map_or(Ok(()), |object| Err(ReconcileError::Foreign(object)))
}

fn stored_state(
    observed: &Observed,
    owner: &Owner,
) -> Result<(Option<State>, Option<LeafRequest>), ReconcileError> {
    let Some(secret) = &observed.state else {
        return Ok((None, None));
    };
    let nothing = Default::default();
    let data = secret.data.as_ref().unwrap_or(&nothing);
    let damaged = |source| ReconcileError::State {
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
) -> Result<State, ReconcileError> {
    if let (true, Some(state)) = (steps.is_empty(), &known) {
        return Ok(state.clone());
    }
    let (steps, spec, owner) = (steps.to_vec(), spec.clone(), owner.clone());
    tokio::task::spawn_blocking(move || carry_out(&steps, known, &spec, &owner, now))
        .await
        .map_err(|_| ReconcileError::Interrupted)?
        .map_err(ReconcileError::Rotation)
}

/// After a step the next look confirms that it was published; otherwise the next one is due when time or exporters may
/// bring something.
fn pause(
    steps: &[Step],
    deadline: Timestamp,
    state: &State,
    situation: &Situation<'_>,
) -> Duration {
    if !steps.is_empty() {
        return AFTER_A_STEP;
    }
    let left = deadline.duration_since(situation.now).as_secs().max(1);
    let is_managed = *situation.supply == Supply::Managed;
    let longest = if is_managed && !situation.spec.names_own_secrets() {
        LONGEST_PAUSE
    } else {
        FOREIGN_INTERVAL
    };
    Duration::from_secs(left.unsigned_abs())
        .min(sample_age(state, situation))
        .min(longest)
}
