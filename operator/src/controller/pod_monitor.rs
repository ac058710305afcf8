//! The PodMonitor, which a pass writes last.

use crate::{
    api::MonitorMode,
    apply::sequence::is_written,
    controller::pass::{MonitorSeen, Pass},
    names::ChildKind,
    observe::{children::Child, pod_monitors, versions::read},
    render,
    report::problem::Problem,
    spec::ValidSpec,
};

/// What a pass does about the PodMonitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Writes it.
    Write,
    /// Deletes it if there is one.
    Delete,
    /// Nothing.
    Leave,
    /// Reports that the cluster has none.
    Report,
}

/// What to do in this mode. `exist`: whether the cluster has PodMonitors, if that is known.
fn action(mode: MonitorMode, exist: Option<bool>) -> Action {
    match (mode, exist) {
        (MonitorMode::Enabled, Some(false)) => Action::Report,
        (MonitorMode::Enabled, _) | (MonitorMode::Auto, Some(true)) => Action::Write,
        (MonitorMode::Disabled, Some(true)) => Action::Delete,
        (MonitorMode::Auto | MonitorMode::Disabled, _) => Action::Leave,
    }
}

impl Pass<'_> {
    /// Writes or deletes the PodMonitor. `has_state`: there are credentials that it can refer to.
    pub(crate) async fn pod_monitor(&mut self, spec: &ValidSpec, has_state: bool) {
        let wanted = match action(spec.scrape.monitor_mode, self.monitors_exist) {
            Action::Leave => return self.monitor = MonitorSeen::Needless,
            Action::Report => return self.problems.push(Problem::NoPodMonitors),
            Action::Delete => None,
            Action::Write if has_state && self.is_published() => {
                Some(render::pod_monitor(spec, self.owner))
            }
            // What it refers to comes first.
            Action::Write => return,
        };
        let present = pod_monitors::pod_monitor(&self.context.client, self.owner).await;
        let is_required = spec.scrape.monitor_mode == MonitorMode::Enabled;
        if matches!(present, Child::Foreign) && !is_required {
            // It was written by hand, and stays. That it is deleted would be noticed by no watch.
            self.monitor = MonitorSeen::Unknown;
            return;
        }
        let seen = read(&present, &self.owner.workload());
        self.monitor = seen.map_or(MonitorSeen::Unknown, MonitorSeen::Read);
        let writer = self.context.writer();
        let written = writer.pod_monitor(self.owner, wanted, &present).await;
        self.problems.extend(written.err().map(Problem::from));
    }

    /// Whether the Secret of the scrapers is as the state prescribes.
    fn is_published(&self) -> bool {
        let failed = self.problems.iter().filter_map(|problem| match problem {
            Problem::Child { child, .. } => Some(*child),
            _ => None,
        });
        is_written(ChildKind::Scrape, &failed.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_follows_the_cluster_and_disabled_removes() {
        use MonitorMode::{Auto, Disabled, Enabled};
        for (mode, exist, wanted) in [
            (Auto, Some(true), Action::Write),
            (Auto, Some(false), Action::Leave),
            (Auto, None, Action::Leave),
            (Enabled, Some(true), Action::Write),
            (Enabled, Some(false), Action::Report),
            // Without the right to watch definitions: the write says what is missing.
            (Enabled, None, Action::Write),
            (Disabled, Some(true), Action::Delete),
            (Disabled, Some(false), Action::Leave),
            (Disabled, None, Action::Leave),
        ] {
            assert_eq!(action(mode, exist), wanted, "{mode:?} {exist:?}");
        }
    }
}
