//! `status.rotation` and the conditions `Rotating` and `RotationBlocked`. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{RotationState, RotationStatus, Stragglers},
    names::Owner,
    report::{
        conditions::{self, Finding, Verdict},
        seen::Seen,
    },
    rotation::{
        evidence::{Tally, Waiting},
        state::{AuthorityStage, PasswordStage, State},
    },
    spec::ValidSpec,
};

/// How many nodes a message names.
const MAX_NAMED_NODES: usize = 5;

/// Returns `status.rotation`; `None` between rotations.
pub fn progress(
    previous: Option<&RotationStatus>,
    state: &State,
    waiting: &Waiting,
) -> Option<RotationStatus> {
    let stages = stages(state);
    let first = stages.first()?;
    let join = |part: fn(&Stage) -> &str| {
        let parts: Vec<&str> = stages.iter().map(part).collect();
        parts.join(", ")
    };
    let evidence = match (waiting, previous) {
        (Waiting::NotKnown, Some(previous)) => &previous.evidence,
        (Waiting::NotKnown | Waiting::Nobody, _) => "Waiting",
        (Waiting::For(tally), _) if tally.timed > 0 => "Timed",
        (Waiting::For(_), _) => "Observed",
    };
    Some(RotationStatus {
        subject: join(|stage| stage.subject),
        stage: join(|stage| stage.name),
        stage_time: first
            .confirmed
            .and_then(|time| Timestamp::from_second(time.as_second()).ok())
            .map(Time),
        evidence: evidence.to_owned(),
    })
}

/// Returns the condition `Rotating`.
pub fn rotating(spec: &ValidSpec, state: &State, waiting: &Waiting) -> Finding {
    let finding =
        |holds, reason, message| Finding::new(conditions::ROTATING, holds, reason, message);
    let rotations: Vec<String> = authority_rotation(spec, state)
        .into_iter()
        .chain(password_rotation(spec, state))
        .collect();
    if rotations.is_empty() {
        let message = "No rotation of the CA or the password is in progress.".to_owned();
        return finding(false, "Steady", message);
    }
    let timed = match waiting {
        Waiting::For(tally) if tally.timed > 0 => {
            " Not every exporter could be asked; for those the operator waits a fixed time instead."
        }
        _ => "",
    };
    finding(
        true,
        "InProgress",
        format!("{}{timed}", rotations.join(" ")),
    )
}

fn authority_rotation(spec: &ValidSpec, state: &State) -> Option<String> {
    let progress = state.authority_progress?;
    let stage = progress.stage;
    let (meaning, end) = match stage {
        AuthorityStage::TrustPublished => (
            "the CA bundle contains the new CA as well as the old one, and the old one still signs",
            "It ends when scrapers have had time to read the new CA bundle".to_owned(),
        ),
        AuthorityStage::LeafSwitched => (
            "the exporters switch to a certificate of the new CA, and the CA bundle still contains the old one",
            end_of_overlap(spec, "every exporter serves a certificate of the new CA"),
        ),
        AuthorityStage::ClientSwitched => (
            "scrapers switch to a client certificate of the new CA, and exporters still trust the old one",
            end_of_overlap(spec, "every exporter serves a certificate of the new CA"),
        ),
        AuthorityStage::Rebuilt => (
            "the state was lost and rebuilt from the published objects, and every CA that exporters may still use stays in the CA bundle",
            end_of_overlap(spec, "every exporter serves a certificate of the active CA"),
        ),
    };
    let earliest = match stage {
        AuthorityStage::TrustPublished => None,
        _ => after_overlap(spec, progress.confirmed),
    };
    let confirmed = progress.confirmed.is_some();
    let subject = format!("The CA is being rotated (stage {})", stage.name());
    Some(sentence(&subject, meaning, &end, confirmed, earliest))
}

fn password_rotation(spec: &ValidSpec, state: &State) -> Option<String> {
    let progress = state.password_progress?;
    let stage = progress.stage;
    let (meaning, end, earliest) = match stage {
        PasswordStage::Accepting => (
            "exporters accept the new password as well as the old one, and scrapers still use the old one",
            "It ends when every exporter accepts the new password".to_owned(),
            None,
        ),
        PasswordStage::ClientSwitched => (
            "scrapers switch to the new password, and exporters still accept the old one",
            end_of_overlap(spec, "no client uses the old password any more"),
            after_overlap(spec, progress.confirmed),
        ),
    };
    let confirmed = progress.confirmed.is_some();
    let subject = format!("The password is being rotated (stage {})", stage.name());
    Some(sentence(&subject, meaning, &end, confirmed, earliest))
}

fn sentence(
    subject: &str,
    meaning: &str,
    end: &str,
    confirmed: bool,
    earliest: Option<Timestamp>,
) -> String {
    let when = match earliest {
        Some(time) => format!(", at {time} at the earliest"),
        None if !confirmed => {
            ", counted from when everything of this stage is published".to_owned()
        }
        None => String::new(),
    };
    format!("{subject}: {meaning}. {end}{when}.")
}

/// When a stage ends that lasts for the overlap.
fn end_of_overlap(spec: &ValidSpec, evidence: &str) -> String {
    let overlap = spec.rotation.client_overlap;
    let overlap = format!("It ends when spec.rotation.clientOverlap ({overlap:#}) is over");
    match spec.rotation.on_stragglers {
        Stragglers::Wait => format!("{overlap} and {evidence}"),
        Stragglers::Proceed => overlap,
    }
}

/// The earliest end of a stage that lasts for the overlap; `None` until the stage is confirmed.
fn after_overlap(spec: &ValidSpec, confirmed: Option<Timestamp>) -> Option<Timestamp> {
    let end = confirmed?.checked_add(spec.rotation.client_overlap).ok()?;
    Timestamp::from_second(end.as_second()).ok()
}

/// Returns the condition `RotationBlocked`.
pub fn blocked(spec: &ValidSpec, seen: &Seen<'_>) -> Verdict {
    let finding = |holds, reason, message: String| {
        Verdict::Found(Finding::new(
            conditions::ROTATION_BLOCKED,
            holds,
            reason,
            message,
        ))
    };
    if spec.rotation.state == RotationState::Paused {
        let resume = patch(seen.owner, r#"{"state":"Active"}"#);
        let message = format!(
            "Rotations are paused, because spec.rotation.state is Paused. The CA and the password do not change; the serving certificate is still renewed. To resume: {resume}"
        );
        return finding(true, "Paused", message);
    }
    match seen.waiting {
        Waiting::NotKnown => Verdict::AsBefore(conditions::ROTATION_BLOCKED),
        Waiting::For(tally) if !tally.is_settled() => {
            finding(true, "Stragglers", stragglers(tally, seen.owner))
        }
        _ => finding(false, "Free", "No rotation is blocked.".to_owned()),
    }
}

fn stragglers(tally: &Tally, owner: &Owner) -> String {
    let mut named: Vec<String> = tally
        .holding
        .iter()
        .map(|(node, why)| format!("{node}: {}", why.text()))
        .collect();
    match tally.missing {
        0 => {}
        1 => named.push("1 node has no exporter pod".to_owned()),
        missing => named.push(format!("{missing} nodes have no exporter pod")),
    }
    if tally.unknown {
        named.push("it is not known which nodes run an exporter".to_owned());
    }
    // The answers arrive in any order. A message that changed with it would be written at each pass.
    named.sort_unstable();
    let rest = named.len().saturating_sub(MAX_NAMED_NODES);
    named.truncate(MAX_NAMED_NODES);
    let more = if rest > 0 {
        format!("; and {rest} more")
    } else {
        String::new()
    };
    let proceed = patch(owner, r#"{"onStragglers":"Proceed"}"#);
    format!(
        "The rotation is waiting, and the old credential keeps working. Reasons: {}{more}. Fix these, or let the rotation drop the old credential after spec.rotation.clientOverlap regardless: {proceed}",
        named.join("; ")
    )
}

/// The command that changes `spec.rotation`.
fn patch(owner: &Owner, change: &str) -> String {
    format!(
        "kubectl patch secureexporter {} -n {} --type=merge -p '{{\"spec\":{{\"rotation\":{change}}}}}'",
        owner.name, owner.namespace
    )
}

struct Stage {
    subject: &'static str,
    name: &'static str,
    confirmed: Option<Timestamp>,
}

fn stages(state: &State) -> Vec<Stage> {
    let authority = state.authority_progress.map(|progress| Stage {
        subject: "Authority",
        name: progress.stage.name(),
        confirmed: progress.confirmed,
    });
    let password = state.password_progress.map(|progress| Stage {
        subject: "Password",
        name: progress.stage.name(),
        confirmed: progress.confirmed,
    });
    authority.into_iter().chain(password).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::rotation::{
        because::Because,
        carry_out::carry_out,
        evidence::Holding,
        state::Progress,
        step::{AuthorityStep, LeafStep, PasswordStep, Step},
    };

    fn owner() -> Owner {
        Owner {
            name: "nodes".into(),
            namespace: "monitoring".into(),
            uid: "u".into(),
        }
    }

    fn spec() -> ValidSpec {
        let spec = json!({"authentication": {"basicAuth": {"bcryptCost": 4}}});
        ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &owner()).unwrap()
    }

    fn now() -> Timestamp {
        "2027-01-01T00:00:00Z".parse().unwrap()
    }

    fn state() -> State {
        let because = Because::First;
        let steps = [
            Step::Authority(AuthorityStep::Replace { generation: 1 }),
            Step::Leaf(LeafStep::Issue { because }),
            Step::Password(PasswordStep::Replace {
                generation: 1,
                own: None,
            }),
        ];
        carry_out(&steps, None, &spec(), &owner(), now()).unwrap()
    }

    #[test]
    fn a_rotation_is_explained_with_its_earliest_end() {
        let mut state = state();
        let steady = rotating(&spec(), &state, &Waiting::Nobody);
        assert_eq!((steady.holds, steady.reason), (Some(false), "Steady"));
        let mut progress = Progress::begin(PasswordStage::ClientSwitched, now());
        state.password_progress = Some(progress);
        let unconfirmed = rotating(&spec(), &state, &Waiting::Nobody).message;
        assert_eq!(
            unconfirmed,
            "The password is being rotated (stage ClientSwitched): scrapers switch to the new password, and exporters still accept the old one. It ends when spec.rotation.clientOverlap (24h) is over and no client uses the old password any more, counted from when everything of this stage is published."
        );
        progress.confirmed = Some(now());
        state.password_progress = Some(progress);
        let confirmed = rotating(&spec(), &state, &Waiting::Nobody);
        assert_eq!(
            (confirmed.holds, confirmed.reason),
            (Some(true), "InProgress")
        );
        let end = "any more, at 2027-01-02T00:00:00Z at the earliest.";
        assert!(confirmed.message.ends_with(end), "{}", confirmed.message);
    }

    #[test]
    fn a_client_with_the_old_password_is_not_blamed_on_its_node() {
        let hour = SignedDuration::from_hours(1);
        let tally = Tally {
            holding: vec![("node1".into(), Holding::OldPasswordInUse(hour))],
            missing: 1,
            ..Tally::default()
        };
        assert_eq!(
            stragglers(&tally, &owner()),
            "The rotation is waiting, and the old credential keeps working. Reasons: 1 node has no exporter pod; node1: a client used the old password within the last 1h. Fix these, or let the rotation drop the old credential after spec.rotation.clientOverlap regardless: kubectl patch secureexporter nodes -n monitoring --type=merge -p '{\"spec\":{\"rotation\":{\"onStragglers\":\"Proceed\"}}}'"
        );
    }
}
