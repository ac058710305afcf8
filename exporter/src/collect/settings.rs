//! The settings of the collectors from the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::sources::SharedLinks;

/// Everything collectors are built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Mount point of procfs.
    pub procfs: PathBuf,
    /// Mount point of sysfs.
    pub sysfs: PathBuf,
    /// Mount point of the host's root file system.
    pub rootfs: PathBuf,
    /// Directory of udev's database.
    pub udev_data: PathBuf,
    /// Which network namespace this process is in.
    pub host_network: HostNetwork,
    /// The name of the host, for processes that have a different host name, such as in a container.
    pub host_name: Option<String>,
    /// How long a scrape waits for collectors that hang.
    pub timeout: Duration,
    /// The names of the enabled collectors.
    pub enabled: BTreeSet<&'static str>,
    /// The options given on the command line, by flag. Options that were not given are absent rather than set to their
    /// default, because whether a flag was given decides which of two flags is used.
    pub options: BTreeMap<&'static str, String>,
}

impl Settings {
    /// The network devices of the host, shared by the collectors of one registry.
    pub(crate) fn links(&self) -> SharedLinks {
        let in_namespace = self.host_network == HostNetwork::Shared;
        SharedLinks::new(&self.procfs, &self.sysfs, in_namespace)
    }
}

/// Which network namespace this process is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostNetwork {
    /// That of the host.
    #[default]
    Shared,
    /// Its own.
    Apart,
}

impl HostNetwork {
    /// The value of `--host.network`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Apart => "apart",
        }
    }
}
