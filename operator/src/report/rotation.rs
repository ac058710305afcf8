//! What the status tells of a rotation that is under way. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{RotationState, RotationStatus},
    report::{
        conditions::{self, Finding},
        seen::Seen,
    },
    rotation::{evidence::Tally, state::State},
    spec::ValidSpec,
};

/// How many nodes a message names.
const NAMED: usize = 5;

/// `status.rotation`; `None` between changes.
pub fn progress(state: &State, waiting_for: Option<&Tally>) -> Option<RotationStatus> {
    let stages = stages(state);
    let first = stages.first()?;
    let join = |part: fn(&Stage) -> &str| {
        let parts: Vec<&str> = stages.iter().map(part).collect();
        parts.join(", ")
    };
    let evidence = match waiting_for {
        None => "Waiting",
        Some(tally) if tally.timed > 0 => "Timed",
        Some(_) => "Observed",
    };
    Some(RotationStatus {
        subject: join(|stage| stage.subject),
        stage: join(|stage| &stage.name),
        stage_time: first
            .confirmed
            .and_then(|time| jiff::Timestamp::from_second(time.as_second()).ok())
            .map(Time),
        evidence: evidence.to_owned(),
    })
}

/// The condition `Rotating`.
pub fn rotating(state: &State, waiting_for: Option<&Tally>) -> Finding {
    match progress(state, waiting_for) {
        None => Finding::new(
            conditions::ROTATING,
            false,
            "Steady",
            "no authority and no password is being changed",
        ),
        Some(rotation) => {
            let by = match rotation.evidence.as_str() {
                "Timed" => "; going on by time, because not every exporter could be asked",
                _ => "",
            };
            Finding::new(
                conditions::ROTATING,
                true,
                "InProgress",
                format!("{}: {}{by}", rotation.subject, rotation.stage),
            )
        }
    }
}

/// The condition `RotationBlocked`.
pub fn blocked(spec: &ValidSpec, seen: &Seen<'_>) -> Finding {
    let finding = |holds, reason, message: String| {
        Finding::new(conditions::ROTATION_BLOCKED, holds, reason, message)
    };
    if let Some(problem) = &seen.requests.problem {
        return finding(true, "InvalidRequest", problem.clone());
    }
    if spec.rotation.state == RotationState::Paused {
        let message =
            "spec.rotation.state is Paused; the serving certificate is renewed all the same";
        return finding(true, "Paused", message.to_owned());
    }
    match seen.waiting_for {
        Some(tally) if !tally.is_settled() => finding(true, "Stragglers", stragglers(tally)),
        _ => finding(false, "Free", "nothing holds a rotation up".to_owned()),
    }
}

fn stragglers(tally: &Tally) -> String {
    let mut named: Vec<String> = tally
        .holding
        .iter()
        .map(|(node, why)| format!("{node} {}", why.text()))
        .collect();
    // Answers come in any order, and a message that changes by it would be a write each time.
    named.sort_unstable();
    let rest = named.len().saturating_sub(NAMED);
    named.truncate(NAMED);
    let more = if rest > 0 {
        format!("; and {rest} more")
    } else {
        String::new()
    };
    format!(
        "the old credential goes on working, because of {} nodes: {}{more}. Mend or remove them, or set spec.rotation.onStragglers: Proceed",
        tally.holding.len(),
        named.join("; ")
    )
}

struct Stage {
    subject: &'static str,
    name: String,
    confirmed: Option<jiff::Timestamp>,
}

fn stages(state: &State) -> Vec<Stage> {
    let authority = state.authority_progress.map(|progress| Stage {
        subject: "Authority",
        name: format!("{:?}", progress.stage),
        confirmed: progress.confirmed,
    });
    let password = state.password_progress.map(|progress| Stage {
        subject: "Password",
        name: format!("{:?}", progress.stage),
        confirmed: progress.confirmed,
    });
    authority.into_iter().chain(password).collect()
}
