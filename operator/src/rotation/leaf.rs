//! When a leaf certificate is renewed. It never waits: not for exporters, not for the stage of anything else.

use jiff::Timestamp;

use crate::rotation::{
    annotations::Subject,
    situation::{Situation, remember},
    state::State,
    step::{Because, Step},
    timing::renewal_time,
};
use secure_exporter_pki::{BACKDATING, InspectError, inspect::inspect};

/// A new leaf, where one is due.
pub(crate) fn renew(state: &State, situation: &Situation<'_>) -> Result<Vec<Step>, InspectError> {
    if !state.signs(state.active_authority) {
        // The key was lost with the state; the next authority is under way and brings its own leaf.
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
        .map(|because| Step::IssueLeaf { because })
        .into_iter()
        .collect();
    if requested {
        steps.push(remember(Subject::Certificate, situation));
    }
    Ok(steps)
}

/// When the leaf reaches its renewal time.
pub(crate) fn due(state: &State, situation: &Situation<'_>) -> Result<Timestamp, InspectError> {
    let facts = inspect(&state.leaf.certificate_pem)?;
    let percentage = situation.spec.certificate.renew_before_percentage;
    Ok(renewal_time(&facts, BACKDATING, percentage, situation.uid))
}
