//! How many nodes a cluster has, how late a changed Secret reaches their pods, and which Kubernetes version it runs.

use std::{fmt, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::servers::Kubernetes;

/// What may differ between two clusters but their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// How many nodes, up to nine; each further one takes about 150 MiB and some seconds.
    pub nodes: u8,
    /// A changed Secret reaches pods late, on each node by a random time of its own, of at most this many seconds, from
    /// three on. Without it the longest time is about three seconds.
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
    /// A control plane without nodes, in a network of its own: for what needs no pods.
    pub const CONTROL_PLANE: Self = Self {
        nodes: 0,
        lag: None,
        kubernetes: Kubernetes::DEFAULT,
    };

    /// The shape that [`Self::write`] left in a file; none where there is no such file.
    pub fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut words = text.split(' ');
        Some(Self {
            nodes: words.next()?.parse().ok()?,
            lag: words.next()?.parse().ok(),
            kubernetes: Kubernetes::from_str(words.next()?, false).ok()?,
        })
    }

    /// Leaves the shape in a file, for the commands that come after the one which starts the cluster.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn write(self, file: &Path) -> Result<()> {
        let lag = self.lag.map_or("-".to_owned(), |lag| lag.to_string());
        fs::write(file, format!("{} {lag} {}", self.nodes, self.kubernetes))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// A `syncFrequency` for the kubelet of one node: drawn anew at every call where there is a lag, else one second.
    ///
    /// It is what decides when a changed Secret shows up. A kubelet that watches Secrets knows of the change at once,
    /// but writes it to a pod's volume only when it looks at that pod for another reason (its container ended, its
    /// object changed) or when the time since it last looked is over. It draws that time anew for each look, evenly
    /// between `syncFrequency` and 1.5 of it, asks once a second whether it is over, and needs some tenths of a second to
    /// write. So a change made at any moment waits, four times in five, evenly between 0 and `syncFrequency`; else
    /// longer, up to `longest_wait`. Measured: 0.6 of it on average where it is 3 to 6 s, 1 s where it is 1 s. Pods of
    /// one node are looked at each in its own time.
    ///
    /// Hence the bound here: `syncFrequency` is drawn evenly from what leaves the longest wait below the lag.
    ///
    /// # Errors
    /// The kernel gave no random number.
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

/// What the kubelet's once-a-second question and its writing add at most, measured on two busy cores.
const DELAY: Duration = Duration::from_millis(1500);

/// The longest time that a kubelet with this `syncFrequency` leaves a changed Secret lying.
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
