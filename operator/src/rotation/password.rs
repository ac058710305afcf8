//! Rotation of the password. The user name stays the same.
//!
//! | stage | exporters accept | scrapers use | ends when |
//! | --- | --- | --- | --- |
//! | none | p | p | a rotation is due or requested, or the user-supplied password changed |
//! | `Accepting` | p, p+1 | p | every exporter accepts p+1 |
//! | `ClientSwitched` | p, p+1 | p+1 | the overlap is over, and no client has used p recently |

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{RotationState, Stragglers},
    rotation::{
        annotations::Subject,
        evidence::{Tally, accepts, unused},
        situation::{Situation, next, remember},
        state::{Password, PasswordStage, Progress, State},
        step::{PasswordStep, Step},
        timing::Timers,
    },
    supplied::credentials::{CredentialsProblem, UserSecret},
};
use secure_exporter_pki::secret_text::SecretText;

/// Returns the next steps.
pub(crate) fn advance(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    let Some(active) = state.passwords.get(&state.active_password) else {
        // The authentication methods do not require a password.
        return Vec::new();
    };
    if active.password.is_none() {
        return restore(state, situation);
    }
    let is_cost_set = !situation.spec.has_default_bcrypt_cost;
    if is_cost_set && active.cost != situation.spec.bcrypt_cost {
        return vec![Step::Password(PasswordStep::HashAgain)];
    }
    let paused = situation.spec.rotation.state == RotationState::Paused;
    let Some(progress) = state.password_progress else {
        return if paused {
            Vec::new()
        } else {
            begin(state, active, situation)
        };
    };
    let Some(confirmed) = progress.confirmed else {
        let confirm = situation
            .published
            .then_some(Step::Password(PasswordStep::Confirm));
        return confirm.into_iter().collect();
    };
    if paused || !may_advance(state, situation, progress.stage, confirmed) {
        return Vec::new();
    }
    match progress.stage {
        PasswordStage::Accepting => vec![Step::Password(PasswordStep::Switch)],
        PasswordStage::ClientSwitched => vec![Step::Password(PasswordStep::DropOthers)],
    }
}

/// Replaces a leaked password at once, unless there is an [`obstacle`].
pub(crate) fn replace(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    let generation = next(state.passwords.keys());
    let own = own(situation);
    vec![Step::Password(PasswordStep::Replace { generation, own })]
}

/// Why a leaked password must stay for now. The operator must not choose another one where the user supplies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle<'a> {
    /// The Secret could not be read.
    Unreadable,
    /// The Secret has no usable password.
    Invalid(&'a CredentialsProblem),
    /// The Secret contains the only password that is accepted.
    Unchanged,
}

/// Returns why a leaked password must stay for now; `None` if it can be replaced. `own` is what the user supplies.
pub(crate) fn obstacle<'a>(state: &State, own: &'a UserSecret<SecretText>) -> Option<Obstacle<'a>> {
    match own {
        UserSecret::NotConfigured => None,
        UserSecret::Unreadable => Some(Obstacle::Unreadable),
        UserSecret::Invalid(problem) => Some(Obstacle::Invalid(problem)),
        UserSecret::Usable(text) => {
            let mut accepted = state.passwords.values();
            let is_unchanged = !state.passwords.is_empty()
                && accepted.all(|it| it.password.as_ref() == Some(text));
            is_unchanged.then_some(Obstacle::Unchanged)
        }
    }
}

/// A password that scrapers can be told: the text of the active one was lost with the state, and with the Secret that
/// scrapers mount.
pub(crate) fn restore(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    let generation = next(state.passwords.keys());
    let own = own(situation);
    vec![
        Step::Password(PasswordStep::Prepare { generation, own }),
        Step::Password(PasswordStep::Switch),
    ]
}

/// Whether the text of the active password is lost.
pub(crate) fn is_lost(state: &State) -> bool {
    let active = state.passwords.get(&state.active_password);
    active.is_some_and(|active| active.password.is_none())
}

/// Returns the user-supplied password, if there is a usable one.
pub(crate) fn own(situation: &Situation<'_>) -> Option<SecretText> {
    match &situation.own.password {
        UserSecret::Usable(text) => Some(text.clone()),
        UserSecret::NotConfigured | UserSecret::Invalid(_) | UserSecret::Unreadable => None,
    }
}

/// Returns the exporters that block the stage; `None` if it does not wait for exporters.
pub(crate) fn tally(state: &State, situation: &Situation<'_>) -> Option<Tally> {
    let progress = state.password_progress?;
    let confirmed = progress.confirmed?;
    let (heard, timers) = (situation.heard, situation.timers);
    Some(match progress.stage {
        PasswordStage::Accepting => {
            let newest = state.passwords.last_key_value();
            let id = newest
                .and_then(|(_, newest)| newest.id())
                .unwrap_or_default();
            let waited = situation.is_over(timers.blind_wait, confirmed);
            Tally::of(heard, waited, timers.blind_wait, accepts(&id))
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
                heard,
                waited,
                timers.blind_wait,
                unused(&ids, timers.unused_for),
            )
        }
    })
}

/// Whether the timer of the stage is over, so that it only waits for exporters.
pub(crate) fn awaits_exporters(
    state: &State,
    overlap: SignedDuration,
    timers: &Timers,
    now: Timestamp,
) -> bool {
    state
        .password_progress
        .and_then(|progress| Some((progress.stage, progress.confirmed?)))
        .is_some_and(|(stage, confirmed)| {
            now.duration_since(confirmed) >= wait(stage, overlap, timers)
        })
}

/// Returns when the next step is due by time alone.
pub(crate) fn deadline(state: &State, situation: &Situation<'_>) -> Option<Timestamp> {
    match state.password_progress {
        None => due(state, situation),
        Some(Progress {
            confirmed: None, ..
        }) => None,
        Some(Progress {
            stage,
            confirmed: Some(confirmed),
            ..
        }) => {
            let wait = wait(stage, situation.overlap(), situation.timers);
            Some(situation.end(wait, confirmed))
        }
    }
}

fn begin(state: &State, active: &Password, situation: &Situation<'_>) -> Vec<Step> {
    // What the user has put into the Secret is not known before it can be read.
    let requested = situation.own.password != UserSecret::Unreadable
        && situation
            .requests
            .is_pending(Subject::Password, &state.handled);
    let is_due = due(state, situation).is_some_and(|time| time <= situation.now);
    let prepare = |own| {
        let generation = next(state.passwords.keys());
        Step::Password(PasswordStep::Prepare { generation, own })
    };
    let step = match &situation.own.password {
        UserSecret::Usable(text) if active.password.as_ref() != Some(text) => {
            Some(prepare(Some(text.clone())))
        }
        UserSecret::Usable(_) | UserSecret::Invalid(_) | UserSecret::Unreadable => {
            requested.then_some(Step::Password(PasswordStep::Keep))
        }
        // A password that is no longer user-supplied is replaced by a generated one.
        UserSecret::NotConfigured => (requested || is_due || active.own).then(|| prepare(None)),
    };
    let mut steps: Vec<Step> = step.into_iter().collect();
    if requested {
        steps.push(remember(Subject::Password, situation));
    }
    steps
}

fn may_advance(
    state: &State,
    situation: &Situation<'_>,
    stage: PasswordStage,
    confirmed: Timestamp,
) -> bool {
    let proceeds = situation.spec.rotation.on_stragglers == Stragglers::Proceed
        && situation.is_over(situation.overlap(), confirmed);
    let settled = || tally(state, situation).is_some_and(|tally| tally.is_settled());
    situation.is_over(
        wait(stage, situation.overlap(), situation.timers),
        confirmed,
    ) && (proceeds || settled())
}

/// Returns the minimum duration of a stage.
fn wait(stage: PasswordStage, overlap: SignedDuration, timers: &Timers) -> SignedDuration {
    match stage {
        PasswordStage::Accepting => timers.accept_soak,
        PasswordStage::ClientSwitched => overlap,
    }
}

/// Returns when the password must be rotated; `None` for never.
fn due(state: &State, situation: &Situation<'_>) -> Option<Timestamp> {
    let interval = situation.spec.rotation.password_interval?;
    let active = state.passwords.get(&state.active_password)?;
    active.created.checked_add(interval).ok()
}

#[cfg(test)]
mod tests;
