//! The number of nodes of a cluster, the delay until a changed Secret reaches their pods, and the Kubernetes version.

use std::{fmt, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::servers::Kubernetes;

/// What may differ between two clusters, apart from their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The number of nodes, up to nine; each additional node takes about 150 MiB and several seconds.
    pub nodes: u8,
    /// The maximum delay, in seconds, until a changed Secret reaches a pod, at least three; random for each node. Without
    /// it the maximum is about three seconds.
    pub lag: Option<u16>,
    /// The Kubernetes version.
    pub kubernetes: Kubernetes,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            nodes: 1,
            lag: None,
            kubernetes: Kubernetes::DEFAULT,
        }
    }
}

impl Shape {
    /// A control plane without nodes, in its own network, for tests that need no pods.
    pub const CONTROL_PLANE: Self = Self {
        nodes: 0,
        lag: None,
        kubernetes: Kubernetes::DEFAULT,
    };

    /// Reads the shape that [`Self::write`] wrote; `None` if there is no such file.
    pub fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut words = text.split(' ');
        Some(Self {
            nodes: words.next()?.parse().ok()?,
            lag: words.next()?.parse().ok(),
            kubernetes: Kubernetes::from_str(words.next()?, false).ok()?,
        })
    }

    /// Writes the shape to a file, for the commands that follow the start of the cluster.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn write(self, file: &Path) -> Result<()> {
        let lag = self.lag.map_or("-".to_owned(), |lag| lag.to_string());
        fs::write(file, format!("{} {lag} {}", self.nodes, self.kubernetes))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// A `syncFrequency` for the kubelet of one node: a new random value at every call if there is a delay, otherwise one
    /// second.
    ///
    /// It determines when a changed Secret becomes visible. A kubelet that watches Secrets knows about the change at once, but
    /// only writes it to a pod's volume when it syncs that pod, either for another reason (its container ended, its object
    /// changed) or because the time since the last sync has passed. It chooses that time again for each sync, uniformly
    /// between `syncFrequency` and 1.5 of it, checks once a second whether it has passed, and needs some tenths of a second to
    /// write. In four of five cases a change therefore waits for a uniform time between 0 and `syncFrequency`, otherwise
    /// longer, up to `longest_wait`. Measured: 0.6 of it on average if it is 3 to 6 s, 1 s if it is 1 s. Each pod of a node is
    /// synced independently.
    ///
    /// `syncFrequency` is therefore chosen uniformly from the values with which the longest wait is below the lag.
    ///
    /// # Errors
    /// The kernel returned no random number.
    pub fn sync_frequency(self) -> Result<Duration> {
        const SHORTEST: Duration = Duration::from_millis(300);
        let Some(lag) = self.lag else {
            return Ok(Duration::from_secs(1));
        };
        let longest = Duration::from_secs(lag.into()).saturating_sub(DELAY) * 2 / 3;
        let share = f64::from(getrandom::u32()?) / f64::from(u32::MAX);
        Ok(SHORTEST + longest.saturating_sub(SHORTEST).mul_f64(share))
    }
}

/// The maximum that the kubelet's check every second and its writing add, measured on two busy cores.
const DELAY: Duration = Duration::from_millis(1500);

/// The maximum time after which a kubelet with this `syncFrequency` writes a changed Secret.
pub fn longest_wait(sync_frequency: Duration) -> Duration {
    sync_frequency * 3 / 2 + DELAY
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Kubernetes: {}, nodes: {}, lag: ",
            self.kubernetes, self.nodes
        )?;
        match self.lag {
            Some(lag) => write!(formatter, "up to {lag} s"),
            None => formatter.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_shape_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shape");
        assert_eq!(Shape::read(&file), None);
        for (lag, kubernetes) in [(None, Kubernetes::V1_37), (Some(30), Kubernetes::V1_30)] {
            let shape = Shape {
                nodes: 3,
                lag,
                kubernetes,
            };
            shape.write(&file).unwrap();
            assert_eq!(Shape::read(&file), Some(shape));
        }
    }

    #[test]
    fn no_wait_is_longer_than_the_lag() {
        for lag in [3, 10, 600] {
            let shape = Shape {
                nodes: 1,
                lag: Some(lag),
                ..Shape::default()
            };
            for _ in 0..1000 {
                let frequency = shape.sync_frequency().unwrap();
                assert!(longest_wait(frequency) <= Duration::from_secs(lag.into()));
            }
        }
    }

    #[test]
    fn nodes_lag_by_times_of_their_own() {
        let shape = Shape {
            nodes: 2,
            lag: Some(600),
            ..Shape::default()
        };
        let draw = || shape.sync_frequency().unwrap();
        assert!((0..8).map(|_| draw()).any(|one| one != draw()));
    }
}
