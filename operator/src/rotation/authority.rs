//! From one certificate authority to the next.
//!
//! | stage | exporters serve a leaf of | scrapers trust | ends when |
//! | --- | --- | --- | --- |
//! | none | g | g | due or asked for |
//! | `TrustPublished` | g | g, g+1 | soaked |
//! | `LeafSwitched` | g+1, with the cross certificate | g, g+1 | overlap over, and nobody serves g any more |
//! | `ClientSwitched` | g+1 | g, g+1 | the same |
//! | `Rebuilt` | any | any, and g+1 where it was prepared since | overlap over: g+1 signs; without one, the same |
//!
//! A scraper that knows only g verifies a leaf of g+1 through the cross certificate (g+1's key, certified by g), so the
//! switch waits for nobody; only the drop of g does. With client certificates the same holds with the roles exchanged: the
//! exporters trust what the scrapers do, and the client certificate changes with the leaf. `ClientSwitched` is entered
//! only where there is no cross certificate; [`client`](mod@super::client) says why.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{RotationState, Stragglers},
    rotation::{
        annotations::Subject,
        because::Because,
        client,
        evidence::{Tally, serves_under},
        situation::{Situation, next, remember},
        state::{AuthorityStage, Progress, State},
        step::{AuthorityStep, ClientStep, LeafStep, Step},
        timing::authority_due,
    },
};
use secure_exporter_pki::{
    InspectError,
    inspect::{bundle_end, inspect},
};

/// The next step, if it is time for one.
pub(crate) fn advance(state: &State, situation: &Situation<'_>) -> Result<Vec<Step>, InspectError> {
    let generation = next(state.authorities.keys());
    if let Some(active) = state.authorities.get(&state.active_authority)
        && bundle_end(&active.certificate_pem)? <= situation.now
    {
        // Nothing that it signed is valid any more, so there is nothing left to overlap with.
        return Ok(replace(situation, generation));
    }
    let newest = state.authorities.last_key_value();
    let newest_signs = newest.is_some_and(|(_, newest)| newest.key_pem.is_some());
    if !state.signs(state.active_authority) && !newest_signs {
        // The keys were lost with the state, or somebody else has issued until now. Until there is another authority no
        // leaf can be renewed: it waits for nothing.
        return Ok(vec![Step::Authority(AuthorityStep::Prepare { generation })]);
    }
    let paused = situation.spec.rotation.state == RotationState::Paused
        && state.signs(state.active_authority);
    let Some(progress) = state.authority_progress else {
        return begin(state, situation, generation, paused);
    };
    if progress.stage == AuthorityStage::TrustPublished && !newest_signs {
        // That of another issuer, who is not asked any more.
        return Ok(vec![Step::Authority(AuthorityStep::Abandon)]);
    }
    let is_prepared = is_prepared(state, progress.stage);
    if is_prepared && has_ended(state, situation)? {
        // Then there is nothing to lose by being early, whatever could not be published.
        return Ok(switch(state));
    }
    let Some(confirmed) = progress.confirmed else {
        let confirm = situation
            .published
            .then_some(Step::Authority(AuthorityStep::Confirm));
        return Ok(confirm.into_iter().collect());
    };
    if paused {
        return Ok(Vec::new());
    }
    if is_prepared {
        let is_over = situation.is_over(soak(state, situation), confirmed);
        return Ok(if is_over { switch(state) } else { Vec::new() });
    }
    if may_drop(state, situation, confirmed) {
        return Ok(if client::is_behind(state) {
            client::change()
        } else {
            vec![Step::Authority(AuthorityStep::DropOthers)]
        });
    }
    // Stragglers may hold the drop for years. They must not hold the next authority.
    let is_due = due(state, situation)? <= situation.now;
    Ok(is_due
        .then_some(Step::Authority(AuthorityStep::Prepare { generation }))
        .into_iter()
        .collect())
}

/// The exporters that hold up the drop; `None` where none is being waited for.
pub(crate) fn tally(state: &State, situation: &Situation<'_>) -> Option<Tally> {
    let progress = state.authority_progress?;
    let confirmed = progress.confirmed?;
    if progress.stage == AuthorityStage::TrustPublished {
        return None;
    }
    let kept = BTreeSet::from([state.active_authority]);
    let wait = situation.overlap().max(situation.timers.blind_wait);
    let waited = situation.is_over(wait, confirmed);
    Some(Tally::of(
        situation.heard,
        waited,
        situation.timers.blind_wait,
        serves_under(&kept),
    ))
}

/// Whether the overlap is over, and only exporters hold up the drop.
pub(crate) fn awaits_exporters(state: &State, overlap: SignedDuration, now: Timestamp) -> bool {
    let progress = state.authority_progress;
    progress
        .filter(|progress| progress.stage != AuthorityStage::TrustPublished)
        .and_then(|progress| progress.confirmed)
        .is_some_and(|confirmed| now.duration_since(confirmed) >= overlap)
}

/// When time alone brings the next step.
pub(crate) fn deadline(
    state: &State,
    situation: &Situation<'_>,
) -> Result<Option<Timestamp>, InspectError> {
    let Some(Progress {
        stage,
        confirmed: Some(confirmed),
        ..
    }) = state.authority_progress
    else {
        return Ok(Some(due(state, situation)?));
    };
    let wait = if is_prepared(state, stage) {
        soak(state, situation)
    } else {
        situation.overlap()
    };
    Ok(confirmed.checked_add(wait).ok())
}

/// An authority from now on the only one, and what it signs.
pub(crate) fn replace(situation: &Situation<'_>, generation: u64) -> Vec<Step> {
    let because = Because::NewAuthority;
    let mut steps = vec![
        Step::Authority(AuthorityStep::Replace { generation }),
        Step::Leaf(LeafStep::Issue { because }),
    ];
    if situation.spec.methods.ask_certificate() {
        steps.push(Step::Client(ClientStep::Issue { because }));
    }
    steps
}

/// The newest CA signs from now on, and the serving certificate first.
fn switch(state: &State) -> Vec<Step> {
    let because = Because::NewAuthority;
    let mut steps = vec![
        Step::Authority(AuthorityStep::Switch),
        Step::Leaf(LeafStep::Issue { because }),
    ];
    steps.extend(client::switch(state));
    steps
}

fn begin(
    state: &State,
    situation: &Situation<'_>,
    generation: u64,
    paused: bool,
) -> Result<Vec<Step>, InspectError> {
    let requested = situation
        .requests
        .is_pending(Subject::Authority, &state.handled);
    let wanted = requested || due(state, situation)? <= situation.now;
    if !wanted || paused {
        return Ok(Vec::new());
    }
    let mut steps = vec![Step::Authority(AuthorityStep::Prepare { generation })];
    if requested {
        steps.push(remember(Subject::Authority, situation));
    }
    Ok(steps)
}

/// Whether the newest authority is to sign when scrapers were told of it.
fn is_prepared(state: &State, stage: AuthorityStage) -> bool {
    let newest = state.authorities.keys().next_back();
    let is_new = || newest.is_some_and(|it| *it != state.active_authority && state.signs(*it));
    match stage {
        AuthorityStage::TrustPublished => true,
        AuthorityStage::Rebuilt => is_new(),
        AuthorityStage::LeafSwitched | AuthorityStage::ClientSwitched => false,
    }
}

/// Without a cross certificate every scraper must have the new authority before anything is served by it.
fn soak(state: &State, situation: &Situation<'_>) -> SignedDuration {
    let newest = state.authorities.last_key_value();
    let is_rebuilt = state
        .authority_progress
        .is_some_and(|progress| progress.stage == AuthorityStage::Rebuilt);
    if !is_rebuilt && newest.is_some_and(|(_, newest)| newest.cross_pem.is_some()) {
        situation.timers.trust_soak
    } else {
        situation.overlap()
    }
}

/// Whether the leaf that is served is not valid any more. Then there is nothing to lose by being early.
fn has_ended(state: &State, situation: &Situation<'_>) -> Result<bool, InspectError> {
    Ok(inspect(&state.leaf.certificate_pem)?.not_after <= situation.now)
}

pub(crate) fn may_drop(state: &State, situation: &Situation<'_>, confirmed: Timestamp) -> bool {
    let settled = || tally(state, situation).is_some_and(|tally| tally.is_settled());
    let proceeds = situation.spec.rotation.on_stragglers == Stragglers::Proceed;
    situation.is_over(situation.overlap(), confirmed) && (proceeds || settled())
}

fn due(state: &State, situation: &Situation<'_>) -> Result<Timestamp, InspectError> {
    let Some(active) = state.authorities.get(&state.active_authority) else {
        return Ok(Timestamp::MIN);
    };
    let duration = situation.spec.certificate.parameters.duration;
    let end = bundle_end(&active.certificate_pem)?;
    Ok(authority_due(end, duration, situation.overlap()))
}
