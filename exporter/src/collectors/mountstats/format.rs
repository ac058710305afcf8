//! The format of `/proc/self/mountstats`.

use crate::collect::skipped::Skipped;
use crate::sources::{fields, lines, parse_u64};

const FILE: &str = "mountstats";

/// An NFS mount and its statistics. Lines that a kernel does not print leave zeros; `None` means that a line cannot be
/// read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount<'a> {
    /// Its position among all mounts, including those of other file systems.
    pub(super) place: usize,
    pub(super) export: &'a [u8],
    pub(super) mount_point: &'a [u8],
    /// Seconds since it was mounted.
    pub(super) age: Option<u64>,
    pub(super) bytes: Option<[u64; 8]>,
    pub(super) events: Option<[u64; 27]>,
    pub(super) transports: Vec<Transport<'a>>,
    pub(super) operations: Vec<Operation<'a>>,
    /// Whether the operations, which come last, have begun.
    at_operations: bool,
}

/// A connection to the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transport<'a> {
    pub(super) protocol: &'a [u8],
    /// Its numbers without the first one, the port; those that the protocol does not have are zero. `None` if they cannot
    /// be read.
    pub(super) numbers: Option<[u64; 12]>,
}

/// An operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation<'a> {
    pub(super) name: &'a [u8],
    pub(super) numbers: [u64; 8],
}

/// The NFS mounts in the order of the file.
pub(super) fn parse<'a>(bytes: &'a [u8], skipped: &mut Skipped) -> Vec<Mount<'a>> {
    let mut mounts: Vec<Mount<'_>> = Vec::new();
    let mut place = 0;
    let mut inside = false;
    for line in lines(bytes) {
        if line.starts_with(b"device ") {
            let mount = parse_device(line, place);
            place += 1;
            inside = mount.is_some();
            mounts.extend(mount);
        } else if fields(line).any(|word| word == b"fstype") {
            // Another mount begins, so the following lines do not belong to the previous one.
            inside = false;
            let without_device = line.starts_with(b"no device ");
            skipped.line(FILE, line, without_device.then_some(()));
        } else if inside && let Some(mount) = mounts.last_mut() {
            let read = parse_line(line, mount);
            skipped.line(FILE, line, read);
        }
    }
    mounts
}

/// Parses `device EXPORT mounted on MOUNTPOINT with fstype nfs4 statvers=1.1`; other file systems have no statistics.
fn parse_device(line: &[u8], place: usize) -> Option<Mount<'_>> {
    let mut words = fields(line);
    let export = words.nth(1)?;
    let mount_point = words.nth(2)?;
    let kind = words.nth(2)?;
    words.next()?.strip_prefix(b"statvers=")?;
    [b"nfs".as_slice(), b"nfs4"].contains(&kind).then(|| Mount {
        place,
        export,
        mount_point,
        age: Some(0),
        bytes: Some([0; 8]),
        events: Some([0; 27]),
        transports: Vec::new(),
        operations: Vec::new(),
        at_operations: false,
    })
}

/// Parses a line of a mount. `None` for a known line with an unexpected format.
fn parse_line<'a>(line: &'a [u8], mount: &mut Mount<'a>) -> Option<()> {
    let mut words = fields(line);
    let Some(first) = words.next() else {
        return Some(());
    };
    match first {
        b"age:" => {
            mount.age = words.next().and_then(parse_u64);
            mount.age?;
        }
        b"bytes:" => {
            mount.bytes = parse_numbers(words);
            mount.bytes?;
        }
        b"events:" => {
            mount.events = parse_numbers(words);
            mount.events?;
        }
        b"xprt:" => {
            let protocol = words.next()?;
            let numbers = parse_transport(protocol, words);
            mount.transports.push(Transport { protocol, numbers });
            numbers?;
        }
        b"per-op" => mount.at_operations = true,
        _ if mount.at_operations => {
            let name = first.strip_suffix(b":")?;
            let numbers = parse_numbers(words)?;
            mount.operations.push(Operation { name, numbers });
        }
        _ => {}
    }
    Some(())
}

fn parse_transport<'a>(
    protocol: &[u8],
    words: impl Iterator<Item = &'a [u8]>,
) -> Option<[u64; 12]> {
    let given: Vec<u64> = words.map(parse_u64).collect::<Option<_>>()?;
    let mut given = given.into_iter().skip(1);
    let mut numbers = [0; 12];
    for (place, slot) in numbers.iter_mut().enumerate() {
        // A transport without a connection has no such counters and has not been idle; the fields after the tenth are
        // specific to RDMA.
        let lacks = match protocol {
            b"udp" => (1..4).contains(&place),
            b"rdma" => place >= 9,
            _ => false,
        };
        if !lacks {
            *slot = given.next().unwrap_or_default();
        }
    }
    Some(numbers)
}

/// Parses the first numbers of a line; the rest is unknown.
fn parse_numbers<'a, const N: usize>(
    mut words: impl Iterator<Item = &'a [u8]>,
) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for slot in &mut numbers {
        *slot = parse_u64(words.next()?)?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::CollectError;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8]) -> Result<Vec<Mount<'_>>, CollectError> {
        whole(|skipped| crate::collectors::mountstats::format::parse(bytes, skipped))
    }

    const HEAD: &str = "device rootfs mounted on / with fstype rootfs\n\
        device 10.0.0.1:/x mounted on /mnt with fstype nfs4 statvers=1.1\n\topts:\trw,vers=4.0\n\tage:\t13968\n\
        \tbytes:\t1 2 3 4 5 6 7 8\n";

    #[test]
    fn a_mount_its_transports_and_operations() {
        let text = format!(
            "{HEAD}\txprt:\ttcp 832 1 2 0 11 6428 6428 0 12154 5 24 26 5726\n\txprt:\tudp 832 1 6 7 8 9 10 11 12 13\n\
             \tper-op statistics\n\t        READ: 1298 1299 0 207680 1210292152 6 79386 79407 0\n\n"
        );
        let mounts = parse(text.as_bytes()).unwrap();
        assert_eq!(mounts.len(), 1);
        let mount = &mounts[0];
        assert_eq!(
            (mount.place, mount.export, mount.mount_point),
            (1, b"10.0.0.1:/x".as_slice(), b"/mnt".as_slice())
        );
        assert_eq!(
            (mount.age, mount.bytes),
            (Some(13968), Some([1, 2, 3, 4, 5, 6, 7, 8]))
        );
        assert_eq!(
            mount.transports[0].numbers,
            Some([1, 2, 0, 11, 6428, 6428, 0, 12154, 5, 24, 26, 5726])
        );
        assert_eq!(
            mount.transports[1].numbers,
            Some([1, 0, 0, 0, 6, 7, 8, 9, 10, 11, 12, 13])
        );
        assert_eq!(mount.operations[0].name, b"READ");
        assert_eq!(
            mount.operations[0].numbers,
            [1298, 1299, 0, 207_680, 1_210_292_152, 6, 79386, 79407]
        );
    }

    #[test]
    fn a_short_line_is_an_error() {
        assert!(parse(format!("{HEAD}\tevents:\t1 2\n").as_bytes()).is_err());
        assert!(parse(format!("{HEAD}\tage:\tx\n").as_bytes()).is_err());
    }

    #[test]
    fn what_follows_a_mount_that_cannot_be_read_is_not_of_the_one_above() {
        let text = format!("{HEAD}devixe 10.0.0.1:/y mounted on /y with fstype nfs4\n\tage:\t7\n");
        let mut skipped = Skipped::default();
        let mounts = crate::collectors::mountstats::format::parse(text.as_bytes(), &mut skipped);
        assert_eq!((mounts.len(), mounts[0].age), (1, Some(13968)));
        assert!(!skipped.is_empty());
    }
}
