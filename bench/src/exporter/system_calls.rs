//! The number of system calls of a scrape.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use super::process::Process;
use testbed::{paths::find_program, wait::wait_until};

const PATIENCE: Duration = Duration::from_secs(10);

/// Counts the system calls of all threads of the process while `work` runs.
///
/// # Errors
/// `strace` is not allowed to trace the process, or `work` failed.
pub fn during(process: &Process, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let table = NamedTempFile::new()?;
    let said = NamedTempFile::new()?;
    let mut strace = Command::new(find_program("strace").context("strace is missing")?)
        .args(["-f", "-c", "-p", &process.id().to_string(), "-o"])
        .arg(table.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.reopen()?)
        .spawn()?;
    let attached = wait_until("strace traces the exporter", PATIENCE, || {
        let said = fs::read_to_string(said.path())?;
        Ok(said.contains(" attached").then_some(()))
    });
    let worked = attached.and_then(|()| work());
    let pid = i32::try_from(strace.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("strace has no process id")?, Signal::INT)?;
    strace.wait()?;
    worked?;
    total(&fs::read_to_string(table.path())?).context("strace counted nothing")
}

/// `100.00    0.004512           9       476        62 total`, where the fifth column may be empty.
fn total(table: &str) -> Option<u64> {
    let line = table.lines().find(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_stands_in_the_last_line() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     \x2040.00    0.000004           4         1           total_made_up\n\
                     100.00    0.004512           9       476        62 total\n";
        assert_eq!(total(table), Some(476));
        assert_eq!(
            total("100.00    0.004512           9       477           total\n"),
            Some(477)
        );
        assert_eq!(total(""), None);
    }
}
