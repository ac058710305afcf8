//! Counts the scrapes that should have happened, those that did, and those that failed, from Prometheus' raw samples.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use testbed::prometheus::{query, query_raw};

/// The start of a count.
pub struct Clock {
    began: SystemTime,
    since: Instant,
}

impl Clock {
    /// Starts to count now.
    pub fn start() -> Self {
        Self {
            began: SystemTime::now(),
            since: Instant::now(),
        }
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}

/// The result of a count, for all nodes together.
pub struct Count {
    /// The number of nodes times seconds.
    pub expected: u64,
    /// Samples of `up`, successful and failed.
    pub scrapes: u64,
    bad: u64,
    nodes: u64,
}

impl Count {
    /// Returns the number of failed and missing scrapes, because a target that vanished was not scraped. One scrape per
    /// node may fall outside the period at either end.
    pub fn failed(&self) -> u64 {
        let missing = self.expected.saturating_sub(self.scrapes);
        self.bad + missing.saturating_sub(2 * self.nodes)
    }
}

/// A Prometheus in the cluster.
pub struct Prometheus {
    address: String,
    nodes: u8,
}

impl Prometheus {
    /// Returns the Prometheus that runs in this cluster and scrapes this many nodes.
    pub fn at(address: String, nodes: u8) -> Self {
        Self { address, nodes }
    }

    /// Returns how many targets are up.
    ///
    /// # Errors
    /// Prometheus does not answer. The same applies to all functions here.
    pub fn up(&self) -> Result<usize> {
        Ok(query(&self.address, "up == 1")?.len())
    }

    /// Counts the scrapes since the start.
    pub fn count(&self, clock: &Clock) -> Result<Count> {
        let seconds = clock.seconds();
        let (mut scrapes, mut bad) = (0, 0);
        for series in self.samples("up", clock)? {
            scrapes += series.points.len() as u64;
            let failed = series.points.iter().filter(|(_, value)| value != "1");
            bad += failed.count() as u64;
        }
        let nodes = u64::from(self.nodes);
        Ok(Count {
            expected: nodes * seconds,
            scrapes,
            bad,
            nodes,
        })
    }

    /// Returns every series of a metric, with its samples since the start.
    pub fn samples(&self, metric: &str, clock: &Clock) -> Result<Vec<Samples>> {
        let began = clock.began.duration_since(UNIX_EPOCH)?.as_secs_f64();
        let range = format!("{metric}[{}s]", clock.seconds() + 1);
        let all = query_raw(&self.address, &range)?;
        all.iter()
            .map(|one| {
                let points = one["values"].as_array().context("no samples")?;
                let point = |it: &Value| Some((it[0].as_f64()?, it[1].as_str()?.to_owned()));
                Ok(Samples {
                    labels: one["metric"].clone(),
                    points: points
                        .iter()
                        .filter_map(point)
                        .filter(|(time, _)| *time >= began)
                        .collect(),
                })
            })
            .collect()
    }
}

/// One series.
pub struct Samples {
    /// Its labels.
    pub labels: Value,
    /// Time and value of each sample.
    pub points: Vec<(f64, String)>,
}
