//! How the host is read: files that are kept open and read again, directory listings, the kernel's tables over netlink, and
//! file systems that may hang.
//!
//! All roots can be configured, so that a container reads its host and a test reads captured files.

mod attribute;
mod crew;
mod deadline;
#[cfg(test)]
mod fake_bus;
mod kept_file;
mod links;
mod netlink;
mod parse;
mod pool;
mod read_error;
mod statfs;
mod system_bus;

pub use attribute::{
    Directory, is_sysfs, list_directories, list_entries, list_files, list_numbered, read_attribute,
};
pub use crew::Crew;
pub use deadline::Deadline;
#[cfg(test)]
pub use fake_bus::FakeBus;
pub use kept_file::{KeptFile, is_procfs};
pub use links::{Link, Links, SharedLinks, counter, parse_answer};
#[cfg(test)]
pub(crate) use netlink::attribute;
pub use netlink::{
    Netlink, NetlinkError, attributes, hardware_address, u16_at, u32_at, u64_at,
    write_hardware_address,
};
pub use parse::{
    all_lines, fields, lines, parse_decimal, parse_hex, parse_prefixed, parse_signed, parse_u64,
    trim,
};
pub use pool::Pool;
pub use read_error::ReadError;
pub use statfs::{Answer, FileSystem, Prober, Target};
pub use system_bus::{BusError, Peer, SystemBus};
