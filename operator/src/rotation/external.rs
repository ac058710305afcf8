//! Rotation of certificates from other issuers, and changes of the issuer. The certificates have already been checked
//! ([`certificate`](crate::supplied::certificate)); these rules only decide when one may be served.
//!
//! | the issuer supplies | effect |
//! | --- | --- |
//! | nothing that passes the check | everything stays as it is |
//! | a certificate that every scraper can already verify | it is served at once |
//! | any other certificate | both CA bundles are published; after the overlap it is served; after another overlap the old CA bundle is dropped |
//!
//! The stages are those of [`authority`], where an authority is the whole CA bundle of an issuer. There is no cross
//! certificate, so the first wait is as strict as the second: a scraper without the new CA bundle refuses the new
//! certificate. The stage tells which bundles every scraper has: all of them, except the newest in `TrustPublished`; in
//! `Rebuilt` only the active one, until the overlap is over.

use jiff::Timestamp;

use crate::{
    api::RotationState,
    rotation::{
        annotations::Subject,
        authority,
        because::Because,
        leaf,
        situation::{Situation, next},
        state::{Authority, AuthorityStage, Leaf, State},
        step::{AuthorityStep, LeafStep, RequestStep, Step},
    },
    spec::issuer::ValidIssuer,
    supplied::certificate::{Supplied, SupplyProblem, verifies},
};
use secure_exporter_pki::{InspectError, inspect::inspect};

/// Returns the first CA bundle and serving certificate; none if the issuer has not supplied a certificate.
pub(crate) fn first(supply: &Result<Supplied, SupplyProblem>) -> Vec<Step> {
    let Ok(supplied) = supply else {
        return Vec::new();
    };
    let generation = 1;
    vec![
        Step::Authority(AuthorityStep::ReplaceBundle {
            generation,
            bundle_pem: supplied.bundle_pem.clone(),
        }),
        serve(supplied, generation),
    ]
}

/// Returns the next steps of the CA bundle and the serving certificate.
pub(crate) fn advance(
    state: &State,
    situation: &Situation<'_>,
    supply: &Result<Supplied, SupplyProblem>,
) -> Result<Vec<Step>, InspectError> {
    let mut steps = match supply {
        Ok(supplied) => follow(state, situation, supplied)?,
        Err(_) => Vec::new(),
    };
    if !steps.iter().any(enters_stage) {
        steps.extend(stage(state, situation));
    }
    let is_served = steps
        .iter()
        .any(|step| matches!(step, Step::Leaf(LeafStep::Serve { .. })));
    // The operator renews its own earlier certificate until the issuer's is served.
    let is_ours = state.signs(state.active_authority);
    if is_ours && !is_served && leaf::due(state, situation)? <= situation.now {
        let because = Because::Due;
        steps.push(Step::Leaf(LeafStep::Issue { because }));
    }
    steps.extend(decline(state, situation));
    Ok(steps)
}

/// The serving certificate alone: one that every scraper can already verify is served, whatever else waits.
pub(crate) fn renew(
    state: &State,
    situation: &Situation<'_>,
    supply: &Result<Supplied, SupplyProblem>,
) -> Vec<Step> {
    let supplied = supply.as_ref().ok();
    let step = supplied.and_then(|supplied| serve_under_held(state, situation, supplied));
    step.into_iter().collect()
}

/// Returns when the next step is due by time alone.
pub(crate) fn deadline(
    state: &State,
    situation: &Situation<'_>,
) -> Result<Option<Timestamp>, InspectError> {
    let leaf = if state.signs(state.active_authority) {
        leaf::due(state, situation)?
    } else {
        end(state)?
    };
    let progress = state.authority_progress;
    let stage = progress
        .and_then(|progress| progress.confirmed)
        .map(|confirmed| situation.end(situation.overlap(), confirmed));
    let times = [Some(leaf), stage];
    let coming = times.into_iter().flatten();
    Ok(coming.filter(|time| *time > situation.now).min())
}

/// Ends the trust in what is not the issuer's: the operator's own CA, as long as it signs because the issuer's certificate is
/// not served yet, and CAs that are only kept for the overlap.
pub(crate) fn distrust(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    if state.signs(state.active_authority) {
        authority::replace(situation, next(state.authorities.keys()))
    } else if waiting(state).is_none() && state.authorities.len() > 1 {
        vec![Step::Authority(AuthorityStep::DropOthers)]
    } else {
        Vec::new()
    }
}

/// A request by annotation that only the issuer can fulfil.
pub(crate) fn decline_one(subject: Subject, situation: &Situation<'_>) -> Step {
    Step::Request(RequestStep::Decline {
        subject,
        token: situation.requests.token(subject).to_owned(),
    })
}

fn enters_stage(step: &Step) -> bool {
    matches!(step, Step::Authority(step) if step.enters_stage())
}

/// Steps towards the supplied certificate.
fn follow(
    state: &State,
    situation: &Situation<'_>,
    supplied: &Supplied,
) -> Result<Vec<Step>, InspectError> {
    let held = || {
        let held = serve_under_held(state, situation, supplied);
        Ok(held.into_iter().collect())
    };
    // Nothing is lost by switching early any more.
    let has_ended = end(state)? <= situation.now;
    if situation.spec.rotation.state == RotationState::Paused && !has_ended {
        return held();
    }
    let generation = next(state.authorities.keys());
    if let Some((waiting, authority)) = waiting(state)
        && authority.certificate_pem == supplied.bundle_pem
    {
        return if has_ended || is_soaked(state, situation) {
            Ok(vec![
                Step::Authority(AuthorityStep::Switch),
                serve(supplied, waiting),
            ])
        } else {
            held()
        };
    }
    if let Some(home) = home(state, situation, supplied) {
        return Ok(stay(state, situation, supplied, home));
    }
    if let Some(published) = published(state, supplied) {
        return if has_ended {
            Ok(recall(supplied, published, generation))
        } else {
            held()
        };
    }
    let mut steps = vec![Step::Authority(AuthorityStep::PrepareBundle {
        generation,
        bundle_pem: supplied.bundle_pem.clone(),
    })];
    if has_ended {
        steps.extend([
            Step::Authority(AuthorityStep::Switch),
            serve(supplied, generation),
        ]);
    } else {
        steps.extend(serve_under_held(state, situation, supplied));
    }
    Ok(steps)
}

/// The supplied CA bundle, of generation `home`, is one that every scraper has: nothing must be waited for.
fn stay(state: &State, situation: &Situation<'_>, supplied: &Supplied, home: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    if waiting(state).is_some() {
        steps.push(Step::Authority(AuthorityStep::Abandon));
    }
    let newest = held(state, situation)
        .map(|(generation, _)| generation)
        .max();
    if newest != Some(home) {
        // The issuer was replaced by another one, and is used again before its CA bundle was dropped.
        steps.extend(recall(supplied, home, next(state.authorities.keys())));
    } else if home != state.active_authority {
        steps.extend([
            Step::Authority(AuthorityStep::Switch),
            serve(supplied, home),
        ]);
    } else if !is_served(state, supplied) {
        steps.push(serve(supplied, home));
    }
    steps
}

fn recall(supplied: &Supplied, generation: u64, again: u64) -> Vec<Step> {
    vec![
        Step::Authority(AuthorityStep::Recall { generation, again }),
        Step::Authority(AuthorityStep::Switch),
        serve(supplied, again),
    ]
}

/// Confirms the stage, or ends it.
fn stage(state: &State, situation: &Situation<'_>) -> Option<Step> {
    let progress = state.authority_progress?;
    let Some(confirmed) = progress.confirmed else {
        return situation
            .published
            .then_some(Step::Authority(AuthorityStep::Confirm));
    };
    let is_paused = situation.spec.rotation.state == RotationState::Paused;
    let may_drop = progress.stage != AuthorityStage::TrustPublished
        && !is_paused
        && authority::may_drop(state, situation, confirmed);
    may_drop.then_some(Step::Authority(AuthorityStep::DropOthers))
}

/// Declines requests that only the issuer can fulfil.
fn decline(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    // From cert-manager a new certificate is ordered; the request is remembered when it is.
    let is_asked = matches!(situation.spec.issuer, ValidIssuer::CertManager { .. });
    let certificate = (!is_asked).then_some(Subject::Certificate);
    certificate
        .into_iter()
        .chain([Subject::Authority])
        .filter(|subject| situation.requests.is_pending(*subject, &state.handled))
        .map(|subject| decline_one(subject, situation))
        .collect()
}

fn serve_under_held(state: &State, situation: &Situation<'_>, supplied: &Supplied) -> Option<Step> {
    if is_served(state, supplied) {
        return None;
    }
    let server_name = &situation.spec.server_name;
    let mut newest_first = issuers(state, situation).rev();
    let (generation, _) = newest_first.find(|(_, authority)| {
        let bundle = &authority.certificate_pem;
        verifies(&supplied.chain_pem, bundle, server_name, situation.now)
    })?;
    Some(serve(supplied, generation))
}

fn serve(supplied: &Supplied, generation: u64) -> Step {
    Step::Leaf(LeafStep::Serve {
        leaf: Leaf {
            certificate_pem: supplied.chain_pem.clone(),
            key_pem: supplied.key_pem.clone(),
            authority_generation: generation,
            parameters: supplied.parameters.clone(),
        },
    })
}

fn is_served(state: &State, supplied: &Supplied) -> bool {
    state.leaf.certificate_pem == supplied.chain_pem && state.leaf.key_pem == supplied.key_pem
}

/// Returns the newest CA bundle, if it is published and not in use yet.
fn waiting(state: &State) -> Option<(u64, &Authority)> {
    let progress = state.authority_progress?;
    let (generation, authority) = state.authorities.last_key_value()?;
    (progress.stage == AuthorityStage::TrustPublished).then_some((*generation, authority))
}

fn is_soaked(state: &State, situation: &Situation<'_>) -> bool {
    let progress = state.authority_progress;
    progress
        .and_then(|progress| progress.confirmed)
        .is_some_and(|confirmed| situation.is_over(situation.overlap(), confirmed))
}

/// Returns the CA bundles that every scraper has.
fn held<'a>(
    state: &'a State,
    situation: &Situation<'_>,
) -> impl DoubleEndedIterator<Item = (u64, &'a Authority)> {
    let newest = state.authorities.keys().next_back().copied();
    let stage = state.authority_progress.map(|progress| progress.stage);
    let is_soaked = is_soaked(state, situation);
    let is_held = move |generation| match stage {
        Some(AuthorityStage::TrustPublished) => Some(generation) != newest,
        Some(AuthorityStage::Rebuilt) => is_soaked || generation == state.active_authority,
        _ => true,
    };
    let all = state.authorities.iter();
    all.map(|(generation, authority)| (*generation, authority))
        .filter(move |(generation, _)| is_held(*generation))
}

/// Returns those of them that belong to other issuers.
fn issuers<'a>(
    state: &'a State,
    situation: &Situation<'_>,
) -> impl DoubleEndedIterator<Item = (u64, &'a Authority)> {
    held(state, situation).filter(|(_, authority)| authority.key_pem.is_none())
}

/// Returns the one of them that equals the supplied CA bundle.
fn home(state: &State, situation: &Situation<'_>, supplied: &Supplied) -> Option<u64> {
    issuers(state, situation)
        .find(|(_, authority)| authority.certificate_pem == supplied.bundle_pem)
        .map(|(generation, _)| generation)
}

/// Returns the generation with the supplied CA bundle, whether every scraper has it or not.
fn published(state: &State, supplied: &Supplied) -> Option<u64> {
    let mut all = state.authorities.iter();
    all.find(|(_, authority)| authority.certificate_pem == supplied.bundle_pem)
        .map(|(generation, _)| *generation)
}

fn end(state: &State) -> Result<Timestamp, InspectError> {
    Ok(inspect(&state.leaf.certificate_pem)?.not_after)
}

#[cfg(test)]
mod tests;
