//! Running other programs.

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
        Self::spawn_with_input(command, Stdio::null())
    }

    /// As [`Process::spawn`], with a standard input.
    ///
    /// # Errors
    /// As there.
    pub fn spawn_with_input(command: &mut Command, input: Stdio) -> Result<Self> {
        let log = NamedTempFile::new()?;
        let child = command
            .stdin(input)
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
    /// It still runs.
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

/// Runs a program to its end and returns what it printed on standard output.
///
/// # Errors
/// It could not be started, or it failed: holds the last lines of what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    output_with_input(command, "")
}

/// As [`output`], with a text on its standard input.
///
/// # Errors
/// As there.
pub fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    let line = describe(command);
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading closes the pipe; its status tells why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let result = child.wait_with_output()?;
    let printed = String::from_utf8_lossy(&result.stdout).into_owned();
    if !result.status.success() {
        let text = printed + &String::from_utf8_lossy(&result.stderr);
        bail!("`{line}` failed ({}):\n{}", result.status, tail(&text, 40));
    }
    Ok(printed)
}

/// Runs a command whose own output the person should see.
///
/// # Errors
/// The command could not be started, or ended with a failure.
pub fn visibly(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}

/// The command line, cut where it is long.
fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    let line = words.join(" ");
    if line.chars().count() > 200 {
        format!("{}…", line.chars().take(200).collect::<String>())
    } else {
        line
    }
}

/// A port of 127.0.0.1 that nobody listens on right now.
///
/// # Errors
/// None is left.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
