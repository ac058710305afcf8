//! Which generated objects another client deleted or changed. Pure.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use crate::{
    names::{ChildKind, Owner},
    observe::children::{Child, Observed},
    render::Children,
};

/// A generated Secret or ConfigMap that is not as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The object.
    pub child: ChildKind,
    /// Its kind and name.
    pub what: String,
    /// Whether it was deleted, rather than changed.
    pub is_deleted: bool,
}

impl Drift {
    /// The note of the event after it was restored.
    pub fn restored(&self) -> String {
        let happened = if self.is_deleted {
            "deleted"
        } else {
            "changed"
        };
        format!("Restored {}, which had been {happened}", self.what)
    }
}

/// Compares what the previous pass published with what is there now. Everything was published by then.
pub fn drift(before: &Children, observed: &Observed, owner: &Owner) -> Vec<Drift> {
    let secret = |child, wanted: &Secret, present: &Child<Secret>| {
        let what = format!("Secret {}", wanted.name_any());
        compared(child, what, present, |present| {
            present.data.clone().unwrap_or_default() == wanted.data.clone().unwrap_or_default()
        })
    };
    let bundle = compared(
        ChildKind::Bundle,
        format!("ConfigMap {}", owner.ca_config_map()),
        &observed.authority,
        |present| present.data == before.ca_config_map.data,
    );
    // The content of the state may be newer than what was remembered; its loss is certain.
    let state = compared(
        ChildKind::State,
        format!("Secret {}", owner.state_secret()),
        &observed.state,
        |_| true,
    );
    [
        state,
        secret(ChildKind::Server, &before.server_secret, &observed.server),
        secret(ChildKind::Scrape, &before.scrape_secret, &observed.scrape),
        bundle,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn compared<K>(
    child: ChildKind,
    what: String,
    present: &Child<K>,
    is_same: impl Fn(&K) -> bool,
) -> Option<Drift> {
    let is_deleted = match present {
        Child::Absent => true,
        Child::Ours(present) if !is_same(present) => false,
        Child::Ours(_)
        | Child::Foreign
        | Child::Restored(_)
        | Child::Leftover
        | Child::Unknown(_) => return None,
    };
    Some(Drift {
        child,
        what,
        is_deleted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_or_different_has_drifted() {
        let is_same = |present: &i32| *present == 1;
        let drift = |present| compared(ChildKind::Scrape, "Secret s".into(), &present, is_same);
        let note = |present| drift(present).map(|it| it.restored());
        assert_eq!(
            note(Child::Absent).unwrap(),
            "Restored Secret s, which had been deleted"
        );
        assert_eq!(
            note(Child::Ours(2)).unwrap(),
            "Restored Secret s, which had been changed"
        );
        assert_eq!(drift(Child::Ours(1)), None);
        assert_eq!(drift(Child::Foreign), None);
    }
}
