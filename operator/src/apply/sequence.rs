//! The order in which a pass writes objects, and their dependencies. Pure: the model in the tests uses the same list.

use crate::names::ChildKind::{
    self, Bundle, DaemonSet, Discovery, Scrape, Server, Service, ServiceAccount, State,
};

/// One write of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The object.
    pub child: ChildKind,
    /// Its dependencies: if one of these could not be written, this object is not written.
    pub behind: &'static [ChildKind],
}

/// The writes of a pass. The state comes first, so that the same material is found after a crash. An object comes after those
/// that it refers to. What scrapers mount comes last, so that exporters already accept it.
pub const SEQUENCE: [Write; 8] = [
    write(State, &[]),
    write(ServiceAccount, &[State]),
    write(Discovery, &[State]),
    write(Server, &[State]),
    write(Bundle, &[State]),
    write(Service, &[State]),
    write(DaemonSet, &[State, ServiceAccount, Server]),
    write(Scrape, &[State, Server]),
];

const fn write(child: ChildKind, behind: &'static [ChildKind]) -> Write {
    Write { child, behind }
}

impl Write {
    /// Whether the object is not written, because one of its dependencies is among `failed`.
    pub fn is_held(&self, failed: &[ChildKind]) -> bool {
        self.behind.iter().any(|it| failed.contains(it))
    }
}

/// Whether a pass wrote an object, if it could not write `failed`.
pub fn is_written(child: ChildKind, failed: &[ChildKind]) -> bool {
    let mut writes = SEQUENCE.iter().filter(|write| write.child == child);
    writes.all(|write| !write.is_held(failed)) && !failed.contains(&child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_and_what_depends_on_it_is_not_written() {
        assert!(is_written(Scrape, &[]));
        assert!(!is_written(Server, &[Server]));
        assert!(!is_written(Scrape, &[Server]));
        assert!(is_written(Service, &[Server]));
    }

    #[test]
    fn every_object_is_written_after_its_dependencies() {
        for (index, write) in SEQUENCE.iter().enumerate() {
            let earlier: Vec<ChildKind> = SEQUENCE.iter().take(index).map(|it| it.child).collect();
            assert!(
                write.behind.iter().all(|it| earlier.contains(it)),
                "{write:?}"
            );
        }
    }
}
