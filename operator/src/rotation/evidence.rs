//! What is known of the exporters, and whether it is enough to go on. Pure.
//!
//! An exporter is asked, by a verified connection, what it serves and accepts; what it answers decides. One that cannot
//! be asked is believed to follow after a long wait where its node is known to be ready (its kubelet brings it what was
//! published), and holds things up where it is not: it may still serve what it had when it was cut off.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

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

impl Exporter {
    /// Stands for all exporters where nobody could look for them: it holds everything up.
    pub fn not_known() -> Self {
        Self {
            node: "(the pods could not be read)".to_owned(),
            ready: false,
            answer: None,
            silent_for: SignedDuration::ZERO,
        }
    }
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
        exporters: &[Exporter],
        waited: bool,
        silence: SignedDuration,
        test: impl Fn(&Answer) -> Option<Holding>,
    ) -> Self {
        let mut tally = Self::default();
        for exporter in exporters {
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
        self.holding.is_empty()
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
            Tally::of(&[exporter(ready, silent)], waited, HOUR, accepts("x"))
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
            &[answered],
            true,
            HOUR,
            serves_under(&BTreeSet::from([2, 3])),
        );
        assert!(tally.is_settled() && tally.observed == 1);
    }
}
