//! Reads the host's network from a separate network namespace.
//!
//! The files of a process in procfs belong to that process's network namespace, so `net/` of the host's first process shows
//! the host's network. `/proc/sys/net` and netlink always belong to the namespace of the reader, whatever the path is.
//! Collectors that depend on them are left out rather than showing the network of a container. For sysfs the mount decides,
//! so the host's sysfs shows the host.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::settings::{HostNetwork, Settings};
use super::spec::BuildError;

/// Collectors that would show this process's own network, each with the source of their metrics.
const LEFT_OUT: [(&str, &str); 6] = [
    ("conntrack", "/proc/sys/net"),
    ("ethtool", "ioctl"),
    ("network_route", "netlink"),
    ("qdisc", "netlink"),
    ("tcpstat", "netlink"),
    ("wifi", "netlink"),
];

/// Switches that need netlink, or that choose netlink where there is another source.
const NETLINK_SWITCHES: [&str; 3] = [
    "collector.arp.netlink",
    "collector.netclass.netlink",
    "collector.netdev.address-info",
];

/// Lists of settings, by name.
const SYSCTL_LISTS: [&str; 2] = ["collector.sysctl.include", "collector.sysctl.include-info"];

impl Settings {
    /// Returns the enabled collectors that do not run because this process is not in the host's network namespace, ordered
    /// by name; each with the source that would have shown this process's own network.
    pub fn left_out(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let apart = self.host_network == HostNetwork::Apart;
        LEFT_OUT
            .into_iter()
            .filter(move |(name, _)| apart && self.enabled.contains(name))
    }

    /// Whether a collector runs.
    pub fn runs(&self, name: &str) -> bool {
        self.enabled.contains(name) && self.left_out().all(|(left_out, _)| left_out != name)
    }

    /// Refuses options that no collector can fulfil in a separate network namespace.
    pub(crate) fn check_host_network(&self) -> Result<(), BuildError> {
        if self.host_network == HostNetwork::Shared {
            return Ok(());
        }
        let given = |flag: &str| self.options.get(flag).map(String::as_str);
        let own_network = |line: &str| line.starts_with("net.") || line.starts_with("net/");
        let switch = NETLINK_SWITCHES
            .into_iter()
            .find(|flag| given(flag) == Some("true"));
        let list = SYSCTL_LISTS
            .into_iter()
            .find(|flag| given(flag).is_some_and(|text| text.lines().any(own_network)));
        switch
            .or(list)
            .map_or(Ok(()), |flag| Err(BuildError::OwnNetwork { flag }))
    }
}

/// Why `--host.network=apart` is refused.
#[derive(Debug, thiserror::Error)]
pub enum HostNetworkError {
    /// The process would show its own network as the host's, or needs not leave anything out.
    #[error(
        "--host.network=apart, but process 1 of {} has the same network as this process: set --path.procfs to the host's procfs, or remove the flag if this process has the host's network",
        .0.display()
    )]
    NotApart(PathBuf),
    /// The host's network cannot be read.
    #[error(
        "--host.network=apart needs process 1 of the host, which {} does not show: {source}; mount the host's procfs without hidepid and set --path.procfs to it",
        procfs.display()
    )]
    HiddenInit {
        /// The mount point of procfs.
        procfs: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Checks that this process has its own network namespace, separate from that of the first process in `procfs`. Without the
/// host's procfs, process 1 would belong to this container.
///
/// # Errors
///
/// The first process has the same network namespace, or does not show which one it has.
pub fn check_apart(procfs: &Path) -> Result<(), HostNetworkError> {
    match shares_network_with_init(procfs) {
        Ok(false) => Ok(()),
        Ok(true) => Err(HostNetworkError::NotApart(procfs.to_owned())),
        Err(source) => Err(HostNetworkError::HiddenInit {
            procfs: procfs.to_owned(),
            source,
        }),
    }
}

/// Whether the first process of this procfs is in the network namespace of this process. The kernel assigns new inode
/// numbers to the entries below `net/` for each namespace, and every user can read them, unlike the link `ns/net`.
fn shares_network_with_init(procfs: &Path) -> io::Result<bool> {
    let of_init = procfs.join("1/net/dev").metadata()?;
    let own = Path::new("/proc/self/net/dev").metadata()?;
    Ok(of_init.ino() == own.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(options: &[(&'static str, &str)]) -> Settings {
        let options = options.iter();
        Settings {
            host_network: HostNetwork::Apart,
            enabled: crate::collectors::TABLE
                .iter()
                .map(|spec| spec.name)
                .collect(),
            options: options
                .map(|(flag, value)| (*flag, (*value).to_owned()))
                .collect(),
            ..Settings::default()
        }
    }

    #[test]
    fn only_what_was_asked_for_is_left_out() {
        let names = |settings: &Settings| settings.left_out().map(|it| it.0).collect::<Vec<_>>();
        let mut settings = apart(&[]);
        assert_eq!(
            names(&settings),
            [
                "conntrack",
                "ethtool",
                "network_route",
                "qdisc",
                "tcpstat",
                "wifi"
            ]
        );
        assert!(!settings.runs("qdisc") && settings.runs("netdev"));
        settings.enabled.retain(|name| *name != "qdisc");
        assert!(!names(&settings).contains(&"qdisc"));
        settings.host_network = HostNetwork::Shared;
        assert!(names(&settings).is_empty());
    }

    #[test]
    fn options_that_only_netlink_could_fulfil_are_refused_by_name() {
        for (flag, value) in [
            ("collector.arp.netlink", "true"),
            ("collector.netclass.netlink", "true"),
            ("collector.netdev.address-info", "true"),
            (
                "collector.sysctl.include",
                "kernel.pid_max\nnet.core.somaxconn",
            ),
            (
                "collector.sysctl.include-info",
                "net.ipv4.tcp_congestion_control",
            ),
        ] {
            let mut settings = apart(&[(flag, value)]);
            let error = settings.check_host_network().unwrap_err().to_string();
            assert!(error.starts_with(&format!("--{flag} ")), "{error}");
            assert!(error.contains("--host.network=shared"), "{error}");
            settings.host_network = HostNetwork::Shared;
            settings.check_host_network().unwrap();
        }
        apart(&[
            ("collector.arp.netlink", "false"),
            ("collector.sysctl.include", "kernel.pid_max"),
        ])
        .check_host_network()
        .unwrap();
    }

    #[test]
    fn a_procfs_without_a_first_process_is_refused() {
        let empty = tempfile::tempdir().unwrap();
        assert!(shares_network_with_init(empty.path()).is_err());
    }
}
