//! The network devices of this process's network namespace, from one dump of the kernel's link table per scrape.
//!
//! Most of the cost of a scrape on a node full of pods is reading some twenty sysfs files for each device. One netlink dump
//! has the same values, and the collectors of a scrape share it.

mod changes;
mod link;
mod ownership;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use changes::{Change, Changes};
use link::HEADER;
pub use link::{Link, counter};

use super::attribute::is_sysfs;
use super::deadline::Deadline;
use super::kept_file::is_procfs;
use super::netlink::{Netlink, NetlinkError, walk};
use super::pool::Pool;

/// The name of the table in errors.
const TABLE: &str = "network devices";
/// `RTM_GETLINK`
const GET_LINKS: u16 = 18;
/// How long a dump may take in a scrape that is already late, because other collectors still continue for a moment.
const LATE: Duration = Duration::from_millis(150);
/// How often a dump is repeated if devices appeared or disappeared meanwhile.
const ATTEMPTS: usize = 3;

/// The network devices, shared by the collectors of a registry: the first collector that asks for them in a scrape makes
/// the dump.
#[derive(Clone, Debug)]
pub struct SharedLinks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    procfs: PathBuf,
    /// `class/net` of sysfs.
    class: PathBuf,
    /// Whether this process is in the network namespace that should be shown.
    in_namespace: bool,
    links: Mutex<Links>,
}

impl SharedLinks {
    /// Creates it for a host with these mount points of procfs and sysfs. `in_namespace` says that this process is in the
    /// host's network namespace.
    pub fn new(procfs: &Path, sysfs: &Path, in_namespace: bool) -> Self {
        Self(Arc::new(Shared {
            procfs: procfs.to_owned(),
            class: sysfs.join("class/net"),
            in_namespace,
            links: Mutex::default(),
        }))
    }

    /// Returns the devices for the scrape with this deadline. The first call in a scrape makes the dump, which ends by the
    /// deadline or, if that has passed, soon.
    ///
    /// # Errors
    ///
    /// The kernel did not answer, now or earlier in this scrape, or a collector of an earlier scrape still waits for the
    /// kernel.
    pub fn read(&self, deadline: Deadline) -> Result<MutexGuard<'_, Links>, NetlinkError> {
        let mut links = match self.0.links.try_lock() {
            Ok(links) => links,
            // Incomplete state is overwritten by the next dump.
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let message = "the kernel has not answered an earlier request yet";
                let busy = io::Error::new(io::ErrorKind::WouldBlock, message);
                return Err(NetlinkError::new(TABLE, busy));
            }
        };
        if links.dumped != Some(deadline) {
            links.dumped = Some(deadline);
            let end = deadline.max(Deadline::after(LATE));
            links.failure = links.dump(end).err();
        }
        if let Some(failure) = &links.failure {
            return Err(failure.clone());
        }
        Ok(links)
    }

    /// Like [`SharedLinks::read`], if the dump describes the host: procfs and sysfs are the kernel's own and show the
    /// network namespace of this process. Otherwise `None`, and only the files describe the host.
    ///
    /// # Errors
    ///
    /// See [`SharedLinks::read`].
    pub fn read_instead_of_files(
        &self,
        deadline: Deadline,
    ) -> Result<Option<MutexGuard<'_, Links>>, NetlinkError> {
        let shared = &self.0;
        if !shared.in_namespace || !is_sysfs(&shared.class) || !is_procfs(&shared.procfs) {
            return Ok(None);
        }
        let mut links = match self.read(deadline) {
            Err(error) if error.is_out_of_reach() => return Ok(None),
            links => links?,
        };
        if !links.proved {
            links.proved = ownership::shows(&shared.class, links.by_name());
        }
        Ok(links.proved.then_some(links))
    }
}

/// The devices of the last dump.
#[derive(Debug)]
pub struct Links {
    netlink: Netlink,
    changes: Changes,
    links: Pool<Link>,
    /// Positions in `links`, ordered by name.
    order: Vec<usize>,
    /// Ordered by index.
    known: Vec<Known>,
    last_revision: u64,
    /// The deadline of the scrape that made the dump, which identifies the scrape.
    dumped: Option<Deadline>,
    failure: Option<NetlinkError>,
    /// Whether sysfs is known to show the same devices.
    proved: bool,
}

/// The properties of a device when it received its revision.
#[derive(Debug)]
struct Known {
    index: u32,
    name: Vec<u8>,
    address: Vec<u8>,
    revision: u64,
    present: bool,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            netlink: Netlink::routing(),
            changes: Changes::default(),
            links: Pool::default(),
            order: Vec::new(),
            known: Vec::new(),
            last_revision: 0,
            dumped: None,
            failure: None,
            proved: false,
        }
    }
}

impl Links {
    /// The devices ordered by name.
    pub fn by_name(&self) -> impl Iterator<Item = &Link> + Clone {
        let links = self.links.as_slice();
        self.order.iter().filter_map(|place| links.get(*place))
    }

    fn dump(&mut self, deadline: Deadline) -> Result<(), NetlinkError> {
        for _ in 0..ATTEMPTS {
            // Changes after this point are reported by the next call, even if the dump already shows them.
            let known = &mut self.known;
            self.changes.drain(|change| match change {
                Change::Device(index) => known.retain(|known| known.index != index),
                Change::Anything => known.clear(),
            });
            self.links.clear();
            let links = &mut self.links;
            let each = |entry: &[u8]| links.push_with(|link| link.fill(entry));
            self.netlink
                .until(deadline)
                .dump(TABLE, GET_LINKS, &[0; HEADER], each)?;
            if !self.netlink.was_interrupted() {
                break;
            }
        }
        self.sort();
        self.recognize();
        Ok(())
    }

    fn sort(&mut self) {
        let links = self.links.as_slice();
        self.order.clear();
        self.order.extend(0..links.len());
        let name = |place: &usize| links.get(*place).map(|link| link.name.as_slice());
        self.order.sort_unstable_by(|a, b| name(a).cmp(&name(b)));
        // An interrupted dump may contain a device twice.
        self.order.dedup_by(|a, b| name(a) == name(b));
    }

    /// Gives each device its previous revision, or a new one if netlink reports that it may have changed.
    fn recognize(&mut self) {
        for known in &mut self.known {
            known.present = false;
        }
        for link in self.links.as_mut_slice() {
            let found = self
                .known
                .binary_search_by_key(&link.index, |known| known.index);
            let place = match found {
                Ok(place) => place,
                Err(place) => {
                    self.known.insert(place, Known::new(link.index));
                    place
                }
            };
            let Some(known) = self.known.get_mut(place) else {
                continue;
            };
            if known.name != link.name || known.address != link.address {
                self.last_revision += 1;
                known.revision = self.last_revision;
                known.name.clone_from(&link.name);
                known.address.clone_from(&link.address);
            }
            known.present = true;
            link.revision = known.revision;
        }
        self.known.retain(|known| known.present);
    }
}

impl Known {
    /// A device about which nothing is known; no real device has an empty name.
    fn new(index: u32) -> Self {
        Self {
            index,
            name: Vec::new(),
            address: Vec::new(),
            revision: 0,
            present: true,
        }
    }
}

/// Parses a reply of the kernel to a request with this sequence number, as a dump does.
///
/// # Errors
///
/// The reply is truncated, or is an error.
pub fn parse_answer(answer: &[u8], sequence: u32) -> io::Result<Links> {
    let mut links = Links::default();
    let each = |entry: &[u8]| links.links.push_with(|link| link.fill(entry));
    walk(answer, sequence, each)?;
    links.sort();
    links.recognize();
    Ok(links)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A namespace with a device of each kind that one kernel supports, in replies to a request with the sequence number 7.
    const CAPTURED: &[u8] = include_bytes!("links/captured.bin");

    fn by_name<'a>(links: &'a Links, name: &str) -> &'a Link {
        let mut all = links.by_name();
        all.find(|link| link.name == name.as_bytes()).unwrap()
    }

    #[test]
    fn a_captured_dump_has_what_sysfs_showed_at_that_moment() {
        let links = parse_answer(CAPTURED, 7).unwrap();
        let names: Vec<_> = links
            .by_name()
            .map(|link| std::str::from_utf8(&link.name).unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "br0", "ifb0", "lo", "mv0", "mvt0", "renamed0", "tap0", "tun0", "vdown", "veth0",
                "vxlan7", "vxlan8"
            ]
        );
        for (name, index, lower, flags, up, state, queue) in [
            ("br0", 5, 5, 0x1303, true, "up", 1000),
            ("ifb0", 12, 12, 0x83, true, "unknown", 32),
            ("lo", 1, 1, 0x9, true, "unknown", 1000),
            ("mv0", 8, 5, 0x1303, true, "up", 1000),
            ("mvt0", 9, 5, 0x1003, true, "up", 500),
            ("renamed0", 3, 4, 0x1002, false, "down", 1000),
            ("tap0", 11, 11, 0x1002, false, "down", 0),
            ("tun0", 10, 10, 0x1091, true, "down", 500),
            ("vdown", 4, 3, 0x1002, false, "down", 1000),
            ("veth0", 2, 2, 0x1303, true, "up", 1000),
            ("vxlan7", 6, 6, 0x1003, true, "unknown", 1000),
        ] {
            let link = by_name(&links, name);
            assert_eq!((link.index, link.lower_or_own()), (index, lower), "{name}");
            assert_eq!(link.raw_flags(), Some(flags), "{name}");
            assert_eq!((link.is_up(), link.state()), (up, Some(state)), "{name}");
            assert_eq!(link.queue, Some(queue), "{name}");
            assert!(link.count(counter::RX_NOHANDLER).is_some(), "{name}");
        }
        assert_eq!(by_name(&links, "vdown").alias, b"an alias of it");
        assert_eq!(by_name(&links, "br0").broadcast, [0xff; 6]);
        assert!(by_name(&links, "tun0").address.is_empty());
        assert_eq!(by_name(&links, "tun0").carrier, Some(0));
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        assert_eq!(parse_answer(CAPTURED, 6).unwrap().by_name().count(), 0);
        let cut = &CAPTURED[..CAPTURED.len() - 1];
        assert!(parse_answer(cut, 7).is_err());
        assert!(parse_answer(&CAPTURED[..1000], 7).is_err());
    }

    proptest! {
        #[test]
        fn a_mangled_answer_becomes_devices_in_order_or_an_error(
            edits in proptest::collection::vec((0..CAPTURED.len(), any::<u8>()), 1..20),
            end in 0..=CAPTURED.len(),
        ) {
            let mut answer = CAPTURED.to_vec();
            for (place, byte) in edits {
                answer[place] = byte;
            }
            for answer in [&answer[..], &answer[..end]] {
                if let Ok(links) = parse_answer(answer, 7) {
                    let names: Vec<_> = links.by_name().map(|link| &link.name).collect();
                    prop_assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
                    prop_assert!(links.by_name().all(|link| link.revision > 0));
                }
            }
        }
    }

    #[test]
    fn a_revision_stays_until_the_name_or_the_address_is_another() {
        let mut links = parse_answer(CAPTURED, 7).unwrap();
        let mut again = |edit: &dyn Fn(&mut Link)| {
            let before: Vec<_> = links.by_name().map(|link| link.revision).collect();
            links.links.as_mut_slice().iter_mut().for_each(edit);
            links.recognize();
            let after = links.by_name().map(|link| link.revision);
            after
                .zip(before)
                .filter(|(after, before)| after != before)
                .count()
        };
        assert_eq!(again(&|link| link.mtu += 1), 0);
        assert_eq!(again(&|link| link.address[..].reverse()), 10);
        assert_eq!(again(&|link| link.name.push(b'x')), 12);
        let vanish = |link: &mut Link| link.index += 100;
        assert_eq!(again(&vanish), 12, "others have the same names");
        assert_eq!(links.known.len(), 12, "those that have gone are forgotten");
    }

    fn shared(in_namespace: bool) -> SharedLinks {
        SharedLinks::new(Path::new("/proc"), Path::new("/sys"), in_namespace)
    }

    /// The deadline of a new scrape.
    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[test]
    fn the_first_collector_of_a_scrape_makes_the_dump_and_the_others_share_it() {
        let shared = shared(true);
        let count = |shared: &SharedLinks, scrape| shared.read(scrape).unwrap().by_name().count();
        let scrape = soon();
        assert!(count(&shared, scrape) > 0);
        // Devices that appear or disappear now are only seen by the next scrape.
        shared.0.links.lock().unwrap().links.clear();
        assert_eq!(count(&shared.clone(), scrape), 0);
        assert!(count(&shared, soon()) > 0);
    }

    #[test]
    fn a_failed_dump_fails_all_collectors_of_the_scrape() {
        let shared = shared(true);
        let scrape = soon();
        let source = io::Error::from_raw_os_error(105);
        let mut links = shared.0.links.lock().unwrap();
        links.dumped = Some(scrape);
        links.failure = Some(NetlinkError::new(TABLE, source));
        drop(links);
        for _ in 0..2 {
            let error = shared.read(scrape).unwrap_err().to_string();
            assert!(error.starts_with("cannot read network devices"), "{error}");
        }
        drop(shared.read(soon()).unwrap());
    }

    #[test]
    fn a_dump_that_hangs_is_not_waited_for() {
        let shared = shared(true);
        let hangs = shared.0.links.lock().unwrap();
        let error = shared.read(soon()).unwrap_err().to_string();
        assert!(error.ends_with("an earlier request yet"), "{error}");
        drop(hangs);
        drop(shared.read(soon()).unwrap());
    }

    #[test]
    fn a_late_scrape_still_gets_a_moment() {
        let shared = shared(true);
        drop(shared.read(Deadline::after(Duration::ZERO)).unwrap());
    }

    #[test]
    fn elsewhere_the_files_are_read_and_nothing_is_dumped() {
        let tree = tempfile::tempdir().unwrap();
        let foreign_sysfs = SharedLinks::new(Path::new("/proc"), tree.path(), true);
        let foreign_procfs = SharedLinks::new(tree.path(), Path::new("/sys"), true);
        for shared in [shared(false), foreign_sysfs, foreign_procfs] {
            assert!(shared.read_instead_of_files(soon()).unwrap().is_none());
            assert_eq!(shared.0.links.lock().unwrap().dumped, None);
        }
    }
}
