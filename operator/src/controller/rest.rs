//! A pass over a resource at rest asks the API server for nothing but the Lease.
//!
//! That nothing has changed only ever means that nothing is done. Everything that is written, and every decision, is based on
//! objects that the pass itself has read.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::{
    api::SecureExporter,
    controller::{
        context::Context,
        pass::{MonitorSeen, Pass},
        rests::{Conditions, Rest},
        schedule::{LONGEST_PAUSE, until},
    },
    names::Owner,
    observe::versions::read_objects,
    rotation::{adoption::Adoption, evidence::Waiting},
    spec::issuer::ValidIssuer,
};

/// Returns when to look at a resource again for which nothing has happened since nothing was left to do; `None` if a whole pass
/// is necessary.
pub(super) fn resting(
    resource: &SecureExporter,
    owner: &Owner,
    context: &Context,
    ours_since: Timestamp,
) -> Option<Duration> {
    let rest = context.rests.get(&owner.uid)?;
    let (news, now) = (context.wakes.news(owner), context.clock.now());
    let monitors = context.pod_monitors.exist();
    let jumps = context.clock.jumps();
    let conditions = Conditions::new(resource, news, jumps, ours_since, monitors);
    let is_unchanged = rest.holds(&conditions, now, Instant::now())
        && context.versions.show(&owner.namespace, &rest.objects)
        && is_watched(owner, context)
        && context.prober.is_at_work(owner);
    if !is_unchanged {
        context.rests.end(&owner.uid);
        return None;
    }
    let pause = until(rest.until, now).min(LONGEST_PAUSE);
    Some(pause.min(context.timers.sample_interval.unsigned_abs()))
}

/// Whether every change of what a pass reads, besides the generated objects, would be noticed.
fn is_watched(owner: &Owner, context: &Context) -> bool {
    context.pods.is_watched(owner) && context.dependents.are_watched(owner)
}

impl Pass<'_> {
    /// Whether every change of what the pass read would be noticed from now on.
    pub(super) fn is_watched(&self) -> bool {
        let complaints = self.observed.complaints.as_ref();
        // Events are not watched.
        let reads_events = complaints.is_some_and(|read| read.reads_events);
        let objects = read_objects(self.observed, self.owner);
        let are_shown = objects.is_some_and(|objects| {
            let versions = &self.context.versions;
            versions.show(&self.owner.namespace, &objects)
        });
        !reads_events && are_shown && is_watched(self.owner, self.context)
    }

    /// Lets the resource rest if nothing is left to do. `news` is how often something had happened before the pass read
    /// anything. `is_reported`: the status in the resource is up to date.
    pub(super) fn begin_rest(&self, news: u64, is_reported: bool) {
        let (Some(until), Some(ours_since)) = (self.idle_until, self.ours_since) else {
            return;
        };
        // Nothing would wake it when the other release is gone.
        let is_contended = self.previous.contended_time.is_some();
        if !is_reported || is_contended || !self.is_idle() || !is_watched(self.owner, self.context)
        {
            return;
        }
        let Some(mut objects) = read_objects(self.observed, self.owner) else {
            return;
        };
        match &self.monitor {
            MonitorSeen::Needless => {}
            MonitorSeen::Read(object) => objects.push(object.clone()),
            MonitorSeen::Unknown => return,
        }
        if !self.context.versions.show(&self.owner.namespace, &objects) {
            return;
        }
        let conditions = Conditions::new(
            self.resource,
            news,
            self.clock_jumps,
            ours_since,
            self.monitors_exist,
        );
        let rest = Rest {
            conditions,
            objects,
            until,
            begun: Instant::now(),
        };
        self.context.rests.begin(&self.owner.uid, rest);
    }

    /// Whether the pass found everything as it should be, and waits for nothing that is not watched.
    fn is_idle(&self) -> bool {
        let is_managed = |issuer: &ValidIssuer| *issuer == ValidIssuer::Managed;
        let rotates = self.state.as_ref().is_none_or(|state| {
            state.authority_progress.is_some() || state.password_progress.is_some()
        });
        let complaints = self.observed.complaints.as_ref();
        let are_watched =
            complaints.is_some_and(|read| read.unread.is_empty() && !read.reads_events);
        self.problems.is_empty()
            && self.restored.is_empty()
            && self.is_complete
            && self.is_settled
            && self.heard.is_some()
            && self.waiting == Waiting::Nobody
            && self.adoption != Adoption::Allowed
            && self
                .spec
                .as_ref()
                .is_some_and(|spec| is_managed(&spec.issuer))
            && !rotates
            && are_watched
    }
}
