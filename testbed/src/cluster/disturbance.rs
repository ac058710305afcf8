//! Faults of a cluster: a program of its control plane is stopped or killed, the disk of etcd is full, a container is killed.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

use std::{slice, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::{
    Cluster, control_plane,
    programs::{self, Program},
};
use crate::{process::output, servers, wait::wait_until};

/// How long a program may take to start or to end.
const TIMEOUT: Duration = Duration::from_secs(60);
/// An option of etcd with which it refuses every write, as it does when its space is used up.
const NO_SPACE: (&str, &str) = ("quota-backend-bytes", "1");

impl Cluster {
    /// Stops a program as SIGSTOP does: its connections stay open, and nothing is answered.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self, program: Program) -> Result<()> {
        self.signal(program, Signal::STOP).map(drop)
    }

    /// Lets a stopped program continue.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&self, program: Program) -> Result<()> {
        programs::continue_starters(&self.layout.run);
        self.signal(program, Signal::CONT).map(drop)
    }

    /// Kills a program, and waits until it has ended and its ports are free, so that it can be started again.
    ///
    /// # Errors
    /// It does not run, or does not go away.
    pub fn kill(&self, program: Program) -> Result<()> {
        let killed = self.signal(program, Signal::KILL)?;
        let holder = self.layout.holder().living_pid()?;
        let ports = match program {
            Program::Etcd => <[u16; 2]>::from(self.layout.etcd_ports()).to_vec(),
            Program::ApiServer => vec![self.layout.api_port()],
        };
        wait_until("its end", TIMEOUT, || {
            let has_ended = killed.iter().all(|process| programs::has_ended(*process));
            let is_over = has_ended && !programs::is_listening(holder, &ports)?;
            Ok(is_over.then_some(()))
        })
        .with_context(|| format!("{} was killed", program.name()))
    }

    /// Starts a program that was killed, and waits until the API server is ready.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_again(&self, program: Program) -> Result<()> {
        let mut server = match program {
            Program::Etcd => control_plane::start_etcd(&self.layout, &[])?,
            Program::ApiServer => {
                let commands = servers::kubernetes_commands(self.layout.shape.kubernetes)?;
                control_plane::start_api_server(&self.layout, &commands)?
            }
        };
        self.wait_for_api(slice::from_mut(&mut server))
    }

    /// Restarts the API server so that a watch that has ended cannot continue (410): the API server only has the versions since
    /// its start, and the last one before it is not the last one that a watch has seen.
    ///
    /// # Errors
    /// It does not start, or refuses writes.
    pub fn expire_versions(&self) -> Result<()> {
        self.try_write()?;
        self.kill(Program::ApiServer)?;
        self.start_again(Program::ApiServer)
    }

    /// Restarts etcd so that it refuses every write because it has no space left.
    ///
    /// # Errors
    /// It does not start, or still accepts writes.
    pub fn fill_disk(&self) -> Result<()> {
        self.kill(Program::Etcd)?;
        let mut server = control_plane::start_etcd(&self.layout, &[NO_SPACE])?;
        self.wait_for_api(slice::from_mut(&mut server))?;
        wait_until("etcd to refuse a write", TIMEOUT, || {
            match self.try_write() {
                Ok(()) => bail!("it was accepted"),
                Err(error) => ensure!(format!("{error:#}").contains("space exceeded"), error),
            }
            Ok(Some(()))
        })
    }

    /// Restarts etcd with space, and clears its alarm as an administrator does.
    ///
    /// # Errors
    /// It does not start, or refuses writes.
    pub fn free_disk(&self) -> Result<()> {
        self.kill(Program::Etcd)?;
        self.start_again(Program::Etcd)?;
        let alarms = self.alarms(&json!({"action": "GET"}))?;
        for alarm in alarms["alarms"].as_array().into_iter().flatten() {
            let (member, kind) = (&alarm["memberID"], &alarm["alarm"]);
            self.alarms(&json!({"action": "DEACTIVATE", "memberID": member, "alarm": kind}))?;
        }
        wait_until("etcd to accept a write", TIMEOUT, || {
            self.try_write().map(Some)
        })
    }

    /// Kills every process of a program in the containers of the cluster, as the kernel does when memory runs out, and
    /// returns how many there were.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn kill_in_containers(&self, program: &str) -> Result<usize> {
        let found = programs::contained(&self.layout.cgroup_prefix(), program);
        programs::signal(&found, Signal::KILL)?;
        Ok(found.len())
    }

    /// Returns the processes that it has signalled.
    fn signal(&self, program: Program, signal: Signal) -> Result<Vec<Pid>> {
        let name = program.name();
        let found = programs::held(&self.layout.run, name);
        ensure!(
            !found.is_empty(),
            "{name} does not run in the cluster `{}`",
            self.layout.name
        );
        programs::signal(&found, signal)?;
        Ok(found)
    }

    /// Tries a write that changes nothing important.
    fn try_write(&self) -> Result<()> {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let annotation = format!("secureexporter.dev/test={}", time.as_micros());
        self.kubectl("")
            .annotate("namespace", "default", &annotation)
    }

    /// Sends a request about alarms to etcd, and returns the answer.
    fn alarms(&self, request: &Value) -> Result<Value> {
        let (clients, _) = self.layout.etcd_ports();
        let answer = output(self.layout.holder().command("curl")?.args([
            "-sS",
            "-m",
            "10",
            "-d",
            &request.to_string(),
            &format!("http://127.0.0.1:{clients}/v3/maintenance/alarm"),
        ]))?;
        serde_json::from_str(&answer).with_context(|| format!("etcd answered {answer}"))
    }
}
