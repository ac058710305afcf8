//! The host's network, seen from a network namespace of one's own.
//!
//! What procfs has of a process it shows of that process's namespace, so `net/` of the host's first process is the host's.
//! `/proc/sys/net` and netlink answer for whoever asks, and no path changes that: what is read there alone is left out,
//! rather than shown with the numbers of a container. Of sysfs the mount decides, and the host's own shows the host.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::settings::{HostNetwork, Settings};
use super::spec::BuildError;

/// Collectors whose numbers would be those of this process's own network, each with where they come from.
const LEFT_OUT: [(&str, &str); 6] = [
    ("conntrack", "/proc/sys/net"),
    ("ethtool", "ioctl"),
    ("network_route", "netlink"),
    ("qdisc", "netlink"),
    ("tcpstat", "netlink"),
    ("wifi", "netlink"),
];

/// Switches that ask for what netlink alone tells, or for netlink where there is another way.
const NETLINK_SWITCHES: [&str; 3] = [
    "collector.arp.netlink",
    "collector.netclass.netlink",
    "collector.netdev.address-info",
];

/// Lists of settings, by name.
const SYSCTL_LISTS: [&str; 2] = ["collector.sysctl.include", "collector.sysctl.include-info"];

impl Settings {
    /// The collectors that were to run and do not, for want of the host's network namespace, in order of name; each with
    /// where the kernel would have shown this process's own network instead.
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

    /// Refuses options that no collector could fulfil from a network namespace of its own.
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
    /// It would show its own network as the host's, or has no reason to leave anything out.
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
        /// Where procfs is said to be.
        procfs: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Checks that this process has a network of its own, apart from that of the first process in `procfs`. Without the
/// host's procfs, what process 1 has would be this container's network.
///
/// # Errors
///
/// The first process has the same network, or does not show which.
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

/// Whether the first process of this procfs is in the network namespace of this process. The kernel numbers the entries
/// below `net/` anew for each namespace, and lets everybody see the numbers, unlike the link `ns/net`.
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
    fn a_procfs_without_a_first_process_tells_nothing() {
        let empty = tempfile::tempdir().unwrap();
        assert!(shares_network_with_init(empty.path()).is_err());
    }
}
