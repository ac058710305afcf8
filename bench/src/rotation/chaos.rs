//! Rotations on request with random disturbances: the operator is killed, or a generated Secret is deleted.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use testbed::{
    cluster::Cluster, exporters::rotate, kubectl::Kubectl, product::install::NAMESPACE,
    wait::wait_until,
};

use crate::nodes::generations::Generations;

/// The rotations that are requested, in turn.
const SUBJECTS: [&str; 4] = ["certificate", "ca", "password", "ca,password"];
/// The Secrets that may be deleted, one at a time.
const SECRETS: [&str; 3] = ["nodes-server", "nodes-scrape", "nodes-state"];

/// Requests rotations and disturbs them.
pub struct Chaos {
    kubectl: Kubectl,
    dice: Dice,
    lag: Duration,
    /// How often the operator was killed.
    pub kills: u32,
    /// How many Secrets were deleted.
    pub deletions: u32,
}

impl Chaos {
    /// Creates an instance that has not done anything yet.
    pub fn new(cluster: &Cluster, dice: Dice, lag: u16) -> Self {
        Self {
            kubectl: cluster.kubectl(NAMESPACE),
            dice,
            lag: Duration::from_secs(lag.into()),
            kills: 0,
            deletions: 0,
        }
    }

    /// Describes the next rotation.
    pub fn announce(&self, index: u32, all: u32) -> String {
        format!("rotation {} of {all}: {}", index + 1, subject(index))
    }

    /// Requests a rotation, disturbs it, and waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn rotate(&mut self, index: u32) -> Result<()> {
        let before = Generations::of(&self.status()?)?;
        let request = format!("{}:{index}", subject(index));
        rotate(&self.kubectl, "nodes", &request)?;
        self.disturb()?;
        let limit = Duration::from_secs(120) + 10 * self.lag;
        wait_until("the end of the rotation", limit, || {
            let status = self.status()?;
            let moved = Generations::of(&status)?.moved(&before, subject(index));
            ensure!(
                moved && status["rotation"].is_null(),
                "it is at {}; {}",
                status["rotation"],
                status["conditions"]
            );
            Ok(Some(()))
        })
    }

    /// Kills and deletes at random moments, from before the first write until after the last stage.
    fn disturb(&mut self) -> Result<()> {
        for _ in 0..self.dice.below(3) {
            let moment = self
                .dice
                .below(4000 + 2 * u64::try_from(self.lag.as_millis())?);
            thread::sleep(Duration::from_millis(moment));
            if self.dice.below(2) == 0 {
                self.kubectl.run(&[
                    "delete",
                    "pods",
                    "-l",
                    "app.kubernetes.io/name=secure-exporter-operator",
                    "--grace-period=0",
                    "--force",
                    "--wait=false",
                ])?;
                self.kills += 1;
            } else {
                let which = usize::try_from(self.dice.below(SECRETS.len() as u64))?;
                let name = SECRETS.get(which).context("no such Secret")?;
                self.kubectl.run(&[
                    "delete",
                    "secret",
                    name,
                    "--ignore-not-found",
                    "--wait=false",
                ])?;
                self.deletions += 1;
            }
        }
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        let mut resource = self.kubectl.get("secureexporter", "nodes")?;
        Ok(resource["status"].take())
    }
}

fn subject(index: u32) -> &'static str {
    let turn = index as usize % SUBJECTS.len();
    SUBJECTS.get(turn).copied().unwrap_or("certificate")
}

/// Repeatable random numbers (xorshift); nothing secret depends on them.
pub struct Dice(u64);

impl Dice {
    /// Creates the generator with a seed.
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}
