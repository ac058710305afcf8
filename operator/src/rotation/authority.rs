//! Rotation of the CA.
//!
//! | stage | exporters serve a certificate of | scrapers trust | ends when |
//! | --- | --- | --- | --- |
//! | none | g | g | a rotation is due or requested |
//! | `TrustPublished` | g | g, g+1 | the soak time is over |
//! | `LeafSwitched` | g+1, with the cross certificate | g, g+1 | the overlap is over, and no exporter serves g any more |
//! | `ClientSwitched` | g+1 | g, g+1 | as `LeafSwitched` |
//! | `Rebuilt` | any | any, and g+1 if it was prepared since | the overlap is over: g+1 signs; without g+1, as `LeafSwitched` |
//!
//! A scraper that only trusts g can verify a certificate of g+1 through the cross certificate (g+1's key, certified by g), so
//! the switch waits for nothing; only dropping g does. Client certificates work the same way with the roles exchanged: the
//! exporters trust the same CAs, and the client certificate is switched together with the serving certificate.
//! `ClientSwitched` is only entered if there is no cross certificate; [`client`](mod@super::client) explains why.

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
        timing::{Timers, authority_due},
    },
};
use secure_exporter_pki::{
    InspectError,
    inspect::{bundle_end, inspect},
};

/// Returns the next steps.
pub(crate) fn advance(state: &State, situation: &Situation<'_>) -> Result<Vec<Step>, InspectError> {
    let generation = next(state.authorities.keys());
    if let Some(active) = state.authorities.get(&state.active_authority)
        && bundle_end(&active.certificate_pem)? <= situation.now
    {
        // No certificate of this CA is valid any more, so there is nothing to overlap with.
        return Ok(replace(situation, generation));
    }
    let newest = state.authorities.last_key_value();
    let newest_signs = newest.is_some_and(|(_, newest)| newest.key_pem.is_some());
    if !state.signs(state.active_authority) && !newest_signs {
        // The key was lost with the state, or another issuer has signed until now. No certificate can be renewed before there
        // is a new CA, so this waits for nothing.
        return Ok(vec![Step::Authority(AuthorityStep::Prepare { generation })]);
    }
    let paused = situation.spec.rotation.state == RotationState::Paused
        && state.signs(state.active_authority);
    let Some(progress) = state.authority_progress else {
        return begin(state, situation, generation, paused);
    };
    if progress.stage == AuthorityStage::TrustPublished && !newest_signs {
        // The prepared CA belongs to another issuer, which is no longer used.
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
        let soak = soak(state, situation.timers, situation.overlap());
        let is_over = situation.is_over(soak, confirmed);
        return Ok(if is_over { switch(state) } else { Vec::new() });
    }
    if may_drop(state, situation, confirmed) {
        return Ok(if client::is_behind(state) {
            client::change()
        } else {
            vec![Step::Authority(AuthorityStep::DropOthers)]
        });
    }
    // Exporters that have fallen behind may delay the drop for years, but they must not delay the next CA.
    let is_due = due(state, situation)? <= situation.now;
    Ok(is_due
        .then_some(Step::Authority(AuthorityStep::Prepare { generation }))
        .into_iter()
        .collect())
}

/// Returns the exporters that block the drop; `None` if the stage does not wait for exporters.
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

/// Whether the overlap is over, so that the drop only waits for exporters.
pub(crate) fn awaits_exporters(state: &State, overlap: SignedDuration, now: Timestamp) -> bool {
    let progress = state.authority_progress;
    progress
        .filter(|progress| progress.stage != AuthorityStage::TrustPublished)
        .and_then(|progress| progress.confirmed)
        .is_some_and(|confirmed| now.duration_since(confirmed) >= overlap)
}

/// Returns when the next step is due by time alone.
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
        soak(state, situation.timers, situation.overlap())
    } else {
        situation.overlap()
    };
    Ok(Some(situation.end(wait, confirmed)))
}

/// Replaces all CAs by a new one, and everything that they signed.
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

/// Whether the newest CA is prepared and will sign after the soak time.
pub(crate) fn is_prepared(state: &State, stage: AuthorityStage) -> bool {
    let newest = state.authorities.keys().next_back();
    let is_new = || newest.is_some_and(|it| *it != state.active_authority && state.signs(*it));
    match stage {
        AuthorityStage::TrustPublished => true,
        AuthorityStage::Rebuilt => is_new(),
        AuthorityStage::LeafSwitched | AuthorityStage::ClientSwitched => false,
    }
}

/// Returns the soak time. Without a cross certificate, every scraper must have the new CA before a certificate of it is
/// served.
pub(crate) fn soak(state: &State, timers: &Timers, overlap: SignedDuration) -> SignedDuration {
    let newest = state.authorities.last_key_value();
    let is_rebuilt = state
        .authority_progress
        .is_some_and(|progress| progress.stage == AuthorityStage::Rebuilt);
    if !is_rebuilt && newest.is_some_and(|(_, newest)| newest.cross_pem.is_some()) {
        timers.trust_soak
    } else {
        overlap
    }
}

/// Whether the serving certificate has expired. Then nothing is lost by an early switch.
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
