//! The framework of the collectors: their trait, their settings, and what several of them share.

mod collector;
pub(crate) mod cpu_list;
pub(crate) mod device;
pub(crate) mod device_filter;
pub(crate) mod field_selection;
mod host_network;
mod pattern;
pub(crate) mod rpc_statistics;
pub(crate) mod samples;
mod settings;
pub(crate) mod skipped;
pub(crate) mod spec;

pub use collector::{CollectError, Collector};
pub use host_network::{HostNetworkError, check_apart};
pub use pattern::{Pattern, PatternError};
pub use settings::{HostNetwork, Settings};
pub use spec::{BuildContext, BuildError, CollectorSpec, OptionKind, OptionSpec};
