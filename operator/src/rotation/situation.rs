//! Everything that a decision rests on, besides the state.

use jiff::{SignedDuration, Timestamp};

use crate::{
    rotation::{
        annotations::{Requests, Subject},
        evidence::Exporter,
        step::Step,
        timing::Timers,
    },
    spec::ValidSpec,
    supplied::{certificate::Supply, credentials::OwnCredentials},
};

/// Everything that a decision rests on, besides the state.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What is asked for.
    pub spec: &'a ValidSpec,
    /// What is asked for by annotation.
    pub requests: &'a Requests,
    /// What the user's own Secrets hold.
    pub own: &'a OwnCredentials,
    /// Where the certificate comes from, and what came.
    pub supply: &'a Supply,
    /// The uid of the resource: spreads renewals.
    pub uid: &'a str,
    /// Whether everything that follows from the stored state was read back from the API server.
    pub published: bool,
    /// The exporters.
    pub exporters: &'a [Exporter],
    /// The waits.
    pub timers: &'a Timers,
    /// The time.
    pub now: Timestamp,
    /// Whether the clock has jumped since the last look at it.
    pub clock_jumped: bool,
}

impl Situation<'_> {
    /// The overlap between old and new credentials.
    pub fn overlap(&self) -> SignedDuration {
        self.spec
            .rotation
            .client_overlap
            .max(self.timers.minimum_overlap)
    }

    /// Whether `wait` is over since `start`.
    pub fn is_over(&self, wait: SignedDuration, start: Timestamp) -> bool {
        self.now.duration_since(start) >= wait
    }
}

/// The step by which a request counts as acted on.
pub(crate) fn remember(subject: Subject, situation: &Situation<'_>) -> Step {
    Step::Remember {
        subject,
        token: situation.requests.token(subject).to_owned(),
    }
}

/// The generation after the newest.
pub(crate) fn next<'a>(generations: impl Iterator<Item = &'a u64>) -> u64 {
    generations.max().copied().unwrap_or(0).saturating_add(1)
}
