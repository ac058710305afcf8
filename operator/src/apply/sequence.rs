//! In which order a pass writes, and what it never outruns. Pure: the model of the tests writes by the same list.

use crate::names::ChildKind::{
    self, Bundle, DaemonSet, Discovery, Scrape, Server, Service, ServiceAccount, State,
};

/// One write of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// What is written.
    pub child: ChildKind,
    /// What must stand as it should before: where one of these could not be written, this one is not.
    pub behind: &'static [ChildKind],
}

/// The writes of a pass. The state comes first: after a crash the same material is found again. What refers to something
/// comes behind it. What scrapers mount comes last, so that whoever reads it finds exporters that know what it holds.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_before_what_it_stands_behind() {
        for (index, write) in SEQUENCE.iter().enumerate() {
            let earlier: Vec<ChildKind> = SEQUENCE.iter().take(index).map(|it| it.child).collect();
            assert!(
                write.behind.iter().all(|it| earlier.contains(it)),
                "{write:?}"
            );
        }
    }
}
