//! The inputs of a decision, besides the state.

use jiff::{SignedDuration, Timestamp};

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
}

impl Situation<'_> {
    /// Returns the overlap between old and new credentials.
    pub fn overlap(&self) -> SignedDuration {
        self.timers.overlap(self.spec.rotation.client_overlap)
    }

    /// Whether `wait` is over since `start`.
    pub fn is_over(&self, wait: SignedDuration, start: Timestamp) -> bool {
        self.now.duration_since(start) >= wait
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
