//! What we ship: binaries, images, the Debian package, and the chart installed in a cluster.

pub mod binaries;
pub mod debian_package;
pub mod image;
pub mod install;
