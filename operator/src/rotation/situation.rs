//! The inputs of a decision, besides the state.

use jiff::{SignedDuration, Timestamp};
use secure_exporter_pki::BACKDATING;

use crate::{
    rotation::{
        annotations::{Requests, Subject},
        evidence::Heard,
        step::{RequestStep, Step},
        timing::Timers,
    },
    spec::ValidSpec,
    supplied::{certificate::Supply, credentials::SuppliedCredentials},
};

/// The inputs of a decision, besides the state.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The spec.
    pub spec: &'a ValidSpec,
    /// What the user requested by annotation.
    pub requests: &'a Requests,
    /// The content of the user-supplied Secrets.
    pub own: &'a SuppliedCredentials,
    /// Where the serving certificate comes from, and the next one.
    pub supply: &'a Supply,
    /// The uid of the resource, which spreads the renewals of different resources.
    pub uid: &'a str,
    /// Whether everything that is rendered from the stored state was read back from the API server.
    pub published: bool,
    /// The exporters.
    pub heard: &'a Heard,
    /// The timers.
    pub timers: &'a Timers,
    /// The current time.
    pub now: Timestamp,
    /// Whether the clock has jumped since the last pass.
    pub clock_jumped: bool,
    /// Since when this process has seen every minute pass: since its first pass, or since the clock jumped.
    pub watched_since: Timestamp,
}

/// How much the clocks of two processes of the operator may differ: each may be wrong by an hour, as the backdating of the
/// certificates allows.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_secs(2 * BACKDATING.as_secs());

impl Situation<'_> {
    /// Returns the overlap between old and new credentials.
    pub fn overlap(&self) -> SignedDuration {
        self.timers.overlap(self.spec.rotation.client_overlap)
    }

    /// Whether `wait` is over since `start`.
    pub fn is_over(&self, wait: SignedDuration, start: Timestamp) -> bool {
        self.end(wait, start) <= self.now
    }

    /// Returns when `wait` is over since `start`. If an earlier process wrote down `start`, by a clock that may have been
    /// behind this one, the wait ends when this process has seen all of it, or when it is over by any clock.
    pub fn end(&self, wait: SignedDuration, start: Timestamp) -> Timestamp {
        let after = |time: Timestamp, wait| time.checked_add(wait).unwrap_or(Timestamp::MAX);
        let end = after(start, wait);
        if start >= self.watched_since {
            return end;
        }
        after(end, CLOCK_DIFFERENCE).min(after(self.watched_since, wait))
    }
}

/// Returns the step that records a request as handled.
pub(crate) fn remember(subject: Subject, situation: &Situation<'_>) -> Step {
    Step::Request(RequestStep::Remember {
        subject,
        token: situation.requests.token(subject).to_owned(),
    })
}

/// Returns the generation after the newest.
pub(crate) fn next<'a>(generations: impl Iterator<Item = &'a u64>) -> u64 {
    generations.max().copied().unwrap_or(0).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Owner;

    #[test]
    fn a_wait_by_the_clock_of_an_earlier_process_is_not_cut_short() {
        let at = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        let spec = serde_json::from_str("{}").unwrap();
        let spec = ValidSpec::parse(&spec, &Owner::nodes()).unwrap();
        let end = |watched_since, wait, start| {
            let situation = Situation {
                spec: &spec,
                requests: &Requests::default(),
                own: &SuppliedCredentials::default(),
                supply: &Supply::Managed,
                uid: "u",
                published: true,
                heard: &Heard::nobody(),
                timers: &Timers::default(),
                now: at(0),
                clock_jumped: false,
                watched_since: at(watched_since),
            };
            situation.end(SignedDuration::from_mins(wait), at(start))
        };
        // This process has seen it begin.
        assert_eq!(end(0, 60, 5), at(65));
        // An earlier one has: this one sees all of it, or waits for as long as the clocks may differ.
        assert_eq!(end(10, 60, 5), at(70));
        assert_eq!(end(10, 600, 5), at(610));
        assert_eq!(end(500, 600, 5), at(725));
    }
}
