//! When the serving certificate is renewed. The renewal waits for nothing: neither for exporters nor for any stage.

use jiff::Timestamp;

use crate::rotation::{
    annotations::Subject,
    because::Because,
    situation::{Situation, remember},
    state::State,
    step::{LeafStep, Step},
    timing::renewal_time,
};
use secure_exporter_pki::{BACKDATING, InspectError, inspect::inspect};

/// Returns the step for a new serving certificate, if one is due.
pub(crate) fn renew(state: &State, situation: &Situation<'_>) -> Result<Vec<Step>, InspectError> {
    if !state.signs(state.active_authority) {
        // The CA's key was lost with the state. The next CA is being prepared, and a certificate of it follows.
        return Ok(Vec::new());
    }
    let requested = situation
        .requests
        .is_pending(Subject::Certificate, &state.handled);
    let because = if state.leaf.authority_generation != state.active_authority {
        Some(Because::NewAuthority)
    } else if state.leaf.parameters != situation.spec.certificate.parameters.fingerprint() {
        Some(Because::SpecChanged)
    } else if due(state, situation)? <= situation.now {
        Some(Because::Due)
    } else {
        requested.then_some(Because::Requested)
    };
    let mut steps: Vec<Step> = because
        .map(|because| Step::Leaf(LeafStep::Issue { because }))
        .into_iter()
        .collect();
    if requested {
        steps.push(remember(Subject::Certificate, situation));
    }
    Ok(steps)
}

/// Returns when the serving certificate must be renewed.
pub(crate) fn due(state: &State, situation: &Situation<'_>) -> Result<Timestamp, InspectError> {
    let facts = inspect(&state.leaf.certificate_pem)?;
    let percentage = situation.spec.certificate.renew_before_percentage;
    Ok(renewal_time(&facts, BACKDATING, percentage, situation.uid))
}
