//! What a pass does: one pure function of what was asked for, seen, known and heard, and of the time. The operator and the
//! model of its tests call the same.

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
            self, LeafRequest, OrderStep,
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
        credentials::OwnCredentials,
    },
};

/// What was read of the issuer.
pub struct Issued {
    /// What the Secret of a `Provided` issuer holds; `None` for the other issuers.
    pub provided: Option<Result<Supplied, SupplyProblem>>,
    /// The CertificateRequests that are there.
    pub requests: Asked,
    /// The bundle that the spec names for an issuer of cert-manager; `None` where the issuer names its CA itself.
    pub bundle: Option<Found>,
}

/// Everything that a plan rests on, besides what is known.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// The spec that is gone by.
    pub spec: &'a ValidSpec,
    /// The resource.
    pub owner: &'a Owner,
    /// What is asked for by annotation.
    pub requests: &'a Requests,
    /// What the user-supplied Secrets hold.
    pub own: &'a OwnCredentials,
    /// What was read of the issuer.
    pub issued: &'a Issued,
    /// What is published.
    pub published: &'a Published<'a>,
    /// What the exporters say.
    pub heard: &'a Heard,
    /// The waits.
    pub timers: &'a Timers,
    /// The time.
    pub now: Timestamp,
    /// Whether the clock has jumped since this process looked at it last.
    pub clock_jumped: bool,
}

/// What to do.
pub struct Plan {
    /// The changes, in their order; empty where nothing changes.
    pub steps: Vec<Step>,
    /// What the machine went by.
    pub supply: Supply,
    is_published: bool,
}

/// What is stored next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The state; `None` before the first certificate.
    pub state: Option<State>,
    /// The certificate that is on order.
    pub order: Option<LeafRequest>,
    /// When an issuer was asked last.
    pub last_ordered: Option<Timestamp>,
}

/// What comes after a plan was carried out.
pub struct Outlook {
    /// The exporters that a rotation waits for; `None` where it waits for none.
    pub waiting: Waiting,
    /// When time alone brings something.
    pub deadline: Timestamp,
}

/// Decides what a pass does.
///
/// # Errors
/// A certificate in the state cannot be read.
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

/// What is known after `steps`. Slow (keys and bcrypt): it is called outside the async workers.
///
/// # Errors
/// As [`RotationError`] says.
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
    let is_open = |order: &LeafRequest| !state.as_ref().is_some_and(|it| order.is_answered(it));
    Ok(Next {
        order: order.filter(is_open),
        state,
        last_ordered,
    })
}

impl Plan {
    /// What comes after the plan has led to `state` and `order`.
    ///
    /// # Errors
    /// A certificate in the state cannot be read.
    pub fn outlook(
        &self,
        known: &Known,
        (state, order): (&State, Option<&LeafRequest>),
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
        }
    }

    /// `None` where no issuer is asked.
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

/// Whether what follows from the stored state, by the spec that it was accepted with, was read back.
fn is_published(known: &Known, it: &Circumstances<'_>) -> bool {
    let Some(state) = &known.stored.state else {
        return false;
    };
    // Not by the spec of now: a scrape interval that changes must not restart the waits of a rotation.
    let spec = state.accepted.as_ref().unwrap_or(it.spec);
    let children = render::children(spec, None, it.owner, state);
    children.is_ok_and(|children| it.published.shows(&children))
}

/// What happens to the order, and what the machine is to go by.
fn follow_order(
    correspondence: &Correspondence<'_>,
    order: Option<&LeafRequest>,
    state: Option<&State>,
    requests: &Requests,
) -> Result<(Option<OrderStep>, Supply), InspectError> {
    let outcome = order.map(|order| (order, correspondence.outcome(order)));
    let step = correspondence.step(outcome.as_ref(), state, requests)?;
    // What answers an order that is given up is not used.
    let is_given_up = matches!(step, Some(OrderStep::Ask { .. } | OrderStep::Withdraw));
    let outcome: Option<(&LeafRequest, Outcome)> = outcome.filter(|_| !is_given_up);
    let supply = correspondence.supply(outcome, state);
    Ok((step, supply))
}

/// A request by annotation that is answered by the certificate that is ordered now, or is on order already.
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

/// When to look for the answer, or to ask again.
fn next_look(order: &LeafRequest, timers: &Timers, now: Timestamp) -> Timestamp {
    let patience: SignedDuration = order.patience(timers, now);
    let next = order.next_attempt(timers);
    next.or_else(|| now.checked_add(patience).ok())
        .unwrap_or(Timestamp::MAX)
}
