//! What a drill runs in: a cluster of three nodes, a real Prometheus, and the operator, in its pod or behind the gate.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use testbed::{
    cluster::{Cluster, Program},
    exporters::rotate,
    kubectl::Kubectl,
    operator::disruption::Disruption,
    product::{binaries::OPERATOR, install::NAMESPACE},
    wait::wait_until,
};

use super::{
    fault::{ClockError, Fault, Place, Right},
    operators::Operators,
    rights::Role,
    snapshot::Snapshot,
};
use crate::nodes::{
    self, Methods,
    count::Prometheus,
    fresh::{self, Fresh},
};

/// How long it may take until the resource is ready and nothing is rotated.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(180);

/// The cluster and the programs of the drills.
pub struct Environment {
    /// The cluster.
    pub cluster: Cluster,
    /// kubectl for the namespace.
    pub kubectl: Kubectl,
    /// Prometheus, which scrapes every node.
    pub prometheus: Prometheus,
    /// A second client with the same files, which opens a new connection for each request.
    pub fresh: Fresh,
    /// The operator.
    pub operators: Operators,
    role: Role,
    requests: u32,
}

impl Environment {
    /// Starts everything in a cluster with the chart installed.
    ///
    /// # Errors
    /// A part does not start.
    pub fn start(cluster: Cluster, lag: u16) -> Result<Self> {
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

    /// Returns every right that can be taken away.
    pub fn rights(&self) -> Vec<Right> {
        self.role.rights()
    }

    /// Runs the operator where the fault needs it, and waits until nothing is rotated.
    ///
    /// # Errors
    /// The operator does not settle.
    pub fn settle(&mut self, fault: &Fault) -> Result<()> {
        match fault.place() {
            // The kubelet would wait before it restarts one that was killed before.
            Place::Pod if matches!(fault, Fault::Killed(_)) => self.operators.replace_pod()?,
            Place::Pod => self.operators.in_pod()?,
            Place::BehindGate => self.operators.behind_gate()?,
        }
        wait_until("nothing to rotate", SETTLE_TIMEOUT, || {
            let snapshot = Snapshot::take(&self.kubectl)?;
            ensure!(
                snapshot.is_ready() && snapshot.stages().is_none(),
                "not settled: {}",
                snapshot.status
            );
            Ok(Some(()))
        })
    }

    /// Requests a rotation, with a value that was not used before.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn request_rotation(&mut self, subjects: &str) -> Result<()> {
        self.requests += 1;
        rotate(
            &self.kubectl,
            "nodes",
            &format!("{subjects}:{}", self.requests),
        )
    }

    /// Starts a fault.
    ///
    /// # Errors
    /// It could not be started.
    pub fn begin(&mut self, fault: &Fault) -> Result<()> {
        let gate = self.operators.gate();
        match fault {
            Fault::ApiServerStopped => self.cluster.freeze(Program::ApiServer),
            Fault::ApiServerKilledSilently => {
                gate.disrupt(Disruption::Hang);
                self.cluster.kill(Program::ApiServer)
            }
            Fault::EtcdRestarted => {
                self.cluster.kill(Program::Etcd)?;
                self.cluster.start_again(Program::Etcd)
            }
            Fault::DiskFull => self.cluster.fill_disk(),
            Fault::WatchesExpired => {
                gate.disrupt(Disruption::Cut);
                self.cluster.expire_versions()
            }
            Fault::TooManyRequests => {
                gate.disrupt(Disruption::TooManyRequests);
                Ok(())
            }
            Fault::Latency => {
                gate.disrupt(Disruption::Delay(Duration::from_secs(2)));
                Ok(())
            }
            Fault::Forbidden(right) => {
                self.role.forbid(&self.kubectl, right)?;
                // A watch that runs continues for minutes; only an operator that starts needs these verbs.
                if ["list", "watch"].contains(&right.verb.as_str()) {
                    self.operators.delete_pod()?;
                }
                Ok(())
            }
            Fault::Killed(_) => {
                let killed = self.cluster.kill_in_containers(OPERATOR)?;
                ensure!(killed > 0, "no operator runs in a container");
                Ok(())
            }
            Fault::WrongClock(ClockError::Ahead) => self.operators.with_clock("+1h"),
            Fault::WrongClock(ClockError::Behind) => self.operators.with_clock("-1h"),
        }
    }

    /// Ends a fault.
    ///
    /// # Errors
    /// It could not be ended.
    pub fn end(&mut self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::ApiServerStopped => self.cluster.thaw(Program::ApiServer)?,
            Fault::ApiServerKilledSilently => self.cluster.start_again(Program::ApiServer)?,
            Fault::DiskFull => self.cluster.free_disk()?,
            Fault::Forbidden(_) => self.role.restore(&self.kubectl)?,
            Fault::WrongClock(_) => self.operators.in_pod()?,
            Fault::EtcdRestarted
            | Fault::WatchesExpired
            | Fault::TooManyRequests
            | Fault::Latency
            | Fault::Killed(_) => {}
        }
        self.operators.gate().disrupt(Disruption::None);
        Ok(())
    }

    /// Returns how many requests the gate has disrupted by this fault; `None` for a fault without the gate.
    pub fn requests_hit(&self, fault: &Fault) -> Option<u64> {
        let gate = self.operators.gate();
        match fault {
            Fault::WatchesExpired => Some(gate.expired_watches()),
            Fault::ApiServerKilledSilently | Fault::TooManyRequests | Fault::Latency => {
                Some(gate.disrupted_requests())
            }
            _ => None,
        }
    }

    /// Waits until the operator has begun the requested rotation, or has reached this stage of it.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_stage(&self, stage: Option<&str>) -> Result<()> {
        let what = stage.unwrap_or("the rotation");
        wait_until(&format!("{what} to begin"), SETTLE_TIMEOUT, || {
            let snapshot = Snapshot::take(&self.kubectl)?;
            let stages = snapshot.stages().context("nothing rotates")?;
            Ok(stage
                .is_none_or(|stage| stages.contains(stage))
                .then_some(()))
        })
    }

    /// Waits while the fault lasts, and calls `look` every two seconds.
    pub fn wait_with_fault(&self, time: Duration, mut look: impl FnMut(&Kubectl)) {
        let begin = std::time::Instant::now();
        while let Some(left) = time.checked_sub(begin.elapsed()) {
            // With a stopped API server `look` takes seconds.
            if left > Duration::from_secs(8) {
                look(&self.kubectl);
            }
            thread::sleep(left.min(Duration::from_secs(2)));
        }
    }
}
