//! Programs that are run by a test.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::wait::wait_until;

/// A program that runs until it is dropped, with everything that it says kept.
pub struct Process {
    child: Child,
    log: NamedTempFile,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// The program is not there.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let log = NamedTempFile::new()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.reopen()?)
            .stderr(log.reopen()?)
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has said so far.
    ///
    /// # Errors
    /// The kept log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.log.path())?).into_owned())
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// It has ended: holds what it said.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended, {status}: {}", self.log()?),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It goes on.
    pub fn ended(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let ended = wait_until("the end of the process", deadline, || {
            Ok(self.child.try_wait()?)
        });
        let log = self.log()?;
        ended.with_context(|| log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, with a text on its standard input, and returns what it printed.
///
/// # Errors
/// It is not there or it failed: holds what it said.
pub fn output(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading closes the pipe; its status tells why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let result = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&result.stderr);
    if !result.status.success() {
        bail!("{command:?}: {}: {}", result.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// A port of 127.0.0.1 that nobody listens on right now.
///
/// # Errors
/// None is left.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
