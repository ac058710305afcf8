//! What is known of the exporters, and whether it is enough to go on. Pure.
//!
//! An exporter is asked, by a verified connection, what it serves and accepts; what it answers decides. One that cannot
//! be asked is believed to follow after a long wait where its node is known to be ready (its kubelet brings it what was
//! published), and holds things up where it is not: it may still serve what it had when it was cut off.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

/// What is known of the exporters of a resource. Nothing may be concluded from an exporter that was not seen: evidence is an
/// answer from, or an expired wait for, every node that the DaemonSet should run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// On how many nodes the DaemonSet should run; `None` where that is not known: there is none, its controller has not
    /// looked at it yet, or its pods could not be read.
    pub wanted: Option<usize>,
    /// Its exporters, those that do not run included.
    pub exporters: Vec<Exporter>,
}

impl Heard {
    /// Of a DaemonSet that should run nowhere: there is nobody to wait for.
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
    /// What it said when it was asked; `None` where it could not be reached.
    pub answer: Option<Answer>,
    /// For how long it has not answered: since it did last, was not ready last, or this process began to ask.
    pub silent_for: SignedDuration,
}

/// What an exporter said of itself, over a connection that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Serial number of the certificate that it serves, lower-case hexadecimal.
    pub serial_number: String,
    /// Generations of the authorities each of which alone is enough to verify what it serves.
    pub verified_by: BTreeSet<u64>,
    /// The passwords that it accepts, by id, and how long ago each was last used. Empty where it refused ours.
    pub accepted: BTreeMap<String, Option<SignedDuration>>,
    /// For how long its process has run: of what was before, it knows nothing.
    pub uptime: SignedDuration,
}

/// Who has come along and who has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Exporters that were seen to have come along.
    pub observed: usize,
    /// Exporters that are believed to have, because the wait for those that cannot be asked is over.
    pub timed: usize,
    /// The nodes that hold things up, each with why.
    pub holding: Vec<(String, Holding)>,
    /// How many nodes should have an exporter, and have no pod.
    pub missing: usize,
    /// Whether it is not known which nodes should have one.
    pub unknown: bool,
}

/// Why a node holds things up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holding {
    /// It serves a certificate that is verified only by what is to be dropped.
    ServesOldCertificate,
    /// It does not accept the new password yet.
    RefusesNewPassword,
    /// Somebody used the old password lately.
    OldPasswordInUse,
    /// Its process is too young to know whether the old password is still in use.
    TooYoung,
    /// It is not reached, and its node is not known to be ready.
    Unreachable,
    /// It is not reached; the wait for such is not over.
    Unanswered,
}

impl Holding {
    /// For conditions and events.
    pub fn text(self) -> &'static str {
        match self {
            Self::ServesOldCertificate => "still serves a certificate of the old authority",
            Self::RefusesNewPassword => "does not accept the new password yet",
            Self::OldPasswordInUse => "was asked with the old password lately",
            Self::TooYoung => {
                "has not run for long enough to know whether the old password is in use"
            }
            Self::Unreachable => "is not reached and not ready: it may still have what it had",
            Self::Unanswered => "is not reached",
        }
    }
}

impl Tally {
    /// Counts the exporters. `test` says of an answer what it lacks; `waited` is whether the wait for those that cannot
    /// be asked is over, and `silence` for how long each of them must not have answered: one that said lately that it has
    /// not come along is not believed to have, as soon as it falls silent.
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

    /// Whether nobody holds things up.
    pub fn is_settled(&self) -> bool {
        self.holding.is_empty() && self.missing == 0 && !self.unknown
    }
}

/// Whether what an exporter serves is verified by one of `kept`.
pub fn serves_under(kept: &BTreeSet<u64>) -> impl Fn(&Answer) -> Option<Holding> {
    move |answer| {
        let verified = !answer.verified_by.is_disjoint(kept);
        (!verified).then_some(Holding::ServesOldCertificate)
    }
}

/// Whether an exporter accepts the password called `id`.
pub fn accepts(id: &str) -> impl Fn(&Answer) -> Option<Holding> {
    move |answer| (!answer.accepted.contains_key(id)).then_some(Holding::RefusesNewPassword)
}

/// Whether nobody used the passwords called `ids` at an exporter for `long`.
pub fn unused(ids: &BTreeSet<String>, long: SignedDuration) -> impl Fn(&Answer) -> Option<Holding> {
    move |answer| {
        let used_lately = |id| {
            answer
                .accepted
                .get(id)
                .is_some_and(|used| used.is_some_and(|ago| ago < long))
        };
        if ids.iter().any(used_lately) {
            Some(Holding::OldPasswordInUse)
        } else if ids.iter().any(|id| answer.accepted.contains_key(id)) && answer.uptime < long {
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
            accepted: BTreeMap::from([("old".into(), used.map(SignedDuration::from_mins))]),
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
    fn nothing_is_concluded_from_exporters_that_were_not_seen() {
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
        assert!(is_settled(Some(0), &[]), "it should run nowhere");
    }

    #[test]
    fn an_old_password_is_unused_only_where_that_can_be_known() {
        let ids = BTreeSet::from(["old".to_owned()]);
        let verdict = |answer: &Answer| unused(&ids, HOUR)(answer);
        assert_eq!(
            verdict(&answer(Some(59), 999)),
            Some(Holding::OldPasswordInUse)
        );
        assert_eq!(verdict(&answer(Some(61), 999)), None);
        assert_eq!(verdict(&answer(None, 61)), None);
        assert_eq!(verdict(&answer(None, 59)), Some(Holding::TooYoung));
        let other = Answer {
            accepted: BTreeMap::new(),
            ..answer(None, 1)
        };
        assert_eq!(verdict(&other), None, "it is not accepted any more");
    }

    #[test]
    fn who_cannot_be_asked_follows_late_if_ready_and_else_holds() {
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
    fn an_answer_counts_whatever_the_kubelet_says() {
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
