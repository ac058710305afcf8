//! The data of a pass.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::{SecureExporter, SecureExporterStatus},
    apply::restorations::Restoration,
    controller::{context::Context, schedule::LONGEST_PAUSE, supervision::BlockingWork},
    names::Owner,
    observe::{children::Observed, versions::ReadObject},
    report::{problem::Problem, status},
    rotation::{
        adoption::Adoption,
        annotations::Requests,
        evidence::{Heard, Waiting},
        recall::Memory,
        state::State,
    },
    spec::{ValidSpec, ValidWorkload},
    supplied::{certificate::Supply, credentials::SuppliedCredentials},
};
use kube::Resource;

/// What a pass read of the PodMonitor of its resource.
#[derive(Debug)]
pub(crate) enum MonitorSeen {
    /// Nothing: there can be none.
    Needless,
    /// Its version.
    Read(ReadObject),
    /// Nothing yet, or nothing to rely on.
    Unknown,
}

/// What a pass found and did so far. This is reported even if the pass ends early.
pub(crate) struct Pass<'a> {
    pub(crate) resource: &'a SecureExporter,
    pub(crate) owner: &'a Owner,
    pub(crate) context: &'a Context,
    pub(crate) observed: &'a Observed,
    /// Runs what blocks a thread.
    pub(crate) blocking: &'a BlockingWork,
    pub(crate) now: Timestamp,
    pub(crate) clock_jumps: u64,
    /// Since when this release serves the namespace; `None` if that is not known.
    pub(crate) ours_since: Option<Timestamp>,
    /// What this process knew after its last pass.
    pub(crate) memory: Option<Memory>,
    /// Whether restored objects may be adopted.
    pub(crate) adoption: Adoption,
    /// What the user requested by annotation.
    pub(crate) requests: Requests,
    /// The previous status.
    pub(crate) previous: SecureExporterStatus,
    /// The accepted spec; `None` if none was ever accepted.
    pub(crate) spec: Option<ValidSpec>,
    /// The settings of the pods; `None` if the operator's policy forbids them.
    pub(crate) workload: Option<ValidWorkload>,
    /// The stored state.
    pub(crate) state: Option<State>,
    /// The content of the user-supplied Secrets.
    pub(crate) own: Option<SuppliedCredentials>,
    /// Where the certificate comes from.
    pub(crate) supply: Option<Supply>,
    /// The answers of the exporters.
    pub(crate) heard: Option<Heard>,
    /// Whether all answers are recent enough for the drop of a credential.
    pub(crate) is_confirmed: bool,
    /// Whether the objects that the pass read had been written for this generation of the resource.
    pub(crate) is_settled: bool,
    /// What another client deleted or changed, and the pass restored.
    pub(crate) restored: Vec<Restoration>,
    /// Whether the pass got as far as writing.
    pub(crate) is_complete: bool,
    /// The exporters that a rotation waits for.
    pub(crate) waiting: Waiting,
    /// Whether the cluster had PodMonitors when the pass began.
    pub(crate) monitors_exist: Option<bool>,
    /// What the pass read of the PodMonitor.
    pub(crate) monitor: MonitorSeen,
    /// What the pass could not do.
    pub(crate) problems: Vec<Problem>,
    /// Until when there is nothing to do, if nothing happens; `None` if the pass changed something.
    pub(crate) idle_until: Option<Timestamp>,
    /// When the next pass is due at the latest.
    pub(crate) due: Duration,
}

impl<'a> Pass<'a> {
    /// Creates a pass that has not done anything yet.
    pub(crate) fn begin(
        resource: &'a SecureExporter,
        owner: &'a Owner,
        context: &'a Context,
        observed: &'a Observed,
        adoption: Adoption,
        blocking: &'a BlockingWork,
    ) -> Self {
        let remembered = context.remembered().get(&owner.uid).cloned();
        let previous = status::without_default(resource.status.clone().unwrap_or_default());
        let generation = resource.meta().generation;
        let written_for = match &remembered {
            Some(remembered) => remembered.written_for,
            None => previous.observed_generation,
        };
        Self {
            resource,
            owner,
            context,
            observed,
            blocking,
            now: context.clock.now(),
            clock_jumps: context.clock.jumps(),
            ours_since: None,
            adoption,
            is_settled: written_for == generation,
            restored: Vec::new(),
            memory: remembered.map(|remembered| remembered.memory),
            requests: Requests::read(resource.meta().annotations.as_ref()),
            previous,
            spec: None,
            workload: None,
            state: None,
            own: None,
            supply: None,
            heard: None,
            is_confirmed: false,
            waiting: Waiting::NotKnown,
            is_complete: false,
            monitors_exist: context.pod_monitors.exist(),
            monitor: MonitorSeen::Unknown,
            problems: Vec::new(),
            idle_until: None,
            due: LONGEST_PAUSE,
        }
    }
}
