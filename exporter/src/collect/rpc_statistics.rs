//! The formats that the statistics of the NFS client and server have in common.

use crate::exposition::Family;
use crate::sources::parse_u64;

/// The procedures of NFS 2 in protocol order.
pub(crate) const VERSION_2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write",
    "Create", "Remove", "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];
/// The procedures of NFS 3 in protocol order.
pub(crate) const VERSION_3: [&str; 22] = [
    "Null",
    "GetAttr",
    "SetAttr",
    "Lookup",
    "Access",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
    "FsStat",
    "FsInfo",
    "PathConf",
    "Commit",
];

/// A line with the calls of one protocol version's procedures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// The first word of the line.
    pub name: &'static str,
    /// The version, as in the label `proto`.
    pub version: &'static str,
    /// The procedures in the order of their numbers.
    pub methods: &'static [&'static str],
}

/// The number of calls of each procedure, ordered by the labels `method` and `proto`. Procedures that the kernel does not
/// list were never called.
#[derive(Debug)]
pub(crate) struct Procedures {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    method: &'static str,
    version: &'static str,
    line: &'static str,
    /// The procedure's position in its line.
    place: usize,
    /// `None` if the line cannot be read.
    calls: Option<u64>,
}

impl Procedures {
    /// The procedures of some lines except the hidden ones.
    pub(crate) fn new(lines: &[Line], hidden: &[&str]) -> Self {
        let mut rows = Vec::new();
        for line in lines {
            for (place, method) in line.methods.iter().enumerate() {
                rows.push(Row {
                    method,
                    version: line.version,
                    line: line.name,
                    place,
                    calls: Some(0),
                });
            }
        }
        rows.retain(|row| !hidden.contains(&row.method));
        rows.sort_unstable_by_key(|row| (row.method, row.version));
        Self { rows }
    }

    /// Clears all calls, so that counters which the kernel no longer reports do not keep their last values.
    pub(crate) fn clear(&mut self) {
        for row in &mut self.rows {
            row.calls = Some(0);
        }
    }

    /// Reads a line after its name: the count of the numbers, and the numbers.
    pub(crate) fn take<'a>(
        &mut self,
        line: &str,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Option<()> {
        self.forget(line);
        let mut numbers = parts.map(parse_u64);
        let announced = numbers.next()??;
        let calls: Vec<u64> = numbers.collect::<Option<_>>()?;
        if calls.len() as u64 != announced {
            return None;
        }
        self.set(line, &calls);
        Some(())
    }

    /// Hides a line until its calls are read.
    pub(crate) fn forget(&mut self, line: &str) {
        for row in self.rows.iter_mut().filter(|row| row.line == line) {
            row.calls = None;
        }
    }

    /// Stores the calls of a line.
    pub(crate) fn set(&mut self, line: &str, calls: &[u64]) {
        for row in self.rows.iter_mut().filter(|row| row.line == line) {
            row.calls = Some(calls.get(row.place).copied().unwrap_or_default());
        }
    }

    /// Writes one sample for each procedure.
    pub(crate) fn write(&self, family: &mut Family<'_>) {
        for row in &self.rows {
            if let Some(calls) = row.calls {
                let labels = [
                    ("method", row.method.as_bytes()),
                    ("proto", row.version.as_bytes()),
                ];
                family.sample(&labels, calls);
            }
        }
    }
}

/// Returns the numbers of a line, or none if it cannot be read.
pub(crate) fn each<const N: usize>(numbers: Option<[u64; N]>) -> [Option<u64>; N] {
    numbers.map_or([None; N], |numbers| numbers.map(Some))
}

/// Parses exactly `N` numbers.
pub(crate) fn parse_numbers<'a, const N: usize>(
    mut parts: impl Iterator<Item = &'a [u8]>,
) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for slot in &mut numbers {
        *slot = parts.next().and_then(parse_u64)?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::fields;

    #[test]
    fn a_shorter_line_leaves_the_rest_uncalled() {
        let lines = [
            Line {
                name: "proc2",
                version: "2",
                methods: &["B", "Hidden", "A"],
            },
            Line {
                name: "proc3",
                version: "3",
                methods: &["A"],
            },
        ];
        let mut procedures = Procedures::new(&lines, &["Hidden"]);
        procedures.take("proc2", fields(b"3 5 6 7")).unwrap();
        procedures.take("proc3", fields(b"1 9")).unwrap();
        let calls = |procedures: &Procedures| {
            procedures
                .rows
                .iter()
                .map(|row| (row.method, row.version, row.calls.unwrap()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            calls(&procedures),
            [("A", "2", 7), ("A", "3", 9), ("B", "2", 5)]
        );
        procedures.take("proc2", fields(b"1 8")).unwrap();
        assert_eq!(
            calls(&procedures),
            [("A", "2", 0), ("A", "3", 9), ("B", "2", 8)]
        );
        for line in ["", "2 1", "1 1 1", "1 x"] {
            assert!(
                procedures.take("proc2", fields(line.as_bytes())).is_none(),
                "{line}"
            );
        }
    }

    #[test]
    fn numbers_are_counted() {
        assert_eq!(parse_numbers(fields(b"1 2")), Some([1, 2]));
        assert_eq!(parse_numbers::<2>(fields(b"1")), None);
        assert_eq!(parse_numbers::<2>(fields(b"1 2 3")), None);
    }
}
