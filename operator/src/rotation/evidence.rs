//! What is known about the exporters, and whether it is enough for the next stage of a rotation. Pure.
//!
//! The operator asks each exporter over a verified connection what it serves and accepts. An exporter that cannot be asked
//! is assumed to have caught up after a long wait if its node is ready, because its kubelet delivers what was published. If
//! its node is not ready, the exporter blocks the rotation: it may still serve what it had when it was cut off.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use jiff::SignedDuration;

/// What is known about the exporters of a resource. An exporter that was not seen proves nothing: evidence is an answer
/// from, or an expired wait for, every node that the DaemonSet should run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// On how many nodes the DaemonSet should run. `None` if that is not known: there is no DaemonSet, its controller has
    /// not processed it yet, or its pods could not be read.
    pub wanted: Option<usize>,
    /// The exporters, including those that do not run.
    pub exporters: Vec<Exporter>,
}

impl Heard {
    /// The evidence for a DaemonSet that should run on no node, so that there is nothing to wait for.
    pub fn nobody() -> Self {
        Self {
            wanted: Some(0),
            exporters: Vec::new(),
        }
    }
}

/// An exporter's pod on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    /// The node.
    pub node: String,
    /// Whether the kubelet reports the pod as ready.
    pub ready: bool,
    /// Its answer; `None` if it could not be reached.
    pub answer: Option<Answer>,
    /// How long it has not answered: since its last answer, since it was last not ready, or since this process began to
    /// ask.
    pub silent_for: SignedDuration,
}

/// How an exporter compares with what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It serves the published certificate and accepts the published credentials.
    Verified,
    /// It serves another certificate.
    Outdated,
    /// It serves the published certificate, and refuses the published credentials.
    Refusing,
    /// It could not be asked.
    Unreachable,
}

impl Exporter {
    /// Compares it with the published certificate, by its serial number, and the published credentials.
    pub fn standing(&self, serial_number: &str) -> Standing {
        self.answer
            .as_ref()
            .map_or(Standing::Unreachable, |answer| {
                answer.standing(serial_number)
            })
    }
}

/// What an exporter reported about itself over a verified connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Serial number of the certificate that it serves, in lower-case hexadecimal.
    pub serial_number: String,
    /// Generations of the CAs each of which alone verifies the certificate that it serves.
    pub verified_by: BTreeSet<u64>,
    /// The passwords that it accepts, by id, and how long ago each was last used. `None` if it refused the operator's
    /// credentials, which are those of the scrapers: then it proves nothing about passwords.
    pub accepted: Option<BTreeMap<String, Option<SignedDuration>>>,
    /// How long its process has run. It knows nothing about earlier uses of a password.
    pub uptime: SignedDuration,
}

impl Answer {
    /// Compares the exporter with the published certificate, by its serial number, and the published credentials.
    pub fn standing(&self, serial_number: &str) -> Standing {
        if self.serial_number != serial_number {
            Standing::Outdated
        } else if self.accepted.is_none() {
            Standing::Refusing
        } else {
            Standing::Verified
        }
    }

    /// Whether both say the same but for what changes with time alone.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let ids = |answer: &Self| {
            let accepted = answer.accepted.as_ref();
            accepted.map(|accepted| accepted.keys().cloned().collect::<Vec<_>>())
        };
        self.serial_number == other.serial_number
            && self.verified_by == other.verified_by
            && ids(self) == ids(other)
    }
}

/// Which exporters have caught up with a rotation, and which have not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of exporters that confirmed that they have caught up.
    pub observed: usize,
    /// Number of exporters that are assumed to have caught up, because the wait for those that cannot be asked is over.
    pub timed: usize,
    /// The nodes that block the rotation, each with the reason.
    pub holding: Vec<(String, Holding)>,
    /// Number of nodes that should have an exporter and have no pod.
    pub missing: usize,
    /// Whether it is unknown which nodes should have an exporter.
    pub unknown: bool,
}

/// Why a node blocks a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holding {
    /// Its exporter serves a certificate that only the old CA verifies.
    ServesOldCertificate,
    /// Its exporter does not accept the new password yet.
    RefusesNewPassword,
    /// Its exporter refuses the published credentials, so it does not report which passwords it accepts.
    RefusesCredentials,
    /// A client used the old password within this time.
    OldPasswordInUse(SignedDuration),
    /// Its exporter has not run long enough to know whether clients still use the old password.
    TooYoung,
    /// Its exporter cannot be reached, and its pod is not ready.
    Unreachable,
    /// Its exporter cannot be reached, and the wait for such exporters is not over.
    Unanswered,
}

impl Holding {
    /// The reason for conditions and events, to follow the name of the node and a colon.
    pub fn text(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::ServesOldCertificate => "the exporter still serves a certificate of the old CA",
            Self::RefusesNewPassword => "the exporter does not accept the new password yet",
            Self::RefusesCredentials => {
                "the exporter refuses the published credentials, so it is not known which passwords it accepts"
            }
            Self::OldPasswordInUse(within) => {
                return Cow::Owned(format!(
                    "a client used the old password within the last {within:#}"
                ));
            }
            Self::TooYoung => {
                "the exporter has not run long enough to know whether clients still use the old password"
            }
            Self::Unreachable => {
                "the exporter cannot be reached and is not ready, so it may still use the old credential"
            }
            Self::Unanswered => "the exporter cannot be reached",
        })
    }
}

/// The exporters that a rotation waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Not known: the pass ended before it looked for them, or they could not be read.
    #[default]
    NotKnown,
    /// None.
    Nobody,
    /// These.
    For(Tally),
}

impl Waiting {
    /// Returns the exporters that hold things up now; `None` if there are none, or they are not known.
    pub fn tally(&self) -> Option<&Tally> {
        match self {
            Self::For(tally) => Some(tally),
            Self::NotKnown | Self::Nobody => None,
        }
    }
}

impl Tally {
    /// Counts the exporters. `test` returns why an answer blocks the rotation. `waited` is whether the wait for exporters
    /// that cannot be asked is over, and `silence` how long each of them must not have answered: an exporter that recently
    /// reported that it has not caught up is not assumed to have done so as soon as it stops answering.
    pub fn of(
        heard: &Heard,
        waited: bool,
        silence: SignedDuration,
        test: impl Fn(&Answer) -> Option<Holding>,
    ) -> Self {
        let nodes: BTreeSet<&str> = heard.exporters.iter().map(|it| it.node.as_str()).collect();
        let wanted = heard.wanted.unwrap_or_default();
        let mut tally = Self {
            missing: wanted.saturating_sub(nodes.len()),
            unknown: heard.wanted.is_none(),
            ..Self::default()
        };
        for exporter in &heard.exporters {
            let holding = match &exporter.answer {
                Some(answer) => test(answer),
                None if !exporter.ready => Some(Holding::Unreachable),
                None if waited && exporter.silent_for >= silence => None,
                None => Some(Holding::Unanswered),
            };
            match holding {
                Some(why) => tally.holding.push((exporter.node.clone(), why)),
                None if exporter.answer.is_some() => tally.observed += 1,
                None => tally.timed += 1,
            }
        }
        tally
    }

    /// Whether nothing holds things up but that it is not known on which nodes exporters run.
    pub fn is_unknown_alone(&self) -> bool {
        self.unknown && self.holding.is_empty() && self.missing == 0
    }

    /// Whether nothing blocks the rotation.
    pub fn is_settled(&self) -> bool {
        self.holding.is_empty() && self.missing == 0 && !self.unknown
    }
}

/// Checks that one of the CAs in `kept` verifies the certificate that an exporter serves.
pub fn serves_under(kept: &BTreeSet<u64>) -> impl Fn(&Answer) -> Option<Holding> {
    move |answer| {
        let verified = !answer.verified_by.is_disjoint(kept);
        (!verified).then_some(Holding::ServesOldCertificate)
    }
}

/// Checks that an exporter accepts the password with this id.
pub fn accepts(id: &str) -> impl Fn(&Answer) -> Option<Holding> {
    move |answer| match &answer.accepted {
        None => Some(Holding::RefusesCredentials),
        Some(accepted) => (!accepted.contains_key(id)).then_some(Holding::RefusesNewPassword),
    }
}

/// Checks that no client has used the passwords with these ids at an exporter for `long`.
pub fn unused(ids: &BTreeSet<String>, long: SignedDuration) -> impl Fn(&Answer) -> Option<Holding> {
    move |answer| {
        let Some(accepted) = &answer.accepted else {
            return Some(Holding::RefusesCredentials);
        };
        let used_recently = |id| {
            accepted
                .get(id)
                .is_some_and(|used| used.is_some_and(|ago| ago < long))
        };
        if ids.iter().any(used_recently) {
            Some(Holding::OldPasswordInUse(long))
        } else if ids.iter().any(|id| accepted.contains_key(id)) && answer.uptime < long {
            Some(Holding::TooYoung)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn answer(used: Option<i64>, uptime: i64) -> Answer {
        Answer {
            serial_number: "1".into(),
            verified_by: BTreeSet::from([2]),
            accepted: Some(BTreeMap::from([(
                "old".into(),
                used.map(SignedDuration::from_mins),
            )])),
            uptime: SignedDuration::from_mins(uptime),
        }
    }

    fn one(exporter: Exporter) -> Heard {
        Heard {
            wanted: Some(1),
            exporters: vec![exporter],
        }
    }

    #[test]
    fn exporters_that_were_not_seen_are_no_evidence() {
        let is_settled = |wanted, exporters: &[Exporter]| {
            let exporters = exporters.to_vec();
            Tally::of(&Heard { wanted, exporters }, true, HOUR, |_| None).is_settled()
        };
        let answered = |node: &str| Exporter {
            node: node.into(),
            ready: true,
            answer: Some(answer(None, 1)),
            silent_for: SignedDuration::ZERO,
        };
        assert!(!is_settled(None, &[]), "no DaemonSet, or not read");
        assert!(
            !is_settled(None, &[answered("a")]),
            "one of an earlier DaemonSet"
        );
        assert!(
            !is_settled(Some(2), &[answered("a")]),
            "a node without a pod"
        );
        let twice = [answered("a"), answered("a")];
        assert!(!is_settled(Some(2), &twice), "two pods on one node");
        assert!(is_settled(Some(2), &[answered("a"), answered("b")]));
        assert!(is_settled(Some(0), &[]), "it should run on no node");
    }

    #[test]
    fn an_old_password_counts_as_unused_only_if_the_exporter_can_know() {
        let ids = BTreeSet::from(["old".to_owned()]);
        let verdict = |answer: &Answer| unused(&ids, HOUR)(answer);
        assert_eq!(
            verdict(&answer(Some(59), 999)),
            Some(Holding::OldPasswordInUse(HOUR))
        );
        assert_eq!(verdict(&answer(Some(61), 999)), None);
        assert_eq!(verdict(&answer(None, 61)), None);
        assert_eq!(verdict(&answer(None, 59)), Some(Holding::TooYoung));
        let other = Answer {
            accepted: Some(BTreeMap::new()),
            ..answer(None, 1)
        };
        assert_eq!(verdict(&other), None, "it is no longer accepted");
    }

    #[test]
    fn an_exporter_that_refuses_the_password_proves_nothing_about_passwords() {
        let refusing = Answer {
            accepted: None,
            ..answer(None, 999)
        };
        let holding = Some(Holding::RefusesCredentials);
        assert_eq!(accepts("new")(&refusing), holding);
        let ids = BTreeSet::from(["old".to_owned()]);
        assert_eq!(unused(&ids, HOUR)(&refusing), holding);
        // Its certificate was verified all the same.
        assert_eq!(serves_under(&BTreeSet::from([2]))(&refusing), None);
    }

    #[test]
    fn an_exporter_that_cannot_be_asked_blocks_until_the_wait_is_over_and_only_if_ready() {
        let exporter = |ready, silent| Exporter {
            node: "a".into(),
            ready,
            answer: None,
            silent_for: SignedDuration::from_mins(silent),
        };
        let tally = |ready, waited, silent| {
            Tally::of(&one(exporter(ready, silent)), waited, HOUR, accepts("x"))
        };
        assert_eq!(tally(true, true, 60).timed, 1);
        for (waited, silent) in [(false, 60), (true, 59)] {
            let holding = tally(true, waited, silent).holding;
            assert_eq!(holding[0].1, Holding::Unanswered);
        }
        assert_eq!(tally(false, true, 60).holding[0].1, Holding::Unreachable);
    }

    #[test]
    fn an_answer_counts_even_if_the_pod_is_not_ready() {
        let answered = Exporter {
            node: "a".into(),
            ready: false,
            answer: Some(answer(None, 1)),
            silent_for: SignedDuration::ZERO,
        };
        let tally = Tally::of(
            &one(answered),
            true,
            HOUR,
            serves_under(&BTreeSet::from([2, 3])),
        );
        assert!(tally.is_settled() && tally.observed == 1);
    }
}
