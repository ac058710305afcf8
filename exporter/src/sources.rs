//! How the host is read: files kept open and read again in place, listings, the kernel's tables over netlink, and file
//! systems that may hang.
//!
//! All roots are settable, so that a container reads its host and a test its captured tree.

mod attribute;
mod crew;
mod deadline;
#[cfg(test)]
mod fake_bus;
mod kept_file;
mod netlink;
mod parse;
mod read_error;
mod statfs;
mod system_bus;

pub use attribute::{
    Directory, KeptDirectory, is_sysfs, list_devices, list_directories, list_entries, list_files,
    list_numbered, read_attribute,
};
pub use crew::Crew;
pub use deadline::Deadline;
#[cfg(test)]
pub use fake_bus::FakeBus;
pub use kept_file::KeptFile;
#[cfg(test)]
pub(crate) use netlink::attribute;
pub use netlink::{Netlink, NetlinkError, attributes, hardware_address, u16_at, u32_at, u64_at};
pub use parse::{
    all_lines, fields, lines, parse_decimal, parse_hex, parse_prefixed, parse_signed, parse_u64,
    trim,
};
pub use read_error::ReadError;
pub use statfs::{Answer, FileSystem, Prober, Target};
pub use system_bus::{BusError, Peer, SystemBus};
