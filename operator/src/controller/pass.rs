//! A pass under way.

use std::time::Duration;

use jiff::Timestamp;

use crate::controller::schedule::LONGEST_PAUSE;
use crate::{
    api::{SecureExporter, SecureExporterStatus},
    controller::context::Context,
    names::Owner,
    observe::children::Observed,
    report::problem::Problem,
    rotation::{
        annotations::Requests,
        evidence::{Heard, Tally},
        recall::Memory,
        state::State,
    },
    spec::{ValidSpec, ValidWorkload},
    supplied::{certificate::Supply, credentials::OwnCredentials},
};
use kube::Resource;

/// A pass under way: what it found and did so far. Whatever stops it, this much is reported.
pub(crate) struct Pass<'a> {
    pub(crate) resource: &'a SecureExporter,
    pub(crate) owner: &'a Owner,
    pub(crate) context: &'a Context,
    pub(crate) observed: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) clock_jumps: u64,
    /// What this process knew after its last pass.
    pub(crate) memory: Option<Memory>,
    /// What is asked for by annotation.
    pub(crate) requests: Requests,
    /// What the status said before.
    pub(crate) previous: SecureExporterStatus,
    /// The spec that is gone by; `None` where none was ever accepted.
    pub(crate) spec: Option<ValidSpec>,
    /// What the pods are made of; `None` where that is not accepted.
    pub(crate) workload: Option<ValidWorkload>,
    /// What is stored by now.
    pub(crate) state: Option<State>,
    /// What the user-supplied Secrets hold.
    pub(crate) own: Option<OwnCredentials>,
    /// Where the certificate comes from.
    pub(crate) supply: Option<Supply>,
    /// What exporters said.
    pub(crate) heard: Heard,
    /// Whom a rotation waits for.
    pub(crate) waiting_for: Option<Tally>,
    /// What could not be carried out.
    pub(crate) problems: Vec<Problem>,
    /// When the next pass is due, whatever failed in this one.
    pub(crate) due: Duration,
}

impl<'a> Pass<'a> {
    /// A pass that has done nothing yet.
    pub(crate) fn begin(
        resource: &'a SecureExporter,
        owner: &'a Owner,
        context: &'a Context,
        observed: &'a Observed,
    ) -> Self {
        let remembered = context.remembered().get(&owner.uid).cloned();
        Self {
            resource,
            owner,
            context,
            observed,
            now: context.clock.now(),
            clock_jumps: context.clock.jumps(),
            memory: remembered.map(|remembered| remembered.memory),
            requests: Requests::read(resource.meta().annotations.as_ref()),
            previous: resource.status.clone().unwrap_or_default(),
            spec: None,
            workload: None,
            state: None,
            own: None,
            supply: None,
            heard: Heard::default(),
            waiting_for: None,
            problems: Vec::new(),
            due: LONGEST_PAUSE,
        }
    }
}
