//! What a pass saw: the one input of everything that people read of it.

use k8s_openapi::api::apps::v1::DaemonSet;

use crate::{
    names::Owner,
    observe::children::Child,
    report::{pod_problems::Complaint, problem::Problem},
    rotation::{
        annotations::Requests,
        evidence::{Exporter, Tally},
        state::State,
    },
    spec::ValidSpec,
    supplied::{certificate::Supply, credentials::OwnCredentials},
};

/// What a pass saw: the one input of everything that people read of it.
pub struct Seen<'a> {
    /// Whose it is.
    pub owner: &'a Owner,
    /// What is served; `None` where there is nothing yet, or the state could not be read.
    pub served: Option<Served<'a>>,
    /// The DaemonSet as it was read.
    pub daemon_set: &'a Child<DaemonSet>,
    /// What stands in the way of pods; `None` where that could not be read.
    pub complaints: Option<&'a [Complaint]>,
    /// What the exporters said when they were asked last.
    pub exporters: &'a [Exporter],
    /// The exporters that a rotation waits for; `None` where it waits for none.
    pub waiting_for: Option<&'a Tally>,
    /// What is asked for by annotation.
    pub requests: &'a Requests,
    /// What the user-supplied Secrets hold; `None` where the pass ended before they were looked at.
    pub own: Option<&'a OwnCredentials>,
    /// Where the certificate comes from, and what came; `None` likewise.
    pub supply: Option<&'a Supply>,
    /// What could not be carried out.
    pub problems: &'a [Problem],
}

/// The state, and the spec that it follows.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// The spec: the one that is asked for, or else the last that was accepted.
    pub spec: &'a ValidSpec,
    /// The stored state.
    pub state: &'a State,
}

impl Seen<'_> {
    /// The first problem that a person, or another controller, has to solve.
    pub fn blocking(&self) -> Option<&Problem> {
        self.problems.iter().find(|problem| !problem.is_passing())
    }
}
