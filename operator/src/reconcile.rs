//! One pass over one resource: observe → decide → render → apply → status.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{Client, Resource, runtime::controller::Action};

use crate::{
    api::{ImagePolicy, SecureExporter, SpecError, ValidSpec},
    apply::{ApplyError, Writer},
    backoff::PerObject,
    clock::Clock,
    events::Events,
    metrics::Metrics,
    names::Owner,
    observe::{Observed, observe},
    pki::InspectError,
    render::{self, RenderError},
    rotation::{
        RotationError, Step, carry_out, decide,
        decide::next_deadline,
        state::{State, StateError},
    },
    status::{self, Published, Stalled},
};

/// However quiet it is, each resource is looked at this often: a clock may have jumped, an event may have been lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

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
    /// The last state of each resource by uid: what brings a deleted state Secret back as it was.
    pub remembered: Mutex<HashMap<String, State>>,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The resource was never stored.
    #[error("the resource has no name, namespace or uid")]
    Nameless,
    /// The spec asks for what cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A child's name is taken.
    #[error(
        "{0} exists and was not made by this resource: it is not touched. Delete or rename it, or rename the SecureExporter"
    )]
    Foreign(String),
    /// The children of a deleted resource of the same name are still there.
    #[error(
        "{0} belongs to a deleted SecureExporter of the same name: waiting for the garbage collector"
    )]
    Leftover(String),
    /// The state Secret is damaged.
    #[error(
        "Secret {name}: {source}. Restore it from a backup; if there is none, delete it, and every scraper must read its Secret anew"
    )]
    State {
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        source: StateError,
    },
    /// A certificate in the state cannot be read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The next state could not be made.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// Nothing safe could be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The API server could not be read from.
    #[error("cannot read the children: {0}")]
    Observe(#[source] kube::Error),
    /// Something could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The task that makes keys was cancelled.
    #[error("making keys was interrupted")]
    Interrupted,
}

impl ReconcileError {
    /// A word of few, for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Nameless => "Nameless",
            Self::Spec(_) => "InvalidSpec",
            Self::Foreign(_) => "ForeignObject",
            Self::Leftover(_) => "WaitingForGarbageCollector",
            Self::State { .. } | Self::Inspect(_) => "StateDamaged",
            Self::Rotation(_) => "IssuanceFailed",
            Self::Render(_) => "NothingSafeToPublish",
            Self::Observe(_) => "ApiServerUnavailable",
            Self::Apply(ApplyError::Older { .. }) => "OlderState",
            Self::Apply(error) if error.is_conflict() => "Conflict",
            Self::Apply(error) if error.is_namespace_ending() => "NamespaceTerminating",
            Self::Apply(_) => "WriteFailed",
            Self::Interrupted => "Interrupted",
        }
    }

    /// Whether the same try may succeed by itself soon, and is no news to anybody.
    fn is_passing(&self) -> bool {
        matches!(
            self.category(),
            "Conflict"
                | "NamespaceTerminating"
                | "ApiServerUnavailable"
                | "Interrupted"
                | "WaitingForGarbageCollector"
        )
    }
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
        _ => context
            .backoff
            .failed(resource.meta().uid.as_deref().unwrap_or_default()),
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

    let now = context.clock.now();
    let stored = stored_state(&observed, &owner)?;
    let known = stored.clone().or_else(|| remembered(context, &owner));
    let steps = decide(&spec, known.as_ref(), &owner.uid, now)?;
    let state = next_state(&steps, known, &spec, &owner, now).await?;
    let children = render::children(&spec, &owner, &state)?;

    let writer = Writer {
        client: &context.client,
        metrics: &context.metrics,
    };
    if stored.as_ref() != Some(&state) {
        // Ahead of everything that is made from it: after a crash the same material is found again.
        writer
            .state(
                render::state_secret(&owner, &state),
                observed.state.as_ref(),
            )
            .await?;
    }
    remember(context, &owner, &state);
    writer.children(children, &observed).await?;
    tell(resource, context, &steps).await;

    let seen = Published {
        spec: &spec,
        owner: &owner,
        state: &state,
        daemon_set: observed.daemon_set.as_ref(),
        complaints: &observed.complaints,
    };
    let previous = resource.status.clone().unwrap_or_default();
    let status = status::published(&previous, resource.meta().generation, &seen, now)?;
    if let Some(certificate) = &status.certificate {
        let end = certificate.not_after.0.as_second() as f64;
        context.metrics.certificate_ends(&owner, end);
    }
    writer.status(resource, &owner, &status).await?;
    Ok(Action::requeue(pause(
        next_deadline(&spec, &state, &owner.uid)?,
        now,
    )))
}

fn check_ownership(observed: &Observed, owner: &Owner) -> Result<(), ReconcileError> {
    if let Some(object) = observed.leftover(owner) {
        return Err(ReconcileError::Leftover(object));
    }
    observed
        .foreign(owner)
        .map_or(Ok(()), |object| Err(ReconcileError::Foreign(object)))
}

fn stored_state(observed: &Observed, owner: &Owner) -> Result<Option<State>, ReconcileError> {
    let Some(secret) = &observed.state else {
        return Ok(None);
    };
    State::from_data(secret.data.as_ref().unwrap_or(&Default::default()))
        .map(Some)
        .map_err(|source| ReconcileError::State {
            name: owner.state_secret(),
            source,
        })
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

fn remembered(context: &Context, owner: &Owner) -> Option<State> {
    let states = context
        .remembered
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    states.get(&owner.uid).cloned()
}

fn remember(context: &Context, owner: &Owner, state: &State) {
    let mut states = context
        .remembered
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    states.insert(owner.uid.clone(), state.clone());
}

async fn tell(resource: &SecureExporter, context: &Context, steps: &[Step]) {
    for step in steps {
        let (reason, note) = match step {
            Step::IssueAuthority { generation } => (
                "AuthorityIssued",
                format!("certificate authority of generation {generation}"),
            ),
            Step::IssueLeaf { because } => (
                "CertificateIssued",
                format!("serving certificate: {}", because.text()),
            ),
            Step::GeneratePassword { generation } => (
                "PasswordGenerated",
                format!("password of generation {generation}"),
            ),
            Step::HashAgain => ("PasswordHashed", "the bcrypt cost has changed".to_owned()),
        };
        tracing::info!(resource = %name(resource), reason, note);
        context.events.done(resource, reason, &note).await;
    }
}

/// Tells of a failure: in the log, and, where a person must do something, in an event and the conditions.
async fn report(resource: &SecureExporter, context: &Context, error: &ReconcileError) {
    if error.is_passing() {
        tracing::debug!(resource = %name(resource), %error, "to be tried again");
        return;
    }
    let category = error.category();
    let message = chain(error);
    tracing::warn!(resource = %name(resource), category, error = message, "a pass failed");
    context.events.warn(resource, category, &message).await;
    let Some(owner) = Owner::of(resource) else {
        return;
    };
    let previous = resource.status.clone().unwrap_or_default();
    let why = Stalled {
        reason: category,
        message,
    };
    let status = status::stalled(
        &previous,
        resource.meta().generation,
        &why,
        context.clock.now(),
    );
    let writer = Writer {
        client: &context.client,
        metrics: &context.metrics,
    };
    if let Err(error) = writer.status(resource, &owner, &status).await {
        tracing::debug!(resource = %name(resource), %error, "the status could not be written");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn pause(deadline: Timestamp, now: Timestamp) -> Duration {
    let left = deadline.duration_since(now).as_secs().max(1);
    Duration::from_secs(left.unsigned_abs()).min(LONGEST_PAUSE)
}

fn name(resource: &SecureExporter) -> String {
    let meta = resource.meta();
    format!(
        "{}/{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    )
}
