//! The framework of the collectors: what a collector is, what it is built from, and what several of them share.

mod collector;
pub(crate) mod device;
pub(crate) mod device_filter;
pub(crate) mod field_selection;
mod host_network;
pub(crate) mod rpc_statistics;
pub(crate) mod samples;
pub(crate) mod settings;

pub use collector::{CollectError, Collector};
pub use host_network::{HostNetwork, shares_network_with_init};
pub use settings::{BuildContext, BuildError, CollectorSpec, OptionKind, OptionSpec, Settings};
