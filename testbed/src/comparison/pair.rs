//! Our exporter and the real node_exporter with the same arguments.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;

use crate::{
    curl::Request,
    host::network::Network,
    process::{Process, free_port},
    product::binaries,
    servers,
    slot::Slot,
    wait::wait_until,
};

/// Both exporters, each on its own port.
pub struct Pair {
    ours: (Process, u16),
    theirs: (Process, u16),
}

/// A value of ours, and the same of node_exporter.
#[derive(Debug, PartialEq, Eq)]
pub struct Both<T> {
    /// Of our exporter.
    pub ours: T,
    /// Of node_exporter.
    pub theirs: T,
}

impl Pair {
    /// Starts both, and waits until they accept connections.
    ///
    /// # Errors
    /// One does not start; the error contains its output.
    pub fn start(_slot: &Slot, arguments: &[&str]) -> Result<Self> {
        Self::started(|program| {
            let port = free_port()?;
            let process = Process::spawn(
                Command::new(program)
                    .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                    .args(arguments),
            )?;
            Ok((process, port))
        })
    }

    /// Like [`Pair::start`], in a network namespace.
    ///
    /// # Errors
    /// See there.
    pub fn start_in(network: &Network, _slot: &Slot, arguments: &[&str]) -> Result<Self> {
        Self::started(|program| network.serve(program, arguments))
    }

    fn started(start: impl Fn(&Path) -> Result<(Process, u16)>) -> Result<Self> {
        let start = |program: PathBuf| -> Result<(Process, u16)> {
            let (mut process, port) = start(&program)?;
            wait_until("an answer", Duration::from_secs(20), || {
                process.check()?;
                Ok(TcpStream::connect(("127.0.0.1", port)).ok())
            })?;
            Ok((process, port))
        };
        Ok(Self {
            ours: start(binaries::built(binaries::EXPORTER)?)?,
            theirs: start(servers::ensure(&servers::NODE_EXPORTER)?)?,
        })
    }

    /// The number of open descriptors of each.
    ///
    /// # Errors
    /// One has ended.
    pub fn descriptors(&self) -> Result<Both<usize>> {
        let count = |process: &Process| -> Result<usize> {
            Ok(fs::read_dir(format!("/proc/{}/fd", process.id()))?.count())
        };
        Ok(Both {
            ours: count(&self.ours.0)?,
            theirs: count(&self.theirs.0)?,
        })
    }

    /// Their ports.
    pub fn ports(&self) -> Both<u16> {
        Both {
            ours: self.ours.1,
            theirs: self.theirs.1,
        }
    }

    /// Returns status and body of both.
    ///
    /// # Errors
    /// One does not answer.
    pub fn get(&self, path: &str) -> Result<Both<(u16, String)>> {
        let get = |port: u16| -> Result<(u16, String)> {
            let answer = Request::get(&format!("http://127.0.0.1:{port}{path}")).send()?;
            Ok((answer.status, answer.body))
        };
        Ok(Both {
            ours: get(self.ours.1)?,
            theirs: get(self.theirs.1)?,
        })
    }
}
