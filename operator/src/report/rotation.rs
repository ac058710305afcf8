//! `status.rotation` and the conditions `Rotating` and `RotationBlocked`. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{RotationState, RotationStatus, Stragglers},
    names::Owner,
    report::{
        conditions::{self, Finding, Verdict},
        exporters::{MAX_NAMED_NODES, list},
        seen::{Seen, Served},
    },
    rotation::{
        authority,
        evidence::{Holding, Tally, Waiting},
        state::{AuthorityStage, PasswordStage, State},
        timing::Timers,
    },
    spec::ValidSpec,
};

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

/// Returns the condition `Rotating`: what each rotation does now, what comes next, what that waits for, and when it can end.
pub fn rotating(served: &Served<'_>, seen: &Seen<'_>) -> Finding {
    let finding =
        |holds, reason, message| Finding::new(conditions::ROTATING, holds, reason, message);
    let outlook = Outlook {
        spec: served.spec,
        state: served.state,
        timers: seen.timers,
    };
    let mut sentences: Vec<String> = outlook
        .authority()
        .into_iter()
        .chain(outlook.password())
        .collect();
    if sentences.is_empty() {
        let message = "No rotation of the CA or the password is in progress.".to_owned();
        return finding(false, "Steady", message);
    }
    let is_paused = served.spec.rotation.state == RotationState::Paused;
    let pause = match seen.waiting {
        _ if is_paused => Some("Rotations are paused, so this does not continue"),
        _ if let Some(problem) = seen.stopping_rotations() => {
            (!problem.is_passing()).then_some("This cannot continue")
        }
        Waiting::For(tally) if !tally.is_settled() => {
            Some("It is waiting for exporters or clients that have fallen behind")
        }
        _ => None,
    };
    sentences.extend(pause.map(|why| format!("{why}: see the condition RotationBlocked.")));
    if let Waiting::For(tally) = seen.waiting
        && tally.timed > 0
    {
        sentences.push(
            "Not every exporter could be asked; for those the operator waits a fixed time instead."
                .to_owned(),
        );
    }
    finding(true, "InProgress", sentences.join(" "))
}

/// What the explanation of a rotation depends on.
struct Outlook<'a> {
    spec: &'a ValidSpec,
    state: &'a State,
    timers: &'a Timers,
}

/// A stage of a rotation, in words.
struct Explanation {
    subject: String,
    /// What exporters and scrapers do in this stage.
    now: &'static str,
    /// What happens at its end.
    next: &'static str,
    /// What that waits for.
    until: String,
    /// For how long this stage lasts at least.
    wait: SignedDuration,
    /// For how long the stage after it lasts at least; `None` if there is none.
    then: Option<SignedDuration>,
    confirmed: Option<Timestamp>,
}

impl Outlook<'_> {
    fn authority(&self) -> Option<String> {
        let progress = self.state.authority_progress?;
        let stage = progress.stage;
        let is_prepared = authority::is_prepared(self.state, stage);
        let now = match stage {
            AuthorityStage::TrustPublished => {
                "the CA bundle contains the new CA as well as the old one, and the old one still signs"
            }
            AuthorityStage::LeafSwitched => {
                "the exporters switch to a certificate of the new CA, and the CA bundle still contains the old one"
            }
            AuthorityStage::ClientSwitched => {
                "scrapers switch to a client certificate of the new CA, and exporters still trust the old one"
            }
            AuthorityStage::Rebuilt => {
                "the state was lost and rebuilt from the published objects, and every CA that exporters may still use stays in the CA bundle"
            }
        };
        let (next, until, wait) = if is_prepared {
            let soak = authority::soak(self.state, self.timers, self.overlap());
            let until = "scrapers have had time to read the new CA bundle".to_owned();
            let next = "the exporters switch to a certificate of the new CA";
            (next, until, soak)
        } else {
            let until = self.end_of_overlap("every exporter serves a certificate of the active CA");
            let next = "every other CA is removed from the CA bundle, which ends the rotation";
            (next, until, self.overlap())
        };
        let explanation = Explanation {
            subject: format!("The CA is being rotated (stage {})", stage.name()),
            now,
            next,
            until,
            wait,
            then: is_prepared.then(|| self.overlap()),
            confirmed: progress.confirmed,
        };
        Some(self.text(&explanation))
    }

    fn password(&self) -> Option<String> {
        let progress = self.state.password_progress?;
        let stage = progress.stage;
        let subject = format!("The password is being rotated (stage {})", stage.name());
        let explanation = match stage {
            PasswordStage::Accepting => Explanation {
                subject,
                now: "exporters accept the new password as well as the old one, and scrapers still use the old one",
                next: "the new password is published for the scrapers",
                until: match self.spec.rotation.on_stragglers {
                    Stragglers::Wait => "every exporter accepts it".to_owned(),
                    Stragglers::Proceed => {
                        "every exporter accepts it, or spec.rotation.clientOverlap is over"
                            .to_owned()
                    }
                },
                wait: self.timers.accept_soak,
                then: Some(self.overlap()),
                confirmed: progress.confirmed,
            },
            PasswordStage::ClientSwitched => Explanation {
                subject,
                now: "scrapers switch to the new password, and exporters still accept the old one",
                next: "the old password is dropped, which ends the rotation",
                until: self.end_of_overlap("no client uses the old password any more"),
                wait: self.overlap(),
                then: None,
                confirmed: progress.confirmed,
            },
        };
        Some(self.text(&explanation))
    }

    fn text(&self, it: &Explanation) -> String {
        let next_time = after(it.confirmed, it.wait);
        let end_time = it.then.and_then(|then| after(next_time, then));
        let at = |time: Option<Timestamp>| {
            time.map_or_else(String::new, |time| format!(", at {time} at the earliest"))
        };
        let end = match it.then {
            Some(_) => format!(
                " The rotation ends when spec.rotation.clientOverlap ({:#}) is over after that{}.",
                self.overlap(),
                at(end_time)
            ),
            None => String::new(),
        };
        let count = if it.confirmed.is_none() {
            " All times count from when everything of this stage is published, which is not confirmed yet."
        } else {
            ""
        };
        format!(
            "{}: {}. Next, {}, as soon as {}{}.{end}{count}",
            it.subject,
            it.now,
            it.next,
            it.until,
            at(next_time)
        )
    }

    /// What a stage waits for that lasts for the overlap.
    fn end_of_overlap(&self, evidence: &str) -> String {
        let over = format!("spec.rotation.clientOverlap ({:#}) is over", self.overlap());
        match self.spec.rotation.on_stragglers {
            Stragglers::Wait => format!("{over} and {evidence}"),
            Stragglers::Proceed => over,
        }
    }

    fn overlap(&self) -> SignedDuration {
        self.timers.overlap(self.spec.rotation.client_overlap)
    }
}

fn after(start: Option<Timestamp>, wait: SignedDuration) -> Option<Timestamp> {
    let time = start?.checked_add(wait).ok()?;
    Timestamp::from_second(time.as_second()).ok()
}

/// Returns the condition `RotationBlocked`.
pub fn blocked(served: &Served<'_>, seen: &Seen<'_>) -> Verdict {
    let (spec, state) = (served.spec, served.state);
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
    // What was not published is not the exporters' fault.
    if !stages(state).is_empty()
        && let Some(problem) = seen.stopping_rotations()
    {
        if problem.is_passing() {
            return Verdict::AsBefore(conditions::ROTATION_BLOCKED);
        }
        let message = format!(
            "The rotation cannot continue, because not everything could be published: {problem}. The old credential keeps working."
        );
        return finding(true, "NotPublished", message);
    }
    match seen.waiting {
        Waiting::NotKnown => match seen.blindness() {
            Some(problem) => seen.not_known(conditions::ROTATION_BLOCKED, problem),
            None => Verdict::AsBefore(conditions::ROTATION_BLOCKED),
        },
        Waiting::For(tally) if !tally.is_settled() => {
            finding(true, "Stragglers", stragglers(tally, seen.owner))
        }
        _ => finding(false, "Free", "No rotation is blocked.".to_owned()),
    }
}

fn stragglers(tally: &Tally, owner: &Owner) -> String {
    let sentences: Vec<String> = clients(tally, owner)
        .into_iter()
        .chain(nodes(tally))
        .collect();
    let proceed = patch(owner, r#"{"onStragglers":"Proceed"}"#);
    format!(
        "The rotation is waiting, and the old credential keeps working. {} To let the rotation drop the old credential after spec.rotation.clientOverlap all the same, which fails the scrapes of those that it waits for: {proceed}",
        sentences.join(" ")
    )
}

/// Clients that a rotation waits for. The nodes only saw them.
fn clients(tally: &Tally, owner: &Owner) -> Option<String> {
    let uses = tally.holding.iter().filter_map(|(node, why)| match why {
        Holding::OldPasswordInUse(within) => Some((node.as_str(), *within)),
        _ => None,
    });
    let (mut nodes, within): (Vec<&str>, Vec<SignedDuration>) = uses.unzip();
    let within = within.into_iter().max()?;
    nodes.sort_unstable();
    Some(format!(
        "A client still uses the old password: within the last {within:#} it scraped {}. Find that client and give it the password in Secret {}; a copy that was made by hand is not updated.",
        list(&nodes),
        owner.scrape_secret()
    ))
}

/// Nodes that a rotation waits for.
fn nodes(tally: &Tally) -> Option<String> {
    let mut named: Vec<String> = tally
        .holding
        .iter()
        .filter(|(_, why)| !matches!(why, Holding::OldPasswordInUse(_)))
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
    if named.is_empty() {
        return None;
    }
    // The answers arrive in any order. A message that changed with it would be written at each pass.
    named.sort_unstable();
    let rest = named.len().saturating_sub(MAX_NAMED_NODES);
    named.truncate(MAX_NAMED_NODES);
    if rest > 0 {
        named.push(format!("and {rest} more"));
    }
    Some(format!(
        "It waits for these exporters: {}. A changed Secret takes up to two minutes to arrive; if an exporter is still named after that, its log says why.",
        named.join("; ")
    ))
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
    use serde_json::json;

    use super::*;
    use crate::rotation::{
        because::Because,
        carry_out::carry_out,
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

    fn explained(state: &State) -> String {
        let outlook = Outlook {
            spec: &spec(),
            state,
            timers: &Timers::default(),
        };
        let texts: Vec<String> = outlook
            .authority()
            .into_iter()
            .chain(outlook.password())
            .collect();
        texts.join(" ")
    }

    #[test]
    fn each_stage_says_what_comes_next_and_when_it_can_end() {
        let mut state = state();
        assert_eq!(explained(&state), "");
        let mut progress = Progress::begin(PasswordStage::Accepting, now());
        state.password_progress = Some(progress);
        assert_eq!(
            explained(&state),
            "The password is being rotated (stage Accepting): exporters accept the new password as well as the old one, and scrapers still use the old one. Next, the new password is published for the scrapers, as soon as every exporter accepts it. The rotation ends when spec.rotation.clientOverlap (24h) is over after that. All times count from when everything of this stage is published, which is not confirmed yet."
        );
        progress.confirmed = Some(now());
        state.password_progress = Some(progress);
        assert_eq!(
            explained(&state),
            "The password is being rotated (stage Accepting): exporters accept the new password as well as the old one, and scrapers still use the old one. Next, the new password is published for the scrapers, as soon as every exporter accepts it, at 2027-01-01T00:00:30Z at the earliest. The rotation ends when spec.rotation.clientOverlap (24h) is over after that, at 2027-01-02T00:00:30Z at the earliest."
        );
        progress.stage = PasswordStage::ClientSwitched;
        state.password_progress = Some(progress);
        assert_eq!(
            explained(&state),
            "The password is being rotated (stage ClientSwitched): scrapers switch to the new password, and exporters still accept the old one. Next, the old password is dropped, which ends the rotation, as soon as spec.rotation.clientOverlap (24h) is over and no client uses the old password any more, at 2027-01-02T00:00:00Z at the earliest."
        );
    }

    #[test]
    fn the_stages_of_a_ca_say_so_too() {
        let steps = [Step::Authority(AuthorityStep::Prepare { generation: 2 })];
        let mut state = carry_out(&steps, Some(state()), &spec(), &owner(), now()).unwrap();
        let mut progress = state.authority_progress.unwrap();
        progress.confirmed = Some(now());
        state.authority_progress = Some(progress);
        assert_eq!(
            explained(&state),
            "The CA is being rotated (stage TrustPublished): the CA bundle contains the new CA as well as the old one, and the old one still signs. Next, the exporters switch to a certificate of the new CA, as soon as scrapers have had time to read the new CA bundle, at 2027-01-01T00:15:00Z at the earliest. The rotation ends when spec.rotation.clientOverlap (24h) is over after that, at 2027-01-02T00:15:00Z at the earliest."
        );
        progress.stage = AuthorityStage::LeafSwitched;
        state.authority_progress = Some(progress);
        assert_eq!(
            explained(&state),
            "The CA is being rotated (stage LeafSwitched): the exporters switch to a certificate of the new CA, and the CA bundle still contains the old one. Next, every other CA is removed from the CA bundle, which ends the rotation, as soon as spec.rotation.clientOverlap (24h) is over and every exporter serves a certificate of the active CA, at 2027-01-02T00:00:00Z at the earliest."
        );
    }

    #[test]
    fn a_client_with_the_old_password_is_not_blamed_on_its_node() {
        let used = Holding::OldPasswordInUse(SignedDuration::from_hours(1));
        let mut tally = Tally {
            holding: vec![("node2".into(), used), ("node1".into(), used)],
            ..Tally::default()
        };
        let proceed = "To let the rotation drop the old credential after spec.rotation.clientOverlap all the same, which fails the scrapes of those that it waits for: kubectl patch secureexporter nodes -n monitoring --type=merge -p '{\"spec\":{\"rotation\":{\"onStragglers\":\"Proceed\"}}}'";
        let client = "A client still uses the old password: within the last 1h it scraped node1, node2. Find that client and give it the password in Secret nodes-scrape; a copy that was made by hand is not updated.";
        let begin = "The rotation is waiting, and the old credential keeps working.";
        assert_eq!(
            stragglers(&tally, &owner()),
            format!("{begin} {client} {proceed}")
        );
        tally.missing = 1;
        tally
            .holding
            .push(("node3".into(), Holding::RefusesNewPassword));
        assert_eq!(
            stragglers(&tally, &owner()),
            format!(
                "{begin} {client} It waits for these exporters: 1 node has no exporter pod; node3: the exporter does not accept the new password yet. A changed Secret takes up to two minutes to arrive; if an exporter is still named after that, its log says why. {proceed}"
            )
        );
    }
}
