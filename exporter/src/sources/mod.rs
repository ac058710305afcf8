//! How the host is read: files kept open and read again in place, listings, and file systems that may hang.
//!
//! All roots are settable, so that a container reads its host and a test its captured tree.

mod attribute;
mod kept_file;
mod parse;
mod statfs;

pub use attribute::{Directory, list_directories, list_numbered, read_attribute};
pub use kept_file::{KeptFile, ReadError};
pub use parse::{fields, lines, parse_hex, parse_prefixed, parse_signed, parse_u64, trim};
pub use statfs::{Answer, FileSystem, Prober};
