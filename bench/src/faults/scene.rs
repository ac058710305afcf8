//! The cluster that faults befall: three nodes, a real Prometheus, and the operator, in its pod or behind the gate.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use testbed::{
    cluster::{Cluster, Program},
    exporters::rotate,
    kubectl::Kubectl,
    operator::weather::Weather,
    product::{binaries::OPERATOR, install::NAMESPACE},
    wait::wait_until,
};

use super::{
    fault::{Fault, Place, Right, Wrong},
    operators::Operators,
    rights::Role,
    sight::Sight,
};
use crate::nodes::{
    self, Methods,
    count::Prometheus,
    fresh::{self, Fresh},
};

/// How long it may take until nothing rotates and all is well.
const REST: Duration = Duration::from_secs(180);

/// What is disturbed.
pub struct Scene {
    /// The cluster.
    pub cluster: Cluster,
    /// kubectl for the namespace.
    pub kubectl: Kubectl,
    /// What scrapes.
    pub prometheus: Prometheus,
    /// A second client on the same files, which makes a new connection each time.
    pub fresh: Fresh,
    /// The operator.
    pub operators: Operators,
    role: Role,
    requests: u32,
}

impl Scene {
    /// Sets it in a cluster with the chart installed.
    ///
    /// # Errors
    /// A part does not start.
    pub fn set(cluster: Cluster, lag: u16) -> Result<Self> {
        let prometheus = nodes::start(&cluster, lag, Methods::PasswordAndCertificate)?;
        let operators = Operators::of(&cluster)?;
        let kubectl = cluster.kubectl(NAMESPACE);
        Ok(Self {
            fresh: fresh::start(&cluster)?,
            role: Role::read(&kubectl, &operators.name)?,
            kubectl,
            prometheus,
            operators,
            cluster,
            requests: 0,
        })
    }

    /// Every right that can be taken away.
    pub fn rights(&self) -> Vec<Right> {
        self.role.rights()
    }

    /// Has the operator run in the right place, and waits until nothing rotates.
    ///
    /// # Errors
    /// It does not come to rest.
    pub fn rest(&mut self, fault: &Fault) -> Result<()> {
        match fault.place() {
            // One that was killed before would be started late.
            Place::Pod if matches!(fault, Fault::Killed(_)) => self.operators.new_pod()?,
            Place::Pod => self.operators.in_pod()?,
            Place::BehindTheGate => self.operators.behind_the_gate()?,
        }
        wait_until("nothing to rotate", REST, || {
            let sight = Sight::take(&self.kubectl)?;
            ensure!(
                sight.is_ready() && sight.stages().is_none(),
                "its status: {}",
                sight.status
            );
            Ok(Some(()))
        })
    }

    /// Asks for a rotation that was not asked for before.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn ask(&mut self, subjects: &str) -> Result<()> {
        self.requests += 1;
        rotate(
            &self.kubectl,
            "nodes",
            &format!("{subjects}:{}", self.requests),
        )
    }

    /// Lets a fault begin.
    ///
    /// # Errors
    /// It could not be brought about.
    pub fn begin(&mut self, fault: &Fault) -> Result<()> {
        let gate = self.operators.gate();
        match fault {
            Fault::ApiServerStopped => self.cluster.freeze(Program::ApiServer),
            Fault::ApiServerGoneSilently => {
                gate.change(Weather::BlackHole);
                self.cluster.kill(Program::ApiServer)
            }
            Fault::EtcdRestarted => {
                self.cluster.kill(Program::Etcd)?;
                self.cluster.start_again(Program::Etcd)
            }
            Fault::DiskFull => self.cluster.fill_disk(),
            Fault::WatchesExpired => {
                gate.change(Weather::Cut);
                // One that has just started knows no versions of before.
                self.cluster.kill(Program::ApiServer)?;
                self.cluster.start_again(Program::ApiServer)
            }
            Fault::TooManyRequests => {
                gate.change(Weather::TooMany);
                Ok(())
            }
            Fault::Latency => {
                gate.change(Weather::Slow(Duration::from_secs(2)));
                Ok(())
            }
            Fault::Forbidden(right) => {
                self.role.forbid(&self.kubectl, right)?;
                // What watches already goes on for minutes: only one that starts needs these.
                if ["list", "watch"].contains(&right.verb.as_str()) {
                    self.operators.lose_pod()?;
                }
                Ok(())
            }
            Fault::Killed(_) => {
                let killed = self.cluster.kill_in_containers(OPERATOR)?;
                ensure!(killed > 0, "no operator runs in a container");
                Ok(())
            }
            Fault::WrongClock(Wrong::Ahead) => self.operators.with_clock("+1h"),
            Fault::WrongClock(Wrong::Behind) => self.operators.with_clock("-1h"),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// It could not be ended.
    pub fn end(&mut self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::ApiServerStopped => self.cluster.thaw(Program::ApiServer)?,
            Fault::ApiServerGoneSilently => self.cluster.start_again(Program::ApiServer)?,
            Fault::DiskFull => self.cluster.free_disk()?,
            Fault::Forbidden(_) => self.role.restore(&self.kubectl)?,
            Fault::WrongClock(_) => self.operators.in_pod()?,
            Fault::EtcdRestarted
            | Fault::WatchesExpired
            | Fault::TooManyRequests
            | Fault::Latency
            | Fault::Killed(_) => {}
        }
        self.operators.gate().change(Weather::Clear);
        Ok(())
    }

    /// What the gate has counted of this fault; nothing where the gate is not in the way.
    pub fn struck(&self, fault: &Fault) -> Option<u64> {
        let gate = self.operators.gate();
        match fault {
            Fault::WatchesExpired => Some(gate.expired()),
            Fault::ApiServerGoneSilently | Fault::TooManyRequests | Fault::Latency => {
                Some(gate.touched())
            }
            _ => None,
        }
    }

    /// Waits until the operator has begun with a rotation that was asked for, or is in a stage of it.
    ///
    /// # Errors
    /// It does not get there.
    pub fn wait_for_stage(&self, stage: Option<&str>) -> Result<()> {
        let what = stage.unwrap_or("the rotation");
        wait_until(&format!("{what} to begin"), REST, || {
            let sight = Sight::take(&self.kubectl)?;
            let stages = sight.stages().context("nothing rotates")?;
            Ok(stage
                .is_none_or(|stage| stages.contains(stage))
                .then_some(()))
        })
    }

    /// Sleeps, and calls `look` every two seconds.
    pub fn hold(&self, time: Duration, mut look: impl FnMut(&Kubectl)) {
        let begin = std::time::Instant::now();
        while let Some(left) = time.checked_sub(begin.elapsed()) {
            // A look at an API server that stands still takes seconds.
            if left > Duration::from_secs(8) {
                look(&self.kubectl);
            }
            thread::sleep(left.min(Duration::from_secs(2)));
        }
    }
}
