//! What a pass observed: the input of the status, the conditions, the events and the metrics.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;

use crate::{
    names::Owner,
    observe::children::Child,
    report::{
        conditions::{Finding, Verdict},
        pod_problems::Complaint,
        problem::{Problem, Reading},
    },
    rotation::{
        adoption::Adoption,
        annotations::Requests,
        evidence::{Exporter, Waiting},
        state::State,
        timing::Timers,
    },
    spec::ValidSpec,
    supplied::{certificate::Supply, credentials::SuppliedCredentials},
};

/// What a pass observed: the input of the status, the conditions, the events and the metrics.
pub struct Seen<'a> {
    /// The resource.
    pub owner: &'a Owner,
    /// The state that is served; `None` if there is none yet, or it could not be read.
    pub served: Option<Served<'a>>,
    /// The DaemonSet as it was read.
    pub daemon_set: &'a Child<DaemonSet>,
    /// Problems of the exporter's pods, as far as they could be read.
    pub complaints: &'a [Complaint],
    /// Whether everything was read that could show such a problem.
    pub complaints_are_known: bool,
    /// Other resources whose exporters use the same port of the nodes.
    pub port_rivals: &'a [Owner],
    /// The spec that the pass went by; `None` if none was ever accepted.
    pub spec: Option<&'a ValidSpec>,
    /// The generation of the resource.
    pub generation: Option<i64>,
    /// Whether the generated objects that the pass read were already written for this generation of the resource. Otherwise
    /// they, and the pods, say nothing about it.
    pub is_settled: bool,
    /// Whether the pass got as far as writing; otherwise what it did not reach stays as it was.
    pub is_complete: bool,
    /// The exporters with their last answers; `None` if they could not be asked.
    pub exporters: Option<&'a [Exporter]>,
    /// The exporters that a rotation waits for.
    pub waiting: &'a Waiting,
    /// Whether restored objects may be adopted.
    pub adoption: &'a Adoption,
    /// What the user requested by annotation.
    pub requests: &'a Requests,
    /// The content of the user-supplied Secrets; `None` if the pass ended before it read them.
    pub own: Option<&'a SuppliedCredentials>,
    /// Where the certificate comes from, and the next one; `None` if the pass ended before it read it.
    pub supply: Option<&'a Supply>,
    /// Since when this release serves the namespace; `None` if that is not known.
    pub ours_since: Option<Timestamp>,
    /// The timers of rotations.
    pub timers: &'a Timers,
    /// What the pass could not do.
    pub problems: &'a [Problem],
}

/// The state, and the spec that it was derived from.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// The spec of the resource if it is valid, otherwise the last accepted one.
    pub spec: &'a ValidSpec,
    /// The stored state.
    pub state: &'a State,
}

impl Seen<'_> {
    /// Returns the first problem that a user or another controller must solve.
    pub fn lasting(&self) -> Option<&Problem> {
        self.problems.iter().find(|problem| !problem.is_passing())
    }

    /// Returns the first such problem that keeps the resource from being ready. That it is not known how the pods are does not.
    pub fn blocking(&self) -> Option<&Problem> {
        let lasting = |problem: &&Problem| !problem.is_passing() && !problem.hides_pods();
        self.problems.iter().find(lasting)
    }

    /// Returns the lasting problem because of which it is not known how the pods are.
    pub fn blindness(&self) -> Option<&Problem> {
        let lasting = |problem: &&Problem| !problem.is_passing() && problem.hides_pods();
        self.problems.iter().find(lasting)
    }

    /// Returns the problem because of which no rotation can continue, a lasting one first.
    pub fn stopping_rotations(&self) -> Option<&Problem> {
        let stops = self.problems.iter().filter(|it| it.stops_rotations());
        stops.min_by_key(|problem| problem.is_passing())
    }

    /// Returns the lasting problem because of which this could not be read.
    pub fn lasting_read(&self, wanted: Reading) -> Option<&Problem> {
        let is_it =
            |problem: &&Problem| matches!(problem, Problem::Read { what, .. } if *what == wanted);
        self.problems
            .iter()
            .filter(|problem| !problem.is_passing())
            .find(is_it)
    }

    /// Whether the pass has published what the state prescribes.
    pub fn is_published(&self) -> bool {
        self.is_complete && !self.problems.iter().any(Problem::is_of_publication)
    }

    /// A condition that is not known because of a lasting problem.
    pub fn not_known(&self, type_: &'static str, problem: &Problem) -> Verdict {
        let message = format!("This is not known: {problem}.");
        Finding::unknown(type_, problem.category(), message).into()
    }
}
