//! Decides the next steps. Pure: a function of spec, state, what is published, the exporters' answers and the time.

use jiff::Timestamp;

use crate::{
    rotation::{
        annotations::Subject,
        authority,
        because::Because,
        client,
        evidence::{Heard, Tally},
        external, leaf, password,
        situation::{Situation, next, remember},
        state::State,
        step::{AuthorityStep, ClientStep, LeafStep, PasswordStep, RequestStep, Step, TimerStep},
        timing::Timers,
    },
    spec::ValidSpec,
    supplied::{
        certificate::Supply,
        credentials::{UserSecret, Users},
    },
};
use secure_exporter_pki::InspectError;

/// Returns the next steps for `state`. An empty list means that nothing changes.
///
/// # Errors
/// A certificate in the state cannot be parsed.
pub fn decide(state: Option<&State>, situation: &Situation<'_>) -> Result<Vec<Step>, InspectError> {
    let Some(state) = state else {
        return Ok(first(situation));
    };
    let mut steps: Vec<Step> = accept(state, situation).into_iter().collect();
    if let Some(distrusted) = distrust(state, situation) {
        steps.extend(distrusted);
        return Ok(steps);
    }
    steps.extend(forget(state, situation));
    steps.extend(replace_users(&state.users, situation));
    if let Some(restart) = restart(state, situation) {
        steps.push(restart);
        steps.extend(match situation.supply {
            Supply::Managed => leaf::renew(state, situation)?,
            Supply::External(supply) => external::renew(state, situation, supply),
        });
        steps.extend(client::renew(state, situation)?);
        return Ok(steps);
    }
    if let Supply::External(supply) = situation.supply {
        steps.extend(external::advance(state, situation, supply)?);
        steps.extend(password::advance(state, situation));
        return Ok(steps);
    }
    steps.extend(authority::advance(state, situation)?);
    steps.extend(password::advance(state, situation));
    let leaf_is_new = steps
        .iter()
        .any(|step| matches!(step, Step::Leaf(LeafStep::Issue { .. })));
    if !leaf_is_new {
        // The serving certificate waits for nothing, at any stage of the rotations.
        steps.extend(leaf::renew(state, situation)?);
    }
    let client_is_new = steps
        .iter()
        .any(|step| matches!(step, Step::Client(ClientStep::Issue { .. })));
    if !client_is_new {
        steps.extend(client::renew(state, situation)?);
    }
    Ok(steps)
}

/// Returns which exporters block a rotation; `None` if no rotation waits for exporters.
pub fn tally(state: &State, situation: &Situation<'_>) -> Option<Tally> {
    let authority = authority::tally(state, situation);
    let password = password::tally(state, situation);
    match (authority, password) {
        (Some(authority), Some(password)) if authority.is_settled() => Some(password),
        (authority, password) => authority.or(password),
    }
}

/// Whether a rotation only waits for the exporters' answers.
pub fn awaits_exporters(state: &State, spec: &ValidSpec, timers: &Timers, now: Timestamp) -> bool {
    let overlap = timers.overlap(spec.rotation.client_overlap);
    authority::awaits_exporters(state, overlap, now)
        || password::awaits_exporters(state, overlap, timers, now)
}

/// Returns when the next exporter that cannot be asked may be assumed to have what was published; `None` if no rotation waits
/// for that.
pub fn next_assumption(
    state: &State,
    spec: &ValidSpec,
    heard: &Heard,
    timers: &Timers,
    now: Timestamp,
) -> Option<Timestamp> {
    let confirmed = [
        state.authority_progress.and_then(|it| it.confirmed),
        state.password_progress.and_then(|it| it.confirmed),
    ];
    let confirmed: Vec<Timestamp> = confirmed.into_iter().flatten().collect();
    if confirmed.is_empty() {
        return None;
    }
    let blind_wait = timers.blind_wait;
    let longer = timers.overlap(spec.rotation.client_overlap).max(blind_wait);
    let waits = confirmed.iter().flat_map(|confirmed| {
        let ends = [blind_wait, longer].map(|wait| confirmed.checked_add(wait).ok());
        ends.into_iter().flatten()
    });
    let silent = heard
        .exporters
        .iter()
        .filter(|it| it.ready && it.answer.is_none());
    let silences = silent.filter_map(|it| now.checked_add(blind_wait - it.silent_for).ok());
    waits.chain(silences).filter(|time| *time > now).min()
}

/// Returns when the next step may be due although nothing else happens.
///
/// # Errors
/// A certificate in the state cannot be parsed.
pub fn next_deadline(state: &State, situation: &Situation<'_>) -> Result<Timestamp, InspectError> {
    let (leaf, authority) = match situation.supply {
        Supply::Managed => (
            Some(leaf::due(state, situation)?),
            authority::deadline(state, situation)?,
        ),
        Supply::External(_) => (None, external::deadline(state, situation)?),
    };
    let times = [
        leaf,
        client::next(state, situation)?,
        authority,
        password::deadline(state, situation),
    ];
    // A deadline in the past waits for something other than time.
    let coming = times
        .into_iter()
        .flatten()
        .filter(|time| *time > situation.now);
    Ok(coming.min().unwrap_or(Timestamp::MAX))
}

fn first(situation: &Situation<'_>) -> Vec<Step> {
    let because = Because::First;
    let mut steps = match situation.supply {
        Supply::Managed => vec![
            Step::Authority(AuthorityStep::Replace { generation: 1 }),
            Step::Leaf(LeafStep::Issue { because }),
        ],
        Supply::External(supply) => external::first(supply),
    };
    if steps.is_empty() {
        // Without a certificate nothing can be served, so no password is needed.
        return steps;
    }
    steps.push(Step::AcceptSpec);
    if situation.spec.methods.ask_certificate() {
        steps.push(Step::Client(ClientStep::Issue { because }));
    }
    if situation.spec.methods.ask_password() {
        steps.push(Step::Password(PasswordStep::Replace {
            generation: 1,
            own: password::own(situation),
        }));
    }
    steps.extend(replace_users(&Users::new(), situation));
    steps
}

/// Replaces leaked credentials at once. Scrapes fail until the scrapers have the new ones, as the user requested. A
/// user-supplied password may have to stay until its Secret has another one; the CA does not wait for that.
fn distrust(state: &State, situation: &Situation<'_>) -> Option<Vec<Step>> {
    let pending = |subject| situation.requests.is_pending(subject, &state.handled);
    let authority = situation.requests.distrust_authority(&state.handled);
    let all = pending(Subject::DistrustAll);
    let (asks_password, is_lost) = (
        situation.spec.methods.ask_password(),
        password::is_lost(state),
    );
    let stays = asks_password && password::obstacle(state, &situation.own.password).is_some();
    let is_done = all && !stays;
    let is_due = authority || is_done || all && is_lost;
    if !is_due {
        return None;
    }
    let is_managed = *situation.supply == Supply::Managed;
    let mut steps = Vec::new();
    if authority && is_managed {
        steps.extend(authority::replace(
            situation,
            next(state.authorities.keys()),
        ));
    } else if authority {
        steps.extend(external::distrust(state, situation));
    }
    if all && asks_password && (is_done || is_lost) {
        steps.extend(password::replace(state, situation));
    } else if is_lost {
        // Nothing could be published without one.
        steps.extend(password::restore(state, situation));
    }
    let is_answered = |subject: &Subject| match subject {
        // Of `distrust: all`, it is the part that does not wait.
        Subject::DistrustAuthority => authority && (pending(*subject) || stays),
        subject => *subject == Subject::DistrustAll && is_done,
    };
    let answered = Subject::ALL.into_iter().filter(is_answered);
    steps.extend(answered.map(|subject| {
        if is_managed {
            remember(subject, situation)
        } else {
            external::decline_one(subject, situation)
        }
    }));
    Some(steps)
}

/// Stores the accepted spec before anything that depends on it.
fn accept(state: &State, situation: &Situation<'_>) -> Option<Step> {
    (state.accepted.as_ref() != Some(situation.spec)).then_some(Step::AcceptSpec)
}

/// Additional users have no overlap, because a removed user must be refused.
fn replace_users(current: &Users, situation: &Situation<'_>) -> Option<Step> {
    let wanted = match &situation.own.users {
        UserSecret::Usable(users) => users.clone(),
        UserSecret::NotConfigured => Users::new(),
        UserSecret::Invalid(_) | UserSecret::Unreadable => return None,
    };
    (wanted != *current).then_some(Step::ReplaceUsers { users: wanted })
}

fn forget(state: &State, situation: &Situation<'_>) -> Vec<Step> {
    let withdrawn = situation.requests.withdrawn(&state.handled);
    withdrawn
        .into_iter()
        .map(|subject| Step::Request(RequestStep::Forget { subject }))
        .collect()
}

/// Returns the step that restarts running timers if they are unreliable. They use the wall clock, because they must survive
/// a restart of the process; when the clock jumps, they would end too early or never.
fn restart(state: &State, situation: &Situation<'_>) -> Option<Step> {
    let confirmed = [
        state.authority_progress.and_then(|it| it.confirmed),
        state.password_progress.and_then(|it| it.confirmed),
    ];
    let latest = confirmed.into_iter().flatten().max()?;
    if !situation.published {
        return Some(Step::Timers(TimerStep::AwaitPublication));
    }
    (situation.clock_jumped || latest > situation.now).then_some(Step::Timers(TimerStep::Restart))
}
