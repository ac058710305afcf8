//! From one password to the next. The user name stays.
//!
//! | stage | exporters accept | scrapers use | ends when |
//! | --- | --- | --- | --- |
//! | none | p | p | due or asked for |
//! | `Accepting` | p, p+1 | p | every exporter accepts p+1 |
//! | `ClientSwitched` | p, p+1 | p+1 | overlap over, and nobody used p lately |

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{
    decide::{Situation, Step, next, remember},
    evidence::{Tally, accepts, unused},
    request::Subject,
    state::{PasswordStage, Progress, State},
};
use crate::api::{RotationState, Stragglers};

/// The next step, if it is time for one.
pub(super) fn advance(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    let Some(active) = state.passwords.get(&state.active_password) else {
        // None is asked for.
        return Vec::new();
    };
    if active.password.is_none() {
        // Its text was lost with the state, and the Secret that scrapers mount as well: they need one that works.
        let generation = next(state.passwords.keys());
        return vec![Step::PreparePassword { generation }, Step::SwitchPassword];
    }
    if active.cost != situation.spec.bcrypt_cost {
        return vec![Step::HashAgain];
    }
    let paused = situation.spec.rotation.state == RotationState::Paused;
    let Some(progress) = state.password_progress else {
        return if paused {
            Vec::new()
        } else {
            begin(state, situation)
        };
    };
    let Some(confirmed) = progress.confirmed else {
        let confirm = situation.published.then_some(Step::ConfirmPassword);
        return confirm.into_iter().collect();
    };
    if paused || !may_go_on(state, situation, progress.stage, confirmed) {
        return Vec::new();
    }
    match progress.stage {
        PasswordStage::Accepting => vec![Step::SwitchPassword],
        PasswordStage::ClientSwitched => vec![Step::DropPasswords],
    }
}

/// The exporters that hold the stage up; `None` where none is being waited for.
pub(super) fn tally(state: &State, situation: &Situation<'_>) -> Option<Tally> {
    let progress = state.password_progress?;
    let confirmed = progress.confirmed?;
    let (exporters, timers) = (situation.exporters, situation.timers);
    Some(match progress.stage {
        PasswordStage::Accepting => {
            let newest = state.passwords.last_key_value();
            let id = newest
                .and_then(|(_, newest)| newest.id())
                .unwrap_or_default();
            let waited = situation.is_over(timers.blind_wait, confirmed);
            Tally::of(exporters, waited, timers.blind_wait, accepts(&id))
        }
        PasswordStage::ClientSwitched => {
            let old = state
                .passwords
                .iter()
                .filter(|(generation, _)| **generation != state.active_password);
            let ids: BTreeSet<String> = old.filter_map(|(_, password)| password.id()).collect();
            let wait = situation.overlap().max(timers.blind_wait);
            let waited = situation.is_over(wait, confirmed);
            Tally::of(
                exporters,
                waited,
                timers.blind_wait,
                unused(&ids, timers.unused_for),
            )
        }
    })
}

/// Whether the stage's wait is over, and only exporters hold it up.
pub(super) fn awaits_exporters(state: &State, situation: &Situation<'_>) -> bool {
    state
        .password_progress
        .and_then(|progress| Some((progress.stage, progress.confirmed?)))
        .is_some_and(|(stage, confirmed)| situation.is_over(wait(stage, situation), confirmed))
}

/// When time alone brings the next step.
pub(super) fn deadline(state: &State, situation: &Situation<'_>) -> Option<Timestamp> {
    match state.password_progress {
        None => due(state, situation),
        Some(Progress {
            confirmed: None, ..
        }) => None,
        Some(Progress {
            stage,
            confirmed: Some(confirmed),
            ..
        }) => confirmed.checked_add(wait(stage, situation)).ok(),
    }
}

fn begin(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    let requested = situation
        .requests
        .is_pending(Subject::Password, &state.handled);
    let is_due = due(state, situation).is_some_and(|time| time <= situation.now);
    if !requested && !is_due {
        return Vec::new();
    }
    let generation = next(state.passwords.keys());
    let mut steps = vec![Step::PreparePassword { generation }];
    if requested {
        steps.push(remember(Subject::Password, situation));
    }
    steps
}

fn may_go_on(
    state: &State,
    situation: &Situation<'_>,
    stage: PasswordStage,
    confirmed: Timestamp,
) -> bool {
    let proceeds = situation.spec.rotation.on_stragglers == Stragglers::Proceed
        && situation.is_over(situation.overlap(), confirmed);
    let settled = || tally(state, situation).is_some_and(|tally| tally.is_settled());
    situation.is_over(wait(stage, situation), confirmed) && (proceeds || settled())
}

/// How long a stage lasts at least.
fn wait(stage: PasswordStage, situation: &Situation<'_>) -> SignedDuration {
    match stage {
        PasswordStage::Accepting => situation.timers.accept_soak,
        PasswordStage::ClientSwitched => situation.overlap(),
    }
}

/// When the active password is to be followed by the next; `None` for never.
fn due(state: &State, situation: &Situation<'_>) -> Option<Timestamp> {
    let interval = situation.spec.rotation.password_interval?;
    let active = state.passwords.get(&state.active_password)?;
    active.created.checked_add(interval).ok()
}
