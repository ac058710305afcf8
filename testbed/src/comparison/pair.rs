//! Our exporter and the real node_exporter with the same arguments.

use std::{net::TcpStream, process::Command, time::Duration};

use anyhow::Result;

use crate::{
    curl::Request,
    process::{Process, free_port},
    product::binaries,
    servers,
    slot::Slot,
    wait::wait_until,
};

/// Both, each on a port of its own.
pub struct Pair {
    ours: (Process, u16),
    theirs: (Process, u16),
}

/// Something of ours, and the same of node_exporter.
#[derive(Debug, PartialEq, Eq)]
pub struct Both<T> {
    /// Of our exporter.
    pub ours: T,
    /// Of node_exporter.
    pub theirs: T,
}

impl Pair {
    /// Starts both, and waits until they take connections.
    ///
    /// # Errors
    /// One does not start: holds what it said.
    pub fn start(_slot: &Slot, arguments: &[&str]) -> Result<Self> {
        let start = |program| -> Result<(Process, u16)> {
            let port = free_port()?;
            let mut process = Process::spawn(
                Command::new(program)
                    .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                    .args(arguments),
            )?;
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

    /// Their ports.
    pub fn ports(&self) -> Both<u16> {
        Both {
            ours: self.ours.1,
            theirs: self.theirs.1,
        }
    }

    /// Status and body of both.
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
