//! Plans a pass: a pure function of its inputs and the time. The operator and the model in its tests call the same function.

use jiff::{SignedDuration, Timestamp};
use secure_exporter_pki::InspectError;

use crate::{
    names::Owner,
    render,
    rotation::{
        annotations::{Requests, Subject},
        carry_out::{self, make::RotationError},
        decide,
        evidence::{Heard, Waiting},
        order::{
            self, Order, OrderStep,
            cert_manager::{Correspondence, Outcome},
        },
        recall::Known,
        situation::{Situation, remember},
        state::{State, published::Published},
        step::Step,
        timing::Timers,
    },
    spec::{ValidSpec, issuer::ValidIssuer},
    supplied::{
        cert_manager::Asked,
        certificate::{Found, Supplied, Supply, SupplyProblem},
        credentials::SuppliedCredentials,
    },
};

/// What was read about the issuer.
pub struct Issued {
    /// The content of a `Provided` issuer's Secret; `None` for other issuers.
    pub provided: Option<Result<Supplied, SupplyProblem>>,
    /// The existing CertificateRequests.
    pub requests: Asked,
    /// The CA bundle in the spec for a cert-manager issuer; `None` if the issuer returns its CA.
    pub bundle: Option<Found>,
}

/// The inputs of a plan, besides what is stored.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// The spec in force.
    pub spec: &'a ValidSpec,
    /// The resource.
    pub owner: &'a Owner,
    /// What the user requested by annotation.
    pub requests: &'a Requests,
    /// The content of the user-supplied Secrets.
    pub own: &'a SuppliedCredentials,
    /// What was read about the issuer.
    pub issued: &'a Issued,
    /// What is published.
    pub published: &'a Published<'a>,
    /// The answers of the exporters.
    pub heard: &'a Heard,
    /// The timers.
    pub timers: &'a Timers,
    /// The current time.
    pub now: Timestamp,
    /// Whether the clock has jumped since this process last read it.
    pub clock_jumped: bool,
    /// Since when this process has seen every minute pass: since its first pass, or since the clock jumped.
    pub watched_since: Timestamp,
}

/// The planned steps.
pub struct Plan {
    /// The steps in order; empty if nothing changes.
    pub steps: Vec<Step>,
    /// The supply that the decision was based on.
    pub supply: Supply,
    is_published: bool,
}

/// What is stored next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The state; `None` before the first certificate.
    pub state: Option<State>,
    /// The certificate that is on order.
    pub order: Option<Order>,
    /// When a certificate was last ordered.
    pub last_ordered: Option<Timestamp>,
}

/// What the operator waits for after a plan was carried out.
pub struct Outlook {
    /// The exporters that a rotation waits for.
    pub waiting: Waiting,
    /// When the next step is due by time alone.
    pub deadline: Timestamp,
}

/// Plans a pass.
///
/// # Errors
/// A certificate in the state cannot be parsed.
pub fn plan(known: &Known, it: &Circumstances<'_>) -> Result<Plan, InspectError> {
    let state = known.state.as_ref();
    let correspondence = it.correspondence(known);
    let order = known.order.as_ref();
    let (step, supply) = match &correspondence {
        Some(correspondence) => follow_order(correspondence, order, state, it.requests)?,
        None => (
            order.map(|_| OrderStep::Withdraw),
            it.issued
                .provided
                .clone()
                .map_or(Supply::Managed, Supply::External),
        ),
    };
    let mut steps = Vec::new();
    if let Some(step) = step {
        steps.extend(answered_by(&step, state, it, &supply));
        steps.push(Step::Order(step));
    }
    let is_published = is_published(known, it);
    steps.extend(decide::decide(state, &it.situation(&supply, is_published))?);
    Ok(Plan {
        steps,
        supply,
        is_published,
    })
}

/// Whether something in the plan would not be done if nothing were known of the exporters.
///
/// # Errors
/// A certificate in the state cannot be parsed.
pub fn rests_on_evidence(
    plan: &Plan,
    known: &Known,
    it: &Circumstances<'_>,
) -> Result<bool, InspectError> {
    let is_in_rotation = known.state.as_ref().is_some_and(|state| {
        state.authority_progress.is_some() || state.password_progress.is_some()
    });
    if !is_in_rotation || *it.heard == Heard::default() {
        return Ok(false);
    }
    let cautious = self::plan(known, &it.without_evidence(&Heard::default()))?;
    Ok(cautious.steps != plan.steps)
}

/// Carries out `steps`. Slow (keys and bcrypt): call it outside the async workers.
///
/// # Errors
/// [`RotationError`]
pub fn carry_out(
    steps: &[Step],
    known: Known,
    spec: &ValidSpec,
    owner: &Owner,
    now: Timestamp,
) -> Result<Next, RotationError> {
    let (mut order, mut last_ordered) = (known.order, known.last_ordered);
    let (mut state_steps, mut asked) = (Vec::new(), false);
    for step in steps {
        if let Step::Order(step) = step {
            asked |= matches!(step, OrderStep::Ask { .. });
            order = order::carry_out(step, order, &spec.certificate.parameters, now)?;
        } else {
            state_steps.push(step.clone());
        }
    }
    let state = if state_steps.is_empty() {
        known.state
    } else {
        let founds = known.state.is_none();
        let mut state = carry_out::carry_out(&state_steps, known.state, spec, owner, now)?;
        if founds {
            state.generation = state
                .generation
                .max(known.published_generation.saturating_add(1));
        }
        Some(state)
    };
    if asked {
        last_ordered = Some(now);
    }
    let is_open = |order: &Order| !state.as_ref().is_some_and(|it| order.is_answered(it));
    Ok(Next {
        order: order.filter(is_open),
        state,
        last_ordered,
    })
}

impl Plan {
    /// Returns what the operator waits for once the plan has led to `state` and `order`.
    ///
    /// # Errors
    /// A certificate in the state cannot be parsed.
    pub fn outlook(
        &self,
        known: &Known,
        (state, order): (&State, Option<&Order>),
        it: &Circumstances<'_>,
    ) -> Result<Outlook, InspectError> {
        let situation = it.situation(&self.supply, self.is_published);
        let deadline = decide::next_deadline(state, &situation)?;
        let order = match (order, it.correspondence(known)) {
            (Some(order), _) => next_look(order, it.timers, it.now),
            (None, Some(correspondence)) => correspondence.due(state)?,
            (None, None) => Timestamp::MAX,
        };
        Ok(Outlook {
            waiting: self.waiting(state, &situation, it),
            deadline: deadline.min(order),
        })
    }

    fn waiting(&self, state: &State, situation: &Situation<'_>, it: &Circumstances<'_>) -> Waiting {
        if !decide::awaits_exporters(state, it.spec, it.timers, it.now) {
            return Waiting::Nobody;
        }
        match decide::tally(state, situation) {
            None => Waiting::Nobody,
            // That nothing is known of them yet, or this time, is no news.
            Some(tally) if tally.is_unknown_alone() => Waiting::NotKnown,
            Some(tally) => Waiting::For(tally),
        }
    }
}

impl<'a> Circumstances<'a> {
    /// The same, as if nothing were known of the exporters. `nothing` is the empty evidence.
    pub fn without_evidence(&self, nothing: &'a Heard) -> Self {
        Self {
            heard: nothing,
            ..*self
        }
    }

    fn situation<'b>(&'b self, supply: &'b Supply, is_published: bool) -> Situation<'b> {
        Situation {
            spec: self.spec,
            requests: self.requests,
            own: self.own,
            supply,
            uid: &self.owner.uid,
            published: is_published,
            heard: self.heard,
            timers: self.timers,
            now: self.now,
            clock_jumped: self.clock_jumped,
            watched_since: self.watched_since,
        }
    }

    /// `None` if no certificates are ordered.
    fn correspondence(&self, known: &Known) -> Option<Correspondence<'a>> {
        let ValidIssuer::CertManager { issuer, .. } = &self.spec.issuer else {
            return None;
        };
        Some(Correspondence {
            spec: self.spec,
            owner: self.owner,
            issuer,
            asked: &self.issued.requests,
            last_asked: known.last_ordered,
            bundle: self.issued.bundle.as_ref(),
            timers: self.timers,
            now: self.now,
        })
    }
}

/// Whether everything that is rendered from the stored state and its accepted spec was read back.
fn is_published(known: &Known, it: &Circumstances<'_>) -> bool {
    let Some(state) = &known.stored.state else {
        return false;
    };
    // Not with the new spec: a changed scrape interval must not restart the timers of a rotation.
    let spec = state.accepted.as_ref().unwrap_or(it.spec);
    let children = render::children(spec, None, it.owner, state);
    children.is_ok_and(|children| it.published.shows(&children))
}

/// Returns the next step of the order, and the supply for the decision.
fn follow_order(
    correspondence: &Correspondence<'_>,
    order: Option<&Order>,
    state: Option<&State>,
    requests: &Requests,
) -> Result<(Option<OrderStep>, Supply), InspectError> {
    let outcome = order.map(|order| (order, correspondence.outcome(order)));
    let step = correspondence.step(outcome.as_ref(), state, requests)?;
    // The certificate of a withdrawn order is not used.
    let is_given_up = matches!(step, Some(OrderStep::Ask { .. } | OrderStep::Withdraw));
    let outcome: Option<(&Order, Outcome)> = outcome.filter(|_| !is_given_up);
    let supply = correspondence.supply(outcome, state);
    Ok((step, supply))
}

/// A request by annotation that is fulfilled by the certificate that is being ordered or already on order.
fn answered_by(
    step: &OrderStep,
    state: Option<&State>,
    it: &Circumstances<'_>,
    supply: &Supply,
) -> Option<Step> {
    let subject = Subject::Certificate;
    let is_answer = matches!(step, OrderStep::Ask { .. } | OrderStep::Join);
    let is_pending = it.requests.is_pending(subject, &state?.handled);
    (is_answer && is_pending).then(|| remember(subject, &it.situation(supply, false)))
}

/// Returns when to check the outcome, or to order again.
fn next_look(order: &Order, timers: &Timers, now: Timestamp) -> Timestamp {
    let patience: SignedDuration = order.patience(timers, now);
    let next = order.next_attempt(timers);
    next.or_else(|| now.checked_add(patience).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
