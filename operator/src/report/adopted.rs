//! Which restored objects have their owner since a pass, for the event. Pure.

use crate::{apply::sequence::is_written, names::ChildKind, report::problem::Problem};

/// Returns the names of those among `restored` that the pass wrote. `has_pods` says whether the operator's policy allows the pods
/// of the spec, so that there is a DaemonSet.
pub fn adopted(
    restored: Vec<(ChildKind, String)>,
    problems: &[Problem],
    has_pods: bool,
) -> Vec<String> {
    let failed = problems.iter().filter_map(|problem| match problem {
        Problem::Child { child, .. } => Some(*child),
        _ => None,
    });
    let failed: Vec<ChildKind> = failed.collect();
    let has_children = !problems.iter().any(|it| matches!(it, Problem::Render(_)));
    let is_rendered = |child| match child {
        ChildKind::State => true,
        ChildKind::DaemonSet => has_pods && has_children,
        _ => has_children,
    };
    let written = restored
        .into_iter()
        .filter(|(child, _)| is_rendered(*child) && is_written(*child, &failed));
    written.map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{apply::error::ApplyError, render::RenderError};

    /// What is announced if everything was restored.
    fn announced(problems: &[Problem], has_pods: bool) -> Vec<String> {
        let all = [
            ChildKind::State,
            ChildKind::Server,
            ChildKind::Scrape,
            ChildKind::Bundle,
            ChildKind::DaemonSet,
        ];
        let restored = all.map(|child| (child, format!("{child:?}")));
        adopted(restored.into(), problems, has_pods)
    }

    fn taken(child: ChildKind) -> Problem {
        let (kind, name) = ("Secret".into(), "x".into());
        Problem::child(child, ApplyError::Taken { kind, name })
    }

    #[test]
    fn what_was_written_is_announced() {
        let all = ["State", "Server", "Scrape", "Bundle", "DaemonSet"];
        assert_eq!(announced(&[], true), all);
        // About something else.
        assert_eq!(announced(&[Problem::Interrupted], true), all);
    }

    #[test]
    fn what_failed_and_what_depends_on_it_is_not_announced_yet() {
        let bundle = announced(&[taken(ChildKind::Bundle)], true);
        assert_eq!(bundle, ["State", "Server", "Scrape", "DaemonSet"]);
        let server = announced(&[taken(ChildKind::Server)], true);
        assert_eq!(server, ["State", "Bundle"]);
        assert!(announced(&[taken(ChildKind::State)], true).is_empty());
    }

    #[test]
    fn what_was_not_rendered_is_not_announced() {
        let refused = announced(&[], false);
        assert_eq!(refused, ["State", "Server", "Scrape", "Bundle"]);
        let nothing = announced(&[Problem::Render(RenderError::EmptyBundle)], true);
        assert_eq!(nothing, ["State"]);
    }
}
