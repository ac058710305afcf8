//! A real cluster on one machine, the servers that run in and beside it, and what tests and benchmarks do with them.
#![forbid(unsafe_code)]

pub mod cert_manager;
pub mod certificate;
pub mod cluster;
pub mod comparison;
pub mod curl;
pub mod debian;
pub mod exporters;
pub mod host;
pub mod kubectl;
pub mod namespace;
pub mod operator;
pub mod paths;
pub mod played_node;
pub mod process;
pub mod product;
pub mod progress;
pub mod prometheus;
pub mod rights;
pub mod secret;
pub mod servers;
pub mod slot;
pub mod test_clusters;
pub mod wait;
