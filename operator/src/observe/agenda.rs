//! Which exporters of a resource are asked next, and what they last answered. Pure: the time comes in.
//!
//! An exporter that serves what is published is asked rarely. One that does not is asked at intervals that grow with the time
//! since something about it last changed, so that a node that stays dead for years costs next to nothing. Before a credential
//! is dropped, all exporters are asked in a round: an answer from before may no longer be true.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::SignedDuration;

use crate::{
    observe::pods::ExporterPod,
    rotation::{
        evidence::{Answer, Exporter, Standing},
        timing::Timers,
    },
};

/// For how long the answers of a complete round are evidence for the drop of a credential.
const ROUND_LIFETIME: Duration = Duration::from_secs(60);

/// The interval is this part of the time since the last change, so that a change is noticed at most so much later.
const PATIENCE_SHARE: u32 = 8;

/// How often exporters are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first interval for an exporter that holds up a rotation.
    pub awaited: Duration,
    /// The first interval for one that does not serve what is published, for another reason.
    pub soon: Duration,
    /// The longest interval, and that for all others.
    pub steady: Duration,
}

impl Pace {
    /// The intervals that follow from the timers.
    pub fn of(timers: &Timers) -> Self {
        let awaited = timers.probe_interval.unsigned_abs();
        Self {
            awaited,
            soon: awaited.saturating_mul(4),
            steady: timers.sample_interval.unsigned_abs(),
        }
    }
}

/// What the exporters are asked about. When it changes, what they last answered is asked again soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The DaemonSet, by uid: exporters of an earlier one are none.
    pub daemon_set: String,
    /// The generation of the state that is published.
    pub generation: u64,
    /// Serial number of the published certificate.
    pub serial_number: String,
    /// Whether the exporters are asked at all: the resource may ask for rotations by time alone.
    pub is_asked: bool,
}

/// What the exporters of a resource have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The exporters, including those that do not run.
    pub exporters: Vec<Exporter>,
    /// Whether all answers are from the same recent round over the pods that the API server listed.
    pub is_confirmed: bool,
}

/// The exporters of one resource.
#[derive(Debug)]
pub struct Agenda {
    pace: Pace,
    topic: Topic,
    /// The nodes that hold up a rotation.
    held: BTreeSet<String>,
    /// By uid of the pod.
    known: BTreeMap<String, Known>,
    /// Whether the pods are known.
    is_met: bool,
    /// Whether everything needed for evidence was known at the last look.
    was_complete: bool,
    round: Option<Round>,
    /// When an answer of a node that holds up a rotation last asked for a pass.
    woken: Option<Instant>,
    /// The pods to ask next.
    queue: VecDeque<String>,
}

#[derive(Debug)]
struct Known {
    pod: Arc<ExporterPod>,
    node: String,
    answer: Option<Answer>,
    /// When the last question was sent whose outcome is known.
    asked: Option<Instant>,
    is_being_asked: bool,
    /// Whether the last answer says little about the present, so that it is asked again at once.
    is_outdated: bool,
    /// When something about it last changed.
    changed: Instant,
    /// When it last answered, was last not ready, or was first seen.
    heard: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    begun: Instant,
    ended: Option<Instant>,
}

/// An exporter that is to be asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The uid of its pod.
    pub pod: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Agenda {
    /// The agenda of a resource of whose exporters nothing is known yet.
    pub fn new(topic: Topic, pace: Pace) -> Self {
        Self {
            pace,
            topic,
            held: BTreeSet::new(),
            known: BTreeMap::new(),
            is_met: false,
            was_complete: false,
            round: None,
            woken: None,
            queue: VecDeque::new(),
        }
    }

    /// What the exporters are asked about.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Takes note of what is published, and of the nodes that hold up a rotation. Returns whether other pods count now.
    pub fn direct(&mut self, topic: Topic, held: Option<BTreeSet<String>>, now: Instant) -> bool {
        let is_other = topic.daemon_set != self.topic.daemon_set;
        if is_other {
            *self = Self::new(topic.clone(), self.pace);
        }
        if topic != self.topic {
            self.topic = topic;
            self.round = None;
            for known in self.known.values_mut() {
                known.changed = now;
            }
        }
        if let Some(held) = held {
            for known in self.known.values_mut() {
                if held.contains(&known.node) && !self.held.contains(&known.node) {
                    known.changed = now;
                    known.is_outdated = true;
                }
            }
            self.held = held;
        }
        self.queue.clear();
        is_other
    }

    /// Takes note of the pods of the resource. Those of another controller are ignored, because they would be sent the
    /// password. Returns whether a pass should look at the evidence.
    pub fn meet(&mut self, pods: &[Arc<ExporterPod>], now: Instant) -> bool {
        let mut before = std::mem::take(&mut self.known);
        for pod in pods {
            let Some(node) = &pod.node else { continue };
            if pod.controller.as_deref() != Some(self.topic.daemon_set.as_str()) {
                continue;
            }
            let known = match before.remove(&pod.uid) {
                Some(known) if known.pod == *pod => known,
                Some(known) => Known {
                    // The wait for an exporter that does not answer starts when it is ready: before, it could not receive
                    // anything.
                    heard: if known.pod.ready { known.heard } else { now },
                    changed: now,
                    is_outdated: true,
                    pod: pod.clone(),
                    node: node.clone(),
                    ..known
                },
                None => Known {
                    pod: pod.clone(),
                    node: node.clone(),
                    answer: None,
                    asked: None,
                    is_being_asked: false,
                    is_outdated: true,
                    changed: now,
                    heard: now,
                },
            };
            self.known.insert(pod.uid.clone(), known);
        }
        self.is_met = true;
        self.queue.clear();
        self.look(now)
    }

    /// Begins a round over the pods that are known now, which must be those that the API server lists.
    pub fn begin_round(&mut self, now: Instant) -> bool {
        self.round = Some(Round {
            begun: now,
            ended: None,
        });
        self.queue.clear();
        self.look(now)
    }

    /// Whether a round has begun that is not over.
    pub fn is_in_round(&self) -> bool {
        self.round.is_some_and(|round| round.ended.is_none())
    }

    /// Returns up to `count` exporters to ask now, which are then being asked.
    pub fn take_due(&mut self, count: usize, now: Instant) -> Vec<Due> {
        if self.queue.is_empty() {
            self.fill_queue(now);
        }
        let mut due = Vec::new();
        while due.len() < count
            && let Some(uid) = self.queue.pop_front()
        {
            if let Some(known) = self.known.get_mut(&uid)
                && let Some(address) = known.pod.address
            {
                known.is_being_asked = true;
                known.is_outdated = false;
                due.push(Due { pod: uid, address });
            }
        }
        due
    }

    /// Takes note of the answer to a question that was sent at `sent`. Returns whether a pass should look at the evidence.
    pub fn answered(
        &mut self,
        pod: &str,
        sent: Instant,
        answer: Option<Answer>,
        now: Instant,
    ) -> bool {
        let Some(known) = self.known.get_mut(pod) else {
            return false;
        };
        known.is_being_asked = false;
        let is_first = known.asked.is_none();
        known.asked = Some(sent);
        let is_same = match (&known.answer, &answer) {
            (None, None) => true,
            (Some(before), Some(answer)) => answer.says_the_same_as(before),
            _ => false,
        };
        if !is_same {
            known.changed = now;
        }
        if answer.is_some() {
            known.heard = now;
        }
        // What a rotation waits for may depend on the time that the exporter reports.
        let is_awaited = answer.is_some() && self.held.contains(&known.node);
        known.answer = answer;
        let is_awaited = is_awaited && self.may_wake(now);
        let is_news = !is_same && !is_first;
        self.look(now) || (self.was_complete && (is_news || is_awaited || is_first))
    }

    /// Whether an answer that says the same as before may ask for a pass. On many nodes that are held up for long there would
    /// otherwise be one all the time.
    fn may_wake(&mut self, now: Instant) -> bool {
        let held = self
            .known
            .values()
            .filter(|it| self.held.contains(&it.node));
        let quiet = held
            .map(|it| now.saturating_duration_since(it.changed))
            .min();
        let gap = (quiet.unwrap_or_default() / 8).clamp(self.pace.awaited, self.pace.steady);
        let is_due = self
            .woken
            .is_none_or(|woken| now.saturating_duration_since(woken) >= gap);
        if is_due {
            self.woken = Some(now);
        }
        is_due
    }

    /// Takes note that a question could not be sent.
    pub fn put_back(&mut self, pod: &str) {
        if let Some(known) = self.known.get_mut(pod) {
            known.is_being_asked = false;
            known.is_outdated = true;
        }
    }

    /// Returns when the next exporter is to be asked; `None` if there is none.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let askable = self.known.values().filter(|known| !known.is_being_asked);
        askable.filter_map(|known| self.due(known, now)).min()
    }

    /// Returns what the exporters have answered; `None` if one of them has not been asked yet.
    pub fn evidence(&self, now: Instant) -> Option<Evidence> {
        if !self.is_complete() {
            return None;
        }
        let exporters = self.known.values().map(|known| {
            let heard = if known.pod.ready { known.heard } else { now };
            let silence = now.saturating_duration_since(heard);
            Exporter {
                node: known.node.clone(),
                ready: known.pod.ready,
                answer: known
                    .answer
                    .clone()
                    .filter(|_| self.address(known).is_some()),
                silent_for: SignedDuration::try_from(silence).unwrap_or(SignedDuration::MAX),
            }
        });
        let round = self.round.filter(|round| {
            round
                .ended
                .is_some_and(|ended| now.saturating_duration_since(ended) < ROUND_LIFETIME)
        });
        Some(Evidence {
            exporters: exporters.collect(),
            is_confirmed: round.is_some_and(|round| self.is_asked_since(round.begun)),
        })
    }

    /// Ends a round when everybody was asked. Returns whether it has just ended, or the evidence has just become complete.
    fn look(&mut self, now: Instant) -> bool {
        let is_over = match self.round {
            Some(Round { begun, ended: None }) => self.is_asked_since(begun),
            _ => false,
        };
        if let Some(round) = self.round.as_mut().filter(|_| is_over) {
            round.ended = Some(now);
        }
        let is_complete = self.is_complete();
        let was_complete = std::mem::replace(&mut self.was_complete, is_complete);
        is_over || (is_complete && !was_complete)
    }

    fn is_complete(&self) -> bool {
        let is_known = |known: &Known| known.asked.is_some() || self.address(known).is_none();
        self.is_met && self.known.values().all(is_known)
    }

    fn is_asked_since(&self, begun: Instant) -> bool {
        let is_asked = |known: &Known| {
            self.address(known).is_none() || known.asked.is_some_and(|asked| asked >= begun)
        };
        self.is_met && self.known.values().all(is_asked)
    }

    fn address(&self, known: &Known) -> Option<SocketAddr> {
        known.pod.address.filter(|_| self.topic.is_asked)
    }

    /// Those that were never asked first, and those that do not answer last: they take the longest.
    fn fill_queue(&mut self, now: Instant) {
        let due = self.known.iter().filter(|(_, known)| {
            !known.is_being_asked && self.due(known, now).is_some_and(|due| due <= now)
        });
        let mut due: Vec<(&String, &Known)> = due.collect();
        due.sort_by_key(|(_, known)| {
            let is_silent = known.asked.is_some() && known.answer.is_none();
            (!known.pod.ready, is_silent, known.asked)
        });
        self.queue = due.into_iter().map(|(uid, _)| uid.clone()).collect();
    }

    fn due(&self, known: &Known, now: Instant) -> Option<Instant> {
        self.address(known)?;
        let Some(asked) = known.asked.filter(|_| !known.is_outdated) else {
            return Some(now);
        };
        match self.round {
            Some(Round { begun, ended: None }) if asked < begun => Some(now),
            _ => asked
                .max(known.changed)
                .checked_add(self.interval(known, asked)),
        }
    }

    fn interval(&self, known: &Known, asked: Instant) -> Duration {
        let serial_number = &self.topic.serial_number;
        let standing = known.answer.as_ref().map(|it| it.standing(serial_number));
        let first = if self.held.contains(&known.node) {
            self.pace.awaited
        } else if standing == Some(Standing::Verified) {
            return self.pace.steady;
        } else {
            self.pace.soon
        };
        let share = asked.saturating_duration_since(known.changed) / PATIENCE_SHARE;
        share.clamp(first.min(self.pace.steady), self.pace.steady)
    }
}

#[cfg(test)]
mod tests;
